"""Trunks start from the file of their split scheme, and from nothing else's."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from powerful_benchmarker.api_parsers import BaseAPIParser
from powerful_benchmarker.utils import common_functions as host_functions
from torch import nn

from slade_plugin.api_parsers.starting_trunk import RECORD, check_trunks
from slade_plugin.errors import CheckpointError, ExperimentError
from slade_plugin.models.weight_files import state_sha256
from slade_plugin.self_supervised.trunk_file import save_trunk, train_split_sha256, trunk_paths

SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]


@pytest.fixture
def make(
    tmp_path: Path, experiment_args: Callable[..., Namespace], make_parser: Callable[..., Any]
) -> Callable[..., Any]:
    """A teacher's parser whose split scheme is the first one."""

    def build(**changes: Any) -> Any:
        args = experiment_args(tmp_path / "teacher", student=False, **changes)
        parser = make_parser(args, BaseAPIParser)
        parser.transforms = parser.get_transforms()
        parser.split_manager = parser.get_split_manager()
        parser.curr_split_count = 0
        parser.split_manager.set_curr_split_scheme(SCHEMES[0])
        parser.make_sub_experiment_dirs()
        parser.set_curr_folders()
        return parser

    return build


@pytest.fixture
def stage(make: Any, tiny_trunk: Callable[[], nn.Module], tmp_path: Path) -> dict[str, nn.Module]:
    """What the SwAV stage leaves: a trunk for each scheme."""
    parser = make()
    trunks = {}
    for name in SCHEMES:
        parser.split_manager.set_curr_split_scheme(name)
        trunks[name] = tiny_trunk()
        (tmp_path / "stage" / name).mkdir(parents=True)
        manifest = {"labeled_sha256": train_split_sha256(parser.split_manager, "train")}
        save_trunk(trunks[name], manifest, tmp_path / "stage", name)
    return trunks


def entry(tmp_path: Path) -> dict[str, Any]:
    return {"self_supervised": {"folder": str(tmp_path / "stage")}}


def test_every_trunk_of_a_scheme_starts_from_its_file(
    make: Any, stage: dict[str, nn.Module], tmp_path: Path
) -> None:
    """Those that the host makes for the evaluation of the untrained trunk too."""
    parser = make(**entry(tmp_path), check_untrained_accuracy=True)
    for name in SCHEMES:
        parser.split_manager.set_curr_split_scheme(name)
        parser.set_curr_folders()
        parser.set_models_optimizers_losses()
        assert state_sha256(parser.models["trunk"].module) == state_sha256(stage[name])
        untrained, _ = host_functions.load_model_for_eval(
            parser.factories["model"], parser.args.models, "untrained_trunk", {"kwargs": {}}
        )
        assert state_sha256(untrained.module) == state_sha256(stage[name])
        recorded = json.loads((tmp_path / "teacher" / name / RECORD).read_text())
        manifest = json.loads(trunk_paths(tmp_path / "stage", name)[1].read_text())
        assert recorded == {
            "self_supervised_sha256": manifest["trunk_sha256"],
            "weights": None,
        }


@pytest.mark.parametrize("value", [None, {}, {"folder": None}])
def test_without_a_folder_nothing_is_changed(value: Any, make: Any, tmp_path: Path) -> None:
    plain, off = make(), make(self_supervised=value)
    for parser in (plain, off):
        parser.set_models_optimizers_losses()
        assert "create_trunk" not in vars(parser.factories["model"])
    first, second = (p.models["trunk"].module for p in (plain, off))
    assert state_sha256(first) == state_sha256(second)
    assert not list((tmp_path / "teacher").rglob(RECORD))


def test_what_is_drawn_after_the_trunk_does_not_depend_on_the_stage(
    make: Any, stage: dict[str, nn.Module], tmp_path: Path
) -> None:
    plain, started = make(), make(**entry(tmp_path))
    for parser in (plain, started):
        parser.set_models_optimizers_losses()
        parser.drawn = torch.rand(3)
    first, second = (p.models["embedder"].module for p in (plain, started))
    assert state_sha256(first) == state_sha256(second)
    assert torch.equal(plain.drawn, started.drawn)


def test_the_files_of_all_schemes_are_tried_and_the_first_scheme_stays(
    make: Any, stage: dict[str, nn.Module], tmp_path: Path
) -> None:
    parser = make(**entry(tmp_path))
    parser.models = {"trunk": parser.get_trunk()}
    check_trunks(parser)
    assert parser.split_manager.curr_split_scheme_name == SCHEMES[0]
    assert state_sha256(parser.models["trunk"]) == state_sha256(stage[SCHEMES[0]])


def test_a_missing_file_ends_the_run_before_training(
    make: Any, stage: dict[str, nn.Module], tmp_path: Path
) -> None:
    for path in trunk_paths(tmp_path / "stage", SCHEMES[1]):
        path.unlink()
    parser = make(**entry(tmp_path))
    parser.models = {"trunk": parser.get_trunk()}
    with pytest.raises(ExperimentError, match=f"trunk of split scheme {SCHEMES[1]} is missing"):
        check_trunks(parser)


def test_a_trunk_of_another_architecture_is_refused(
    make: Any, stage: dict[str, nn.Module], tmp_path: Path
) -> None:
    models = {"trunk": {"TinyTrunk": {"hidden": 8}}, "embedder": {"MLP": {"layer_sizes": [8]}}}
    parser = make(**entry(tmp_path), models=models)
    parser.models = {"trunk": parser.get_trunk()}
    with pytest.raises(CheckpointError, match="of another architecture"):
        check_trunks(parser)


def test_other_labeled_images_are_refused(
    make: Any, stage: dict[str, nn.Module], tmp_path: Path
) -> None:
    """A trunk of other splits may have seen images that are test images here."""
    parser = make(**entry(tmp_path))
    parser.args.dataset = {"Blobs": {"subset": "labeled", "per_class": 14}}
    parser.split_manager = parser.get_split_manager()
    parser.split_manager.set_curr_split_scheme(SCHEMES[0])
    with pytest.raises(ExperimentError, match="was made for labeled_sha256"):
        parser.set_models_optimizers_losses()


def test_training_goes_on_only_from_the_same_start(
    make: Any, stage: dict[str, nn.Module], tiny_trunk: Callable[[], nn.Module], tmp_path: Path
) -> None:
    make(**entry(tmp_path)).set_models_optimizers_losses()
    make(**entry(tmp_path)).set_models_optimizers_losses()
    parser = make(**entry(tmp_path))
    manifest = {"labeled_sha256": train_split_sha256(parser.split_manager, "train")}
    torch.manual_seed(1)
    save_trunk(tiny_trunk(), manifest, tmp_path / "stage", SCHEMES[0])
    with pytest.raises(ExperimentError, match="says that this experiment's trunk started from"):
        parser.set_models_optimizers_losses()
    (tmp_path / "teacher" / SCHEMES[0] / RECORD).write_text("{")
    with pytest.raises(ExperimentError, match="cannot be read"):
        make(**entry(tmp_path)).set_models_optimizers_losses()


def test_the_evaluation_of_a_trained_model_needs_no_file(make: Any, tmp_path: Path) -> None:
    parser = make(self_supervised={"folder": str(tmp_path / "gone")}, evaluate=True)
    parser.set_models_optimizers_losses()
    with pytest.raises(ExperimentError, match="is missing"):
        make(self_supervised={"folder": str(tmp_path / "gone")}).set_models_optimizers_losses()


def test_the_weights_of_a_trunk_are_recorded(
    make: Any, tmp_path: Path, full_getter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loaded:
        def as_dict(self) -> dict[str, str]:
            return {"source": "w.pth", "sha256": "abc"}

    parser = make()
    create = parser.factories["model"].create_trunk

    def with_weights(*args: Any, **kwargs: Any) -> Any:
        trunk = create(*args, **kwargs)
        trunk.loaded_weights = Loaded()
        return trunk

    monkeypatch.setattr(parser.factories["model"], "create_trunk", with_weights)
    parser.set_models_optimizers_losses()
    recorded = json.loads((tmp_path / "teacher" / SCHEMES[0] / RECORD).read_text())
    assert recorded == {
        "self_supervised_sha256": None,
        "weights": {"source": "w.pth", "sha256": "abc"},
    }
