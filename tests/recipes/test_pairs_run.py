"""The paper's pairs of data sets: what the configs bring, and small runs through all stages."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slade_plugin.data.datasets import Cars196Files, CompCars, CUB200Files, Fashion200k, NABirds
from tests.car_trees import cars196_one_list, comp_cars
from tests.clothes_trees import fashion200k, in_shop

PHOTOGRAPHS = {"dataloader_num_workers": 2, "freeze_trunk_batchnorm": True, "batch_size": 32}
BIRDS = ("cub200_nabirds", "CUB200Files", {"NABirds": {}})
CARS = ("cars196_compcars", "Cars196Files", {"CompCars": {"min_images_per_class": "match"}})


@pytest.mark.parametrize(
    ("loss", "pair", "labeled", "pool"),
    [("slade", *BIRDS), ("slade_ms", *BIRDS), ("slade", *CARS)],
)
def test_every_stage_gets_what_photographs_need(
    loss: str, pair: str, labeled: str, pool: dict[str, Any], bench: Any
) -> None:
    """Though the method brings its own trainer."""
    stages = bench.stages(f"--config_loss {loss} --config_dataset {pair}")
    assert stages.keys() == {"teacher", "student", "baseline"}
    for name, args in stages.items():
        (trainer,) = args.trainer.values()
        assert PHOTOGRAPHS.items() <= trainer.items(), name
        assert args.models["trunk"] == {"resnet50": {"weights": "IMAGENET1K_V1"}}
        assert args.models["embedder"] == {"MLP": {"layer_sizes": [128]}}
        assert args.optimizers["trunk_optimizer"]["RMSprop"]["lr"] == 1e-6
        assert args.transforms["eval"] == {"Resize": {"size": 256}, "CenterCrop": {"size": 227}}
        assert args.dataset == {labeled: {}}
        ((_, tester),) = args.tester.items()
        assert tester["dataloader_num_workers"] == 2
    student = stages["student"]
    assert student.unlabeled_dataset == pool
    assert (
        student.pseudo_labels["clusterer"]["KMeans"]["num_clusters"] == 400
    )  # the poster's best on NABirds
    assert "basis_loss_optimizer" in student.optimizers
    lengths = {name: args.num_epochs_train for name, args in stages.items()}
    assert lengths == {"teacher": 20, "student": 40, "baseline": 60}
    # MLRC's rates are constant, in all of their parts.
    kinds = [key for args in stages.values() for o in args.optimizers.values() for key in o]
    assert not any(kind.startswith("scheduler") for kind in kinds)


def test_every_stage_of_clothes_is_evaluated_from_query_to_gallery(bench: Any) -> None:
    """The method's own tester gives way."""
    for loss in ("slade", "slade_ms"):
        stages = bench.stages(f"--config_loss {loss} --config_dataset in_shop_fashion200k")
        assert stages.keys() == {"teacher", "student", "baseline"}
        for args in stages.values():
            settings = args.tester["QueryGalleryTester"]
            assert settings["accuracy_calculator"].keys() == {"RecallAtKCalculator"}
            assert settings["dataloader_num_workers"] == 2


def test_another_trunk_can_be_named(bench: Any) -> None:
    config = bench.config("--config_dataset cub200_nabirds --config_models swav")
    (trunk,) = config.models["trunk"]
    assert trunk == "TorchvisionTrunk"


def test_birds_run_through_all_stages(bench: Any, make_birds: Any, tmp_path: Path) -> None:
    """From caches, and with a test image in the pool."""
    data = make_birds(tmp_path / "data")
    original = CUB200Files(data).image_list.path(31)
    copy = NABirds(data).image_list.path(5)
    copy.write_bytes(original.read_bytes())
    flags = bench.tiny_photographs() + "--config_dataset cub200_nabirds " + " ".join(
        f"--{key} {{{name}: {{cache: {{short_side: 36}}}}}}"
        for key, name in (("dataset", "CUB200Files"), ("unlabeled_dataset", "NABirds"))
    )  # fmt: skip
    outcome = bench.on(data)(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "slade_cub200_nabirds_seed0"
    (scheme,) = (path.stem for path in (folder / "pseudo_labels").glob("*.json"))
    assert scheme == "Test50_50_Partitions4_0"  # the first of MLRC's four folds
    record = json.loads((folder / "pseudo_labels" / f"{scheme}.json").read_text())
    assert (record["num_images"], record["num_clusters"]) == (31, 4)
    assert record["pool_sha256"] == NABirds(data).keep(np.arange(32) != 5).fingerprint
    assert "leakage: 1 of 32 images of the pool are val or test images too" in outcome.out
    (dropped,) = json.loads((folder / "leakage.json").read_text())["dropped"]
    assert str(copy).endswith(dropped["image"])
    assert str(original).endswith(dropped["evaluated_image"])
    assert dropped["splits"] == ["test"]
    assert len(list((data / ".image_cache").glob("*.json"))) == 2
    assert "nmi" in str(record["agreement"]).lower()
    assert re.search(r"\| student +\| +\d+\.\d\d +\| +\d+\.\d\d +\|", outcome.out)


def test_cars_run_through_all_stages(bench: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    cars196_one_list(data / "cars196")
    comp_cars(data / "compcars" / "data")
    flags = bench.tiny_photographs() + "--config_dataset cars196_compcars"
    outcome = bench.on(data)(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "slade_cars196_compcars_seed0"
    pool = CompCars(data, min_images_per_class="match")
    state = json.loads((folder / "pipeline.json").read_text())
    assert state["data"]["labeled"] == Cars196Files(data).fingerprint
    assert state["data"]["pool"] == pool.fingerprint
    (manifest,) = (folder / "pseudo_labels").glob("*.json")
    assert json.loads(manifest.read_text())["num_images"] == len(pool) == 30
    rows = json.loads((folder / "results" / "table.json").read_text())["rows"]
    found = {(row["experiment"], row["split"]) for row in rows}
    assert found == {(e, s) for e in ("teacher", "student", "baseline") for s in ("val", "test")}


def test_clothes_run_through_all_stages(bench: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    in_shop(data / "in_shop")
    fashion200k(data / "fashion200k")
    flags = bench.tiny_photographs() + (
        "--config_dataset in_shop_fashion200k --split_manager~APPLY~2 {num_training_partitions: 4}"
    )
    outcome = bench.on(data)(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "slade_in_shop_fashion200k_seed0"
    (record,) = (folder / "pseudo_labels").glob("*.json")
    assert record.stem == "QueryGallery_Partitions4_0"
    pool = Fashion200k(data, min_images_per_class="match")
    assert json.loads(record.read_text())["pool_sha256"] == pool.fingerprint
    header = next(line for line in outcome.out.splitlines() if line.startswith("| experiment"))
    assert [cell.strip() for cell in header.strip("|").split("|")][1:] == [
        f"{split} {metric}"
        for metric in ("MAP@R", "P@1", *(f"R@{k}" for k in (1, 10, 20, 30, 40)))
        for split in ("val", "test")
    ]
    rows = json.loads((folder / "results" / "table.json").read_text())["rows"]
    tests = [row for row in rows if row["split"] == "test"]
    assert {row["experiment"] for row in tests} == {"teacher", "student", "baseline"}
    for row in tests:  # four items with 2 queries and 3 gallery images each
        assert row["recall_at_1"] == row["precision_at_1"]
        assert (row["recall_at_1"] * 8 / 100).is_integer()
        assert (row["r_precision"] * 8 * 3 / 100) == pytest.approx(round(row["r_precision"] * 0.24))
        assert row["recall_at_20"] == 100, "there are 12 gallery images"
        assert 0 < row["mean_average_precision_at_r"] < 100, "a case that tells nothing"
