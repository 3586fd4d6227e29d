"""A labeled set and a pool of small generated photographs, some of which are in both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from powerful_benchmarker.split_managers import (
    ClassDisjointSplitManager,
    ClosedSetSplitManager,
    MLRCSplitManager,
    PredefinedSplitManager,
)
from torch.utils.data import Subset

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.files.image_list import ImageList, remap_labels
from slade_plugin.data.leakage import check
from slade_plugin.data.leakage.check import LeakageSettings, find_leaks

CLASSES = [
    "001.Black_footed_Albatross", "002.Osprey", "003.Fulmar", "004.Gadwall", "005.Crow",
    "006.Tern", "007.Vireo", "008.Mallard",
]  # fmt: skip
POOL_CLASSES = ["Crow", "Mallard (Female)", "Wren"]
FOLDS = {"test_size": 0.5, "test_start_idx": 0.5, "num_training_partitions": 2}


class Tree(ImageFiles):
    """One folder a class."""

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
        labels, names = remap_labels([path.split("/")[0] for path in paths])
        return ImageList(root, np.array(paths), labels, names.tolist())


def photograph(seed: int, size: int = 48) -> Image.Image:
    """Soft blobs, so that an enlarged one is the same picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Eight labeled classes of four images; three of three in the pool; no image is in both."""
    for folder, classes, number, first in (
        ("labeled", CLASSES, 4, 0),
        ("pool", POOL_CLASSES, 3, 100),
    ):
        for name in classes:
            (tmp_path / folder / name).mkdir(parents=True)
            for k in range(number):
                photograph(first).save(tmp_path / folder / name / f"{k}.png")
                first += 1
    return tmp_path / "labeled", tmp_path / "pool"


def schemes_of(labeled: Path, cls: type = ClassDisjointSplitManager, **settings: Any) -> Any:
    manager = cls(num_training_sets=2, **{**FOLDS, **settings})
    manager.create_split_schemes(
        {t: {s: Tree(labeled) for s in manager.split_names} for t in ("train", "eval")}
    )
    return manager.split_scheme_holder.split_schemes


def copy_into_pool(trees: tuple[Path, Path], labeled: str, pool: str) -> None:
    (trees[1] / pool).write_bytes((trees[0] / labeled).read_bytes())


def dropped(trees: tuple[Path, Path], schemes: Any, **settings: Any) -> list[tuple[str, str, Any]]:
    report = find_leaks(schemes, Tree(trees[1]), LeakageSettings(**settings))
    assert report is not None
    entries = report.content["dropped"]
    paths = Tree(trees[1]).image_list.paths
    assert [e["image"] for e in entries] == paths[~report.kept].tolist()
    return [(e["image"], e["evaluated_image"], e["splits"]) for e in entries]


def test_nothing_is_dropped_from_a_clean_pool(trees: tuple[Path, Path]) -> None:
    report = find_leaks(schemes_of(trees[0]), Tree(trees[1]), LeakageSettings())
    assert report is not None
    assert report.kept.tolist() == [True] * 9
    assert report.content["dropped"] == []
    assert report.content["evaluated"] == {"images": 32, "splits": ["test", "val"]}


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (ClassDisjointSplitManager, {}),
        (MLRCSplitManager, {"num_training_partitions": 2}),
        (ClosedSetSplitManager, {"random_seed": 0, "shuffle": True}),
    ],
)
def test_every_val_and_test_image_of_any_scheme_is_found(
    trees: tuple[Path, Path], cls: type, settings: dict[str, Any]
) -> None:
    """Two folds: every image that is not in test is val in one of them."""
    copy_into_pool(trees, "001.Black_footed_Albatross/0.png", "Crow/copy.png")
    copy_into_pool(trees, "008.Mallard/2.png", "Wren/another.png")
    schemes = schemes_of(trees[0], cls, **settings)
    found = dropped(trees, schemes)
    assert [(image, other) for image, other, _ in found] == [
        ("Crow/copy.png", "001.Black_footed_Albatross/0.png"),
        ("Wren/another.png", "008.Mallard/2.png"),
    ]
    for _, other, splits in found:
        (in_test,) = {
            other in scheme["eval"]["test"].dataset.image_list.paths[scheme["eval"]["test"].indices]
            for scheme in schemes.values()
        }
        assert splits == (["test"] if in_test else ["val"])


def test_an_image_that_is_only_trained_on_may_be_in_the_pool(trees: tuple[Path, Path]) -> None:
    schemes = schemes_of(trees[0])
    one = {"first": next(iter(schemes.values()))}
    train, val = (one["first"]["eval"][name] for name in ("train", "val"))
    paths = train.dataset.image_list.paths
    copy_into_pool(trees, paths[train.indices[0]], "Crow/train.png")
    copy_into_pool(trees, paths[val.indices[0]], "Crow/val.png")
    assert [image for image, _, _ in dropped(trees, one)] == ["Crow/val.png"]


def test_query_and_gallery_are_evaluated_on_and_need_no_subset(trees: tuple[Path, Path]) -> None:
    copy_into_pool(trees, "002.Osprey/1.png", "Crow/copy.png")
    whole = Tree(trees[0])
    splits = {"train": Subset(whole, [0]), "query": Subset(Subset(whole, range(4, 8)), [1]),
              "gallery": whole}  # fmt: skip
    manager = PredefinedSplitManager()
    manager.create_split_schemes({"eval": splits})
    schemes = manager.split_scheme_holder.split_schemes
    assert dropped(trees, schemes) == [("Crow/copy.png", "002.Osprey/1.png", ["gallery", "query"])]


def test_near_identical_images_are_found_on_request(trees: tuple[Path, Path]) -> None:
    photograph(5, size=60).save(trees[1] / "Wren/larger.png")
    copy_into_pool(trees, "001.Black_footed_Albatross/3.png", "Wren/same.png")
    schemes = schemes_of(trees[0])
    assert [image for image, _, _ in dropped(trees, schemes)] == ["Wren/same.png"]
    report = find_leaks(schemes, Tree(trees[1]), LeakageSettings(near_identical_bits=4))
    assert report is not None
    larger, same = report.content["dropped"]
    assert (larger["image"], larger["evaluated_image"]) == ("Wren/larger.png", "002.Osprey/1.png")
    assert larger["differing_bits"] in range(5)
    assert (same["image"], same["differing_bits"]) == ("Wren/same.png", None)
    only_near = dropped(trees, schemes, drop_identical=False, near_identical_bits=0)
    assert "Wren/same.png" in [image for image, _, _ in only_near]


def test_switched_off_it_reports_the_class_names_alone(trees: tuple[Path, Path]) -> None:
    copy_into_pool(trees, "008.Mallard/2.png", "Wren/another.png")
    report = find_leaks(schemes_of(trees[0]), Tree(trees[1]), LeakageSettings(drop_identical=False))
    assert report is not None
    assert report.kept.all()
    assert [(c["pool_class"], c["evaluated_class"]) for c in report.content["classes_in_both"]] == [
        ("Crow", "005.Crow"),
        ("Mallard (Female)", "008.Mallard"),
    ]


def test_the_line_and_the_classes_in_both(trees: tuple[Path, Path]) -> None:
    copy_into_pool(trees, "008.Mallard/2.png", "Wren/another.png")
    report = find_leaks(schemes_of(trees[0]), Tree(trees[1]), LeakageSettings())
    assert str(report) == (
        "leakage: 1 of 10 images of the pool are val or test images too and are left out; 2 "
        "classes of the pool have the name of a val or test class"
    )
    assert report is not None
    assert report.content["classes_in_both"][1] == {
        "pool_class": "Mallard (Female)",
        "pool_images": 3,
        "evaluated_class": "008.Mallard",
        "splits": ["test"],
    }


def test_a_pool_of_nothing_else_is_refused(trees: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"all 32 images of the pool are val or test images too"):
        find_leaks(schemes_of(trees[0]), Tree(trees[0]), LeakageSettings())


def test_a_pool_without_files_is_left_alone(trees: tuple[Path, Path], blobs: type) -> None:
    assert find_leaks(schemes_of(trees[0]), blobs(), LeakageSettings()) is None


def test_labeled_data_without_files_is_said_to_be_unchecked(
    trees: tuple[Path, Path], blobs: type
) -> None:
    schemes = {"one": {"eval": {"train": blobs(), "test": blobs()}}}
    report = find_leaks(schemes, Tree(trees[1]), LeakageSettings())
    assert report is not None
    assert report.kept.all()
    assert str(report).startswith("leakage: not checked, since the labeled data set has no files")


def test_stages_share_what_was_found(
    trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    schemes = schemes_of(trees[0])
    calls: list[Callable[..., Any]] = []
    original = check.identical_files
    monkeypatch.setattr(check, "identical_files", lambda *a: (calls.append(a), original(*a))[1])
    first = find_leaks(schemes, Tree(trees[1]), LeakageSettings())
    assert find_leaks(schemes_of(trees[0]), Tree(trees[1]), LeakageSettings()) is first
    assert len(calls) == 1
    copy_into_pool(trees, "008.Mallard/2.png", "Wren/another.png")
    assert find_leaks(schemes, Tree(trees[1]), LeakageSettings()) is not first
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"near_identical_bits": 17},
            r"near_identical_bits is 17; expected an integer in \[0, 16\]",
        ),
        ({"drop": True}, "leakage has no entry 'drop'; expected drop_identical"),
        (False, "leakage is False; expected drop_identical"),
    ],
)
def test_wrong_settings_are_named(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LeakageSettings.from_config(config)
