"""Trunks start from the file of their split scheme, and from nothing else's."""

import json
import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pretrainedmodels
import pytest
import torch
import torchvision
from powerful_benchmarker.api_parsers import BaseAPIParser
from powerful_benchmarker.utils import common_functions as host_functions
from torch import nn

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.base.warning import warn_once
from slade_plugin.config.experiment_folder import STATE_FILE
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.api_parsers.starting_trunk import (
    RECORD,
    check_trunks,
    find_trunk,
    start_trunks,
)
from slade_plugin.method.models.weight_files import state_sha256
from slade_plugin.method.pseudo_labels.record import pool_fingerprint
from slade_plugin.method.self_supervised.trunk_file import (
    save_trunk,
    train_split_sha256,
    trunk_paths,
)

SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]


@pytest.fixture
def make(
    tmp_path: Path, experiment_args: Callable[..., Namespace], make_parser: Callable[..., Any]
) -> Callable[..., Any]:
    """The parser of a teacher, or of a student, whose split scheme is the first one."""

    def build(student: bool = False, **changes: Any) -> Any:
        args = experiment_args(tmp_path / "teacher", student=student, **changes)
        parser = make_parser(args, APISladeStudent if student else BaseAPIParser)
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
    parser = make(student=True)
    trunks = {}
    for name in SCHEMES:
        parser.split_manager.set_curr_split_scheme(name)
        trunks[name] = tiny_trunk()
        (tmp_path / "stage" / name).mkdir(parents=True)
        manifest = {
            "labeled_sha256": train_split_sha256(parser.split_manager, "train"),
            "pool_sha256": pool_fingerprint(parser.split_manager.get_unlabeled_dataset("train")),
        }
        save_trunk(trunks[name], manifest, tmp_path / "stage", name)
    return trunks


def entry(tmp_path: Path) -> dict[str, Any]:
    return {"self_supervised": {"folder": str(tmp_path / "stage")}}


def models(**trunk: Any) -> dict[str, Any]:
    return {"trunk": trunk, "embedder": {"MLP": {"layer_sizes": [8]}}}


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
    parser = make(**entry(tmp_path), models=models(TinyTrunk={"hidden": 8}))
    parser.models = {"trunk": parser.get_trunk()}
    with pytest.raises(CheckpointError, match="differs in architecture"):
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


def test_another_pool_is_refused(make: Any, stage: dict[str, nn.Module], tmp_path: Path) -> None:
    """A trunk of another pool may have seen images that are test images here."""
    parser = make(student=True, **entry(tmp_path))
    assert find_trunk(parser) is not None
    pool = {"Blobs": {"subset": "unlabeled", "per_class": 14}}
    parser = make(student=True, unlabeled_dataset=pool, **entry(tmp_path))
    parser.models = {"trunk": parser.get_trunk()}
    with pytest.raises(ExperimentError, match="was trained on another pool"):
        check_trunks(parser)


@pytest.mark.parametrize("state_file", [False, True])
def test_an_experiment_without_a_pool_cannot_compare_it(
    state_file: bool, make: Any, stage: dict[str, nn.Module], tmp_path: Path, caplog: Any
) -> None:
    """In a pipeline its student does; an experiment of its own says so, once."""
    warn_once.cache_clear()
    if state_file:
        (tmp_path / STATE_FILE).touch()
    parser = make(**entry(tmp_path))
    for name in SCHEMES:
        parser.split_manager.set_curr_split_scheme(name)
        start_trunks(parser)
    warnings = [r.getMessage() for r in caplog.records if "pool" in r.getMessage()]
    assert len(warnings) == (not state_file)
    if warnings:
        assert "images of its val and test splits may have been in it" in warnings[0]


def test_with_a_pool_or_without_a_stage_there_is_nothing_to_warn_of(
    make: Any, stage: dict[str, nn.Module], tmp_path: Path, caplog: Any
) -> None:
    warn_once.cache_clear()
    start_trunks(make(student=True, **entry(tmp_path)))
    start_trunks(make())
    assert not caplog.records


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


def test_the_weights_of_a_trunk_are_recorded(make: Any, tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    weights = {"architecture": "resnet18", "weights": str(tmp_path / "w.pth")}
    parser = make(models=models(TorchvisionTrunk=weights))
    parser.set_models_optimizers_losses()
    recorded = json.loads((tmp_path / "teacher" / SCHEMES[0] / RECORD).read_text())
    assert recorded == {
        "self_supervised_sha256": None,
        "weights": {
            "source": str(tmp_path / "w.pth"),
            "sha256": sha256_of_file(tmp_path / "w.pth"),
            "tensors": 120,
            "left_over": {"fc": 2},
        },
    }
    (tmp_path / "w.pth").rename(tmp_path / "moved.pth")
    moved = make(
        models=models(TorchvisionTrunk={**weights, "weights": str(tmp_path / "moved.pth")})
    )
    moved.set_models_optimizers_losses()
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    with pytest.raises(ExperimentError, match=r"or give their new paths \(--models"):
        make(models=models(TorchvisionTrunk=weights)).set_models_optimizers_losses()


@pytest.mark.parametrize(
    ("trunk", "file", "build", "source", "tensors"),
    [  # 20 convolutions without bias and 69 with it, each with a batch norm of 5 tensors
        ({"resnet18": {"weights": "IMAGENET1K_V1"}}, "resnet18-f37072fd.pth",
         lambda: torchvision.models.resnet18(weights=None),
         "resnet18, weights IMAGENET1K_V1", 120),
        ({"bninception": None}, "bn_inception-52deb4733.pth",
         lambda: pretrainedmodels.bninception(pretrained=None),
         "bninception, pretrained imagenet", 483),
    ],
)  # fmt: skip
def test_the_weights_that_the_host_s_models_bring_are_recorded(
    trunk: dict[str, Any], file: str, build: Any, source: str, tensors: int,
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As they were loaded, also where the weights of the SwAV stage or of a checkpoint follow."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "hub" / "checkpoints").mkdir(parents=True)
    published = build()
    torch.save(published.state_dict(), tmp_path / "home" / "hub" / "checkpoints" / file)
    host_functions.set_last_linear(published, nn.Identity())
    weights = {"source": source, "tensors": tensors, "state_sha256": state_sha256(published)}
    path = tmp_path / "teacher" / SCHEMES[0] / RECORD
    first, resumed = (make(models=models(**trunk)) for _ in range(2))
    first.set_models_optimizers_losses()
    assert json.loads(path.read_text()) == {"self_supervised_sha256": None, "weights": weights}
    next(first.models["trunk"].parameters()).data += 1
    first.hooks.save_models(first.trainer, first.model_folder, 1)
    resumed.set_models_optimizers_losses()
    assert state_sha256(resumed.models["trunk"]) == state_sha256(first.models["trunk"])
    shutil.rmtree(tmp_path / "teacher")

    parser = make(models=models(**trunk), **entry(tmp_path))
    manifest = {"labeled_sha256": train_split_sha256(parser.split_manager, "train")}
    (tmp_path / "stage" / SCHEMES[0]).mkdir(parents=True)
    torch.manual_seed(1)
    tuned = build()
    host_functions.set_last_linear(tuned, nn.Identity())
    save_trunk(tuned, manifest, tmp_path / "stage", SCHEMES[0])
    parser.set_models_optimizers_losses()
    assert state_sha256(parser.models["trunk"].module) == state_sha256(tuned)
    assert json.loads(path.read_text())["weights"] == weights
