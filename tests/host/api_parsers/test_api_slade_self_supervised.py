"""The SwAV stage: one trunk a split scheme, from training images and pool only."""

import json
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torchvision
from PIL import Image

from slade_plugin.base.errors import CheckpointError, ConfigError, DataError, ExperimentError
from slade_plugin.data.datasets import Glyphs
from slade_plugin.host.api_parsers import APISladeSelfSupervised
from slade_plugin.host.api_parsers.seeded import seeded
from slade_plugin.method.models.weight_files import state_sha256
from slade_plugin.method.self_supervised.swav import SwAVTraining
from slade_plugin.method.self_supervised.trunk_file import trunk_paths
from slade_plugin.runner import SladeRunner

SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]
SETTINGS: dict[str, Any] = {
    "num_epochs": 2, "batch_size": 16, "num_prototypes": 6, "projection_hidden_size": 8,
    "projection_size": 4, "queue_length": 20, "queue_start_epoch": 1,
    "optimizer": {"Adam": {"lr": 0.001}},
    "views": {
        "crop_sizes": [32], "crop_counts": [2], "crop_min_scales": [0.5], "crop_max_scales": [1.0],
        "hf_prob": 0, "cj_prob": 0, "random_gray_scale": 0, "gaussian_blur": 0,
    },
}  # fmt: skip


class WatchedGlyphs(Glyphs):
    """Keeps a list of which images of which subset were looked at; a small pool."""

    seen: ClassVar[list[tuple[str, int]]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.subset == "unlabeled":
            self.labels = self.labels[:32]

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.seen.append((self.subset, int(index)))
        return super().__getitem__(index)


@pytest.fixture(scope="module")
def getter() -> Any:
    runner = SladeRunner()
    runner.register("dataset", WatchedGlyphs)
    return runner.pytorch_getter


@pytest.fixture(scope="module")
def stage_in(
    glyphs_root: Path, experiment_args: Callable[..., Namespace], getter: Any
) -> Callable[..., Any]:
    """Makes the stage's parser, writing into `root / "stage"`."""

    def make(root: Path, settings: dict[str, Any] | None = None, **changes: Any) -> Any:
        glyphs = {"letters_per_script": 6, "instances_per_face": 1}
        args = experiment_args(
            root / "student",
            **{
                "dataset": {"WatchedGlyphs": {"subset": "labeled", **glyphs}},
                "unlabeled_dataset": {"WatchedGlyphs": {"subset": "unlabeled", **glyphs}},
                "dataset_root": str(glyphs_root),
                "models": {
                    "trunk": {"conv4": {"hidden_size": 4}},
                    "embedder": {"MLP": {"layer_sizes": [8]}},
                },
                "self_supervised": {"folder": str(root / "stage"), **SETTINGS, **(settings or {})},
                **changes,
            },
        )
        return seeded(APISladeSelfSupervised)(args=args, pytorch_getter=getter)

    return make


@pytest.fixture
def stage(tmp_path: Path, stage_in: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the stage's parser, writing into `tmp_path / "stage"`."""
    WatchedGlyphs.seen.clear()
    return partial(stage_in, tmp_path)


@pytest.fixture(scope="module")
def whole(stage_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stage that nobody stopped. Read only."""
    root = tmp_path_factory.mktemp("whole")
    stage_in(root).run()
    return root / "stage"


@pytest.fixture
def one_scheme() -> dict[str, Any]:
    """Changes of the config that leave a single split scheme."""
    return {
        "split_manager": {
            "ClassDisjointSplitManager": {
                "test_size": 0.5, "test_start_idx": 0.5, "num_training_partitions": 2,
                "num_training_sets": 1, "hierarchy_level": 0,
                "data_and_label_getter_keys": ["data", "label"],
            }
        }
    }  # fmt: skip


def test_no_image_of_val_or_test_is_ever_drawn(stage: Callable[..., Any]) -> None:
    """Each scheme draws from its train split and from the pool."""
    parser = stage({"num_epochs": 3})
    parser.preflight()
    parser.set_up()
    schemes = parser.split_manager.split_scheme_holder.split_schemes
    for number, name in enumerate(SCHEMES):
        splits = {k: set(map(int, v.indices)) for k, v in schemes[name]["views"].items()}
        assert sorted(splits) == ["test", "train", "val"]
        WatchedGlyphs.seen.clear()
        parser.run_split_scheme(number, name)
        labeled = {index for subset, index in WatchedGlyphs.seen if subset == "labeled"}
        pool = {index for subset, index in WatchedGlyphs.seen if subset == "unlabeled"}
        assert labeled
        assert pool
        assert labeled <= splits["train"]
        assert not labeled & (splits["val"] | splits["test"])
        # An epoch leaves an incomplete batch out, so not every image need have come up.
        assert set(map(int, parser.get_unlabeled_views().labeled.indices)) == splits["train"]


def test_every_scheme_gets_a_trunk_and_a_record(stage: Callable[..., Any], tmp_path: Path) -> None:
    manifests = stage().run()
    assert list(manifests) == SCHEMES
    for name, manifest in manifests.items():
        trunk_path, manifest_path = trunk_paths(tmp_path / "stage", name)
        state = torch.load(trunk_path, weights_only=True)
        assert not any(key.startswith(("module.", "fc.")) for key in state)
        assert json.loads(manifest_path.read_text()) == manifest
        assert [epoch["epoch"] for epoch in manifest["epochs"]] == [1, 2]
        assert manifest["settings"]["num_prototypes"] == 6
        assert manifest["versions"]["lightly"]
        lines = (trunk_path.parent / "saved_csvs" / "swav.csv").read_text().splitlines()
        assert lines[0] == "epoch,loss,lr"
        assert [float(line.split(",")[1]) for line in lines[1:]] == [
            epoch["loss"] for epoch in manifest["epochs"]
        ]
        assert not (trunk_path.parent / "checkpoint.pth").exists()
    assert manifests[SCHEMES[0]]["labeled_sha256"] != manifests[SCHEMES[1]]["labeled_sha256"]
    assert manifests[SCHEMES[0]]["seed"] + 1 == manifests[SCHEMES[1]]["seed"]


def test_view_transforms_are_torchvision_s(stage: Callable[..., Any]) -> None:
    plain = stage({"view_transforms": {}})
    inverting = stage({"view_transforms": {"RandomInvert": {"p": 1.0}}})
    images = []
    for parser in (plain, inverting):
        parser.set_up()
        parser.split_manager.set_curr_split_scheme(SCHEMES[0])
        torch.manual_seed(0)
        images.append(parser.get_unlabeled_views()[0][0] * 0.32 + 0.5)  # conv4's mean and std
    torch.testing.assert_close(images[0], 1 - images[1])


def test_the_start_is_that_of_the_host_s_stages(
    stage: Callable[..., Any], one_scheme: dict[str, Any]
) -> None:
    """Without the stage a teacher of this seed would start its first scheme there."""
    manifest = stage(**one_scheme).run()[SCHEMES[0]]
    parser = stage(**one_scheme)
    assert state_sha256(parser.get_trunk()) == manifest["start_sha256"]


@pytest.mark.parametrize(
    ("trunk", "moved"),
    [
        ({"TorchvisionTrunk": {"architecture": "resnet18", "weights": "FILE"}},
         "body.layer4.1.conv2.weight"),
        ({"resnet18": {"weights": "IMAGENET1K_V1"}}, "layer4.1.conv2.weight"),
    ],
)  # fmt: skip
def test_a_trunk_with_published_weights_is_fine_tuned_from_them(
    trunk: dict[str, Any], moved: str, stage: Callable[..., Any], one_scheme: dict[str, Any],
    getter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As config_models/swav_finetuned, with a small ResNet, from a file or by torchvision."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), file)
    getter.register("dataset", Colours)
    glyphs = {"letters_per_script": 6, "instances_per_face": 1}
    models = {"trunk": trunk, "embedder": {"MLP": {"layer_sizes": [8]}}}
    parser = stage(
        {"num_epochs": 1},
        dataset={"Colours": {"subset": "labeled", **glyphs}},
        unlabeled_dataset={"Colours": {"subset": "unlabeled", **glyphs}},
        models=json.loads(json.dumps(models).replace("FILE", str(file))),
        **one_scheme,
    )
    manifest = parser.run()[SCHEMES[0]]
    fresh = parser.get_trunk()
    if "resnet18" in trunk:
        assert manifest["start_weights"] == {
            "source": "resnet18, weights IMAGENET1K_V1",
            "tensors": 120,
            "state_sha256": state_sha256(fresh),
        }
    else:
        assert manifest["start_weights"]["source"] == str(file)
        assert manifest["start_weights"]["left_over"] == {"fc": 2}
    saved = torch.load(trunk_paths(tmp_path / "stage", SCHEMES[0])[0], weights_only=True)
    start = {k: v.clone() for k, v in fresh.state_dict().items()}
    fresh.load_state_dict(saved)
    assert moved in [k for k in start if not torch.equal(start[k], saved[k])]


def test_a_trunk_that_lies_there_is_left_alone(
    stage: Callable[..., Any], bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifests = stage().run()
    before = bench.snapshot(tmp_path / "stage")
    monkeypatch.setattr(SwAVTraining, "run", None)
    assert stage().run() == manifests
    assert bench.snapshot(tmp_path / "stage") == before


@pytest.mark.parametrize(
    ("settings", "changes", "text"),
    [
        ({"num_epochs": 3}, {}, "was made for settings"),
        ({}, {"seed": 1}, "was made for seed 0; expected 1"),
        ({}, {"models": {"trunk": {"conv4": {}}, "embedder": {}}}, "was made for start_sha256"),
    ],
)
def test_a_trunk_of_another_origin_is_refused(
    settings: dict[str, Any], changes: dict[str, Any], text: str, stage: Callable[..., Any],
    one_scheme: dict[str, Any],
) -> None:  # fmt: skip
    stage(**one_scheme).run()
    with pytest.raises(ExperimentError, match=text):
        stage(settings, **one_scheme, **changes).run()


@pytest.mark.parametrize("moment", ["_train_epoch", "_save", "record"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_stopped_and_resumed_is_bit_for_bit_the_whole_run(
    moment: str, call: int, stage: Callable[..., Any], whole: Path, bench: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Two schemes of two epochs; the third call belongs to the second scheme."""
    owner: Any = SwAVTraining
    if moment == "record":
        import slade_plugin.host.api_parsers.api_slade_self_supervised as owner

        call += call > 2  # it is also called at the start of a scheme
    original = getattr(owner, moment)
    calls = [0]

    def interrupted(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage().run()
    stage().run()
    assert bench.tensors(tmp_path / "stage") == bench.tensors(whole)
    assert bench.records(tmp_path / "stage") == bench.records(whole)
    assert len(bench.tensors(whole)) == 2


def test_a_checkpoint_of_another_run_is_refused(
    stage: Callable[..., Any], one_scheme: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            "slade_plugin.host.api_parsers.api_slade_self_supervised.save_trunk", interrupted
        )
        with pytest.raises(KeyboardInterrupt):
            stage(**one_scheme).run()
    assert (tmp_path / "stage" / SCHEMES[0] / "checkpoint.pth").exists()
    with pytest.raises(CheckpointError, match="was made with other settings"):
        stage({"epsilon": 0.1}, **one_scheme).run()


def test_a_checkpoint_that_was_not_removed_in_time_goes_with_the_next_run(
    stage: Callable[..., Any], bench: Any, one_scheme: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Stopped right after the trunk was saved; a trunk that is refused leaves it alone."""
    checkpoint = tmp_path / "stage" / SCHEMES[0] / "checkpoint.pth"
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if path == checkpoint:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage(**one_scheme).run()
    before = bench.snapshot(tmp_path / "stage")
    assert checkpoint.exists()
    with pytest.raises(ExperimentError, match="was made for seed"):
        stage(**one_scheme, seed=1).run()
    assert bench.snapshot(tmp_path / "stage") == before
    stage(**one_scheme).run()
    before.pop(str(checkpoint.relative_to(tmp_path / "stage")))
    assert bench.snapshot(tmp_path / "stage") == before


class Colours(WatchedGlyphs):
    """Glyphs of three channels."""

    def __init__(self, *args: Any, transform: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, transform=lambda image: transform(Image.merge("RGB", [image] * 3)), **kwargs
        )


@pytest.mark.parametrize(
    ("settings", "changes", "error", "text"),
    [
        ({"batch_size": 10_000}, {}, ConfigError, "batch_size is 10000, but there are only"),
        ({"views": SETTINGS["views"] | {"crop_sizes": [24]}}, {}, DataError, "expected .N, 1, 32"),
        ({"views": SETTINGS["views"] | {"size": 3}}, {}, ConfigError, "no argument 'size'"),
        ({"view_transforms": {"Invert": {}}}, {}, ConfigError, "no transform named 'Invert'"),
        ({"view_transforms": {"RandomInvert": {"q": 1}}}, {}, ConfigError, "no argument 'q'"),
        ({"optimizer": {"Adamm": {}}}, {}, ConfigError, "did you mean 'Adam'"),
        ({"optimizer": {"Adam": {"lr": -1.0}}}, {}, ConfigError, "Invalid learning rate"),
        ({}, {"unlabeled_dataset": None}, ConfigError, "there is no unlabeled_dataset"),
    ],
)
def test_what_does_not_fit_is_found_before_training(
    settings: dict[str, Any], changes: dict[str, Any], error: type[Exception], text: str,
    stage: Callable[..., Any], tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(error, match=text):
        stage(settings, **changes).preflight()
    assert not (tmp_path / "stage").exists()


def test_images_of_other_channels_in_the_pool_are_found_before_training(
    stage: Callable[..., Any], getter: Any
) -> None:
    getter.register("dataset", Colours)
    pool = {"Colours": {"subset": "unlabeled", "letters_per_script": 6, "instances_per_face": 1}}
    with pytest.raises(DataError, match="have the same channels"):
        stage(unlabeled_dataset=pool).preflight()


def test_a_part_that_fits_passes_the_preflight(stage: Callable[..., Any]) -> None:
    parser = stage()
    parser.preflight()
    assert len(parser.get_unlabeled_views()) > SETTINGS["batch_size"]
