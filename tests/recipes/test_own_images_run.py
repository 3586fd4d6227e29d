"""One's own images by two paths: what the configs give to every stage, and a small run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.warning import warn_once

PATHS = "--labeled photos --unlabeled more"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with lists: 16 classes of 4 images, one of 1 image, a pool of
    40 others and one image of each large class. Read only."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    rows = []
    for number in range(105):
        noise = rng.integers(0, 40, (10, 12, 3)) + (number // 4 * 37) % 200
        Image.fromarray(noise.astype(np.uint8)).save(root / "images" / f"{number}.jpg")
        rows.append(f"images/{number}.jpg,Größe {number // 4}")
    (root / "labels.csv").write_text("path,label\n" + "\n".join(rows[:65]), encoding="utf-8")
    (root / "pool.txt").write_text("\n".join(row.split(",")[0] for row in rows[0:64:4] + rows[65:]))
    (root / "images" / "broken.jpg").write_bytes(b"no image")
    (root / "broken.txt").write_text("images/65.jpg\nimages/broken.jpg")
    return root


@pytest.mark.parametrize(("name", "trunk"), [("folders", "resnet50"), ("folders_small", "conv4")])
@pytest.mark.parametrize("loss", ["slade", "slade_ms"])
def test_every_stage_gets_what_the_images_need(
    name: str, trunk: str, loss: str, bench: Any
) -> None:
    """Though the method brings its own trainer and its own k."""
    stages = bench.stages(f"--config_loss {loss} --config_dataset {name} {PATHS}")
    for stage, args in stages.items():
        (trainer,) = args.trainer.values()
        assert trainer["dataloader_num_workers"] == (2 if name == "folders" else 0), stage
        assert trainer["freeze_trunk_batchnorm"] is (name == "folders")
        assert list(args.models["trunk"]) == [trunk]
        rate = args.optimizers["trunk_optimizer"]["Adam"]["lr"]
        assert rate == (1e-5 if name == "folders" else 1e-3)
        (tester,) = args.tester.values()
        assert tester["dataloader_num_workers"] == trainer["dataloader_num_workers"]
        (splits,) = args.split_manager.values()
        assert (splits["shuffle"], splits["random_seed"]) == (True, 0)
    assert stages["student"].pseudo_labels["clusterer"]["KMeans"]["num_clusters"] is None


def test_both_configs_read_the_same_data(bench: Any) -> None:
    large, small = (
        bench.config(f"--config_loss slade --config_dataset {name} {PATHS}")
        for name in ("folders", "folders_small")
    )
    for config in (large, small):
        for data in (config.dataset, config.unlabeled_dataset):
            # Behind a Resize to its size a cache changes nothing.
            cache = data["FolderImages"].pop("cache")
            sides = {config.transforms[kind]["Resize"]["size"] for kind in ("train", "eval")}
            assert sides == {cache["short_side"]}
    for key in ("dataset", "unlabeled_dataset", "split_manager", "pseudo_labels"):
        assert getattr(large, key) == getattr(small, key)


def test_lists_run_through_all_stages(
    bench: Any, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    warn_once.cache_clear()
    photos = Path(shutil.copytree(photos, tmp_path / "photos"))
    flags = bench.tiny_photographs().replace("num_clusters: 4", "num_restarts: 1")
    paths = ["--labeled", f"{photos}/labels.csv", "--unlabeled", f"{photos}/pool.txt"]
    outcome = bench.on(tmp_path / "none")(flags, "--config_dataset folders", *paths, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "1 of 17 classes have fewer than 2 images and are left out" in caplog.text
    # Of the 16 classes 8 are test and 2 val.
    assert "leakage: 10 of 56 images of the pool are val or test images too" in outcome.out
    assert re.search(r"pseudo labels: 8 clusters\n +Shuffled\S+: \d+ to \d+ images per cluster, ",
                     outcome.out)  # fmt: skip
    assert re.search(r"\| student +\| +\d+\.\d\d +\| +\d+\.\d\d +\|", outcome.out)
    folder = tmp_path / "slade_folders_seed0"
    (record,) = (folder / "pseudo_labels").glob("*.json")
    manifest = json.loads(record.read_text())
    assert (manifest["num_images"], manifest["num_clusters"]) == (46, 8)
    assert "agreement" not in manifest  # nobody knows the pool's classes

    moved = photos.rename(tmp_path / "moved")
    evaluation = "--experiment_name slade_folders_seed0/student --evaluate --splits_to_eval [test]"
    outcome = bench(evaluation, root=tmp_path)
    assert f"DataError: there is no {photos}/labels.csv: {tmp_path} holds no photos" in outcome.err
    paths = ["--labeled", f"{moved}/labels.csv", "--unlabeled", f"{moved}/pool.txt"]
    outcome = bench(evaluation, *paths, root=tmp_path)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--labeled {root}/labels.csv", "ConfigError: --unlabeled is not given; expected your un"),
        ("--unlabeled {root}/pool.txt", "ConfigError: --labeled is not given; expected your l"),
        ("--labeled {root}/label.csv --unlabeled {root}/images",
         "DataError: there is no {root}/label.csv: {root} holds no label.csv (did you mean"),
        ("--labeled {root}/images --unlabeled {root}/images", "images but no folders; expected"),
        ("--config_dataset default --labeled {root}/labels.csv",
         "names Glyphs, FolderImages; expected exactly one class (--labeled and --unlabeled need"),
        ("--labeled {root}/pool.txt --unlabeled {root}/images",
         "pool.txt: line 1: images/0.jpg (columns: 1); line 2"),
        ("--labeled {root}/labels.csv --unlabeled {root}/broken.txt",
         "DataError: FolderImages: 1 of 2 images cannot be decoded, for example {root}/images/bro"),
        ("--labeled {root}/labels.csv --unlabeled {root}/images --split_manager~APPLY~2 "
         "{num_training_partitions: 9}", "ConfigError: cannot split the labeled data: Cannot"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_training(
    flags: str, message: str, bench: Any, photos: Path, tmp_path: Path
) -> None:
    small = bench.tiny_photographs() + "--config_dataset folders "
    outcome = bench(small, flags.replace("{root}", str(photos)), root=tmp_path / "experiments")
    assert outcome.code == 2
    assert message.replace("{root}", str(photos)) in outcome.err
    assert list(tmp_path.iterdir()) == []
