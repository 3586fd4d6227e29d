import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slade_plugin.config.composition import config_root
from slade_plugin.experiments.studies.config_check import read_stages
from slade_plugin.experiments.studies.estimate import (
    Probe,
    Seconds,
    count_images,
    image_size,
    run_hours,
)
from slade_plugin.experiments.studies.plan import Run, plan_runs
from slade_plugin.experiments.studies.study_file import read_study
from slade_plugin.stages.kinds import PLAIN


def runs_of(dataset: str, folder: Path) -> dict[str, Run]:
    """The runs of the main table by their settings."""
    name = "main_table_glyphs" if dataset == "glyphs" else "main_table"
    study = read_study(config_root() / "studies" / f"{name}.yaml").selected([dataset])
    return {setting: run for (_, _, setting), run in plan_runs(study, folder, [0]).items()}


def test_hours_worked_out_by_hand() -> None:
    """Per split scheme 20 steps of 32 images; 800 * (2 + 1) / 8 + 800 images evaluated."""
    args = SimpleNamespace(
        trainer={"MetricLossOnly": {"batch_size": 32, "iterations_per_epoch": 10}},
        num_epochs_train=2,
        save_interval=1,
    )
    images = {"labeled": 800, "pool": 500, "split_schemes": 4}
    hours = run_hours({PLAIN: args}, images, lambda _: Seconds(train=0.5, forward=0.25))
    assert hours == pytest.approx(4 * (20 * 32 * 0.5 + (300 + 800) * 0.25) / 3600)
    longer = run_hours({"teacher": args}, images, lambda _: Seconds(train=0.5, forward=0.25))
    assert longer - hours == pytest.approx(4 * 500 * 0.25 / 3600)  # pseudo labels
    args.num_epochs_train = {"scheme0": 1, "scheme1": 2}  # the longest counts for all
    assert run_hours({PLAIN: args}, images, lambda _: Seconds(0.5, 0.25)) == hours
    args.trainer["MetricLossOnly"]["iterations_per_epoch"] = None  # as many as the sampler gives
    assert run_hours({PLAIN: args}, images, lambda _: Seconds(0.5, 0.25)) is None


def test_the_swav_stage_is_counted(tmp_path: Path) -> None:
    """By its views: two of 32 pixels where the model takes 32."""
    runs = runs_of("glyphs", tmp_path)
    stages = {name: read_stages(runs[name]) for name in ("S1", "S2")}
    stages["student alone"] = {"student": stages["S2"]["student"]}  # from a teacher's trunks
    stages["without SwAV"] = {"student": stages["S1"]["student"]}
    images = {"labeled": 18261, "pool": 15072, "split_schemes": 2}
    hours = {k: run_hours(v, images, lambda _: Seconds(3600.0, 0.0)) for k, v in stages.items()}
    trained = (18261 * 3 / 8 + 15072) * 4  # images of each split scheme, epochs
    assert hours["S2"] - hours["S1"] == pytest.approx(2 * 2 * trained)
    assert hours["student alone"] == hours["without SwAV"]


@pytest.mark.parametrize(
    ("dataset", "counts"),
    [
        ("glyphs", (18261, 15072, 2)),
        ("cub200_nabirds", (11788, 48562, 4)),
        ("cars196_compcars", (16185, 16537, 4)),  # of the pool: as filtered by the poster
        ("in_shop_fashion200k", (52712, 14635, 1)),
    ],
)
def test_images_are_counted_without_the_files(
    dataset: str, counts: tuple[int, ...], full_getter: Any, tmp_path: Path
) -> None:
    run = runs_of(dataset, tmp_path)["contrastive"]
    found = count_images(read_stages(run)[PLAIN], full_getter)
    assert found == dict(zip(("labeled", "pool", "split_schemes"), counts, strict=True))


def test_the_data_sets_that_are_made_have_the_documented_images(full_getter: Any) -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    for name in ("Glyphs", "Icons"):
        args = SimpleNamespace(
            dataset={name: None},
            unlabeled_dataset={name: {"subset": "unlabeled"}},
            split_manager={"ClassDisjointSplitManager": {"num_training_sets": 2}},
        )
        found = count_images(args, full_getter)
        assert found is not None
        assert re.search(rf"\| {name}.*, labeled.*\| {found['labeled']:,} \|", text)
        assert re.search(rf"\| {name}, pool.*\| {found['pool']:,} \|", text)


def test_images_of_one_s_own_are_not_counted(full_getter: Any) -> None:
    args = SimpleNamespace(
        dataset={"FolderImages": {"folder": "mine"}},
        unlabeled_dataset={"Glyphs": {"subset": "unlabeled"}},
        split_manager={"ClassDisjointSplitManager": {"num_training_sets": 2}},
    )
    assert count_images(args, full_getter) is None


def test_a_plain_experiment_may_have_no_pool_and_other_splits(full_getter: Any) -> None:
    args = SimpleNamespace(
        dataset={"Glyphs": None},
        split_manager={"ClassDisjointSplitManager": {"num_training_sets": 2}},
    )
    found = count_images(args, full_getter)
    assert found == {"labeled": 18261, "pool": 0, "split_schemes": 2}
    args.split_manager = {"PredefinedSplitManager": None}
    assert count_images(args, full_getter) is None


def test_a_model_is_timed_once_and_without_its_weights(full_getter: Any) -> None:
    probe = Probe(full_getter, "cpu", steps=1)
    trunk = {"TorchvisionTrunk": {"architecture": "resnet18", "weights": "no_such_file.pth"}}
    args = SimpleNamespace(
        models={"trunk": trunk, "embedder": {"MLP": {"layer_sizes": [8]}}},
        trainer={"MetricLossOnly": {"batch_size": 2}},
        transforms={"train": {"Resize": {"size": 36}, "RandomResizedCrop": {"size": 32}}},
    )
    seconds = probe(args)
    assert 0 < seconds.forward
    assert 0 < seconds.train
    assert probe(args) is seconds
    assert trunk["TorchvisionTrunk"]["weights"] == "no_such_file.pth"


def test_the_benchmark_s_trunk_is_timed(full_getter: Any) -> None:
    """Without weights it does not say what images it takes."""
    args = SimpleNamespace(
        models={
            "trunk": {"bninception": {"pretrained": "imagenet"}},
            "embedder": {"MLP": {"layer_sizes": [8]}},
        },
        trainer={"MetricLossOnly": {"batch_size": 1}},
        transforms={"train": {"RandomResizedCrop": {"size": 224}}},
    )
    assert Probe(full_getter, "cpu", steps=1)(args).train > 0


def test_the_last_transform_gives_the_size() -> None:
    assert image_size({"train": {"Resize": {"size": 256}, "RandomCrop": {"size": 227}}}) == 227
    assert image_size({"train": {}}) == 32
    assert image_size({"train": {"Resize": {"size": [64, 48]}, "RandomHorizontalFlip": None}}) == 64
