from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.base.warning import warn_once
from slade_plugin.data.datasets import FolderImages

CLASSES = {"cup": 3, "pot": 2, "vase": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder a class, and a list of each kind beside it. Read only."""
    root = tmp_path_factory.mktemp("root")
    paths = [f"photos/{name}/{i}.png" for name, n in CLASSES.items() for i in range(n)]
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(root / path)
    rows = [f"{path},{path.split('/')[1]}" for path in paths]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
    (root / "paths.txt").write_text("\n".join(paths))
    return root


def test_folders_and_table_are_the_same_data(root: Path) -> None:
    folders = FolderImages(str(root), path="photos")
    table = FolderImages("nowhere", path=str(root / "labels.csv"))
    for data in (folders, table):
        assert data.class_names == list(CLASSES)
        assert data.labels.tolist() == [0, 0, 0, 1, 1, 2]
        assert data[4]["label"] == 1
        assert data[4]["data"].getpixel((0, 0)) == (4, 0, 0)


def test_tree_and_list_are_the_same_pool(root: Path) -> None:
    tree = FolderImages(root, path="photos", labeled=False)
    listed = FolderImages(root, path="paths.txt", labeled=False)
    for data in (tree, listed):
        assert len(data) == 6
        assert data[5]["data"].getpixel((0, 0)) == (5, 0, 0)
        assert data[5]["label"] == 0
    assert tree.fingerprint != FolderImages(root, path="photos").fingerprint


def test_without_a_path_it_is_the_root(root: Path) -> None:
    assert FolderImages(root / "photos").class_names == list(CLASSES)
    assert len(FolderImages.find(root / "photos")) == 6


def test_small_classes_are_left_out_and_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    for _ in range(2):
        data = FolderImages(root, path="photos", min_images_per_class=2)
    assert data.class_names == ["cup", "pot"]
    (warning,) = caplog.messages
    assert warning.startswith(
        "FolderImages: 1 of 3 classes have fewer than 2 images and are left out, for example 'vase'"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"path": None}, ConfigError, "--labeled is not given; expected your labeled images"),
        ({"path": None, "labeled": False}, ConfigError, "--unlabeled is not given; expected your"),
        (
            {"path": 3},
            ConfigError,
            r"path is 3; expected a folder or a file \(YAML read it as int, .* quotes around it",
        ),
        ({"path": "photos", "labeled": 1}, ConfigError, "labeled is 1; expected"),
        (
            {"path": "photo"},
            DataError,
            r"holds no photo \(did you mean 'photos'\?\).*\(--labeled\)",
        ),
        ({"path": "no", "labeled": False}, DataError, r"holds no no; .*\(--unlabeled\)"),
        ({"path": "photos", "excluded_classes": ["cups"]}, ConfigError, "did you mean 'cup'"),
    ],
)
def test_what_is_wrong_is_said(
    root: Path, options: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        FolderImages(root, **options)


@pytest.fixture
def spelled(tmp_path: Path) -> Path:
    for number, name in enumerate(("Cup", "cup", "mug", "pot")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(1 + number % 2):
            Image.new("RGB", (4, 3), (number, i, 0)).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path


def test_spellings_of_one_class_are_named(spelled: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    for _ in range(2):
        assert len(FolderImages(spelled, path="photos").class_names) == 4
    (warning,) = caplog.messages
    assert "'Cup' = 'cup'. They are kept apart; " in warning
    assert "merge_spellings: True" in warning


def test_and_merged_if_asked_for(spelled: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    merged = FolderImages(spelled, path="photos", merge_spellings=True)
    assert merged.class_names == ["cup", "mug", "pot"]
    assert caplog.messages == []
    assert merged.fingerprint != FolderImages(spelled, path="photos").fingerprint


def test_the_value_range_reaches_the_pixels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.arange(0, 4096, 273, dtype=np.uint16).reshape(4, 4)).save(
            tmp_path / name / "0.png"
        )
    with pytest.raises(DataError, match=r"value_range: \[0, 4095\]"):
        FolderImages(tmp_path)[0]
    images = FolderImages(tmp_path, value_range=[0, 4095])
    assert [images[0]["data"].getpixel((i, 0))[0] for i in range(4)] == [0, 17, 34, 51]
    with pytest.raises(DataError, match="2 of 2 images cannot be decoded"):
        FolderImages(tmp_path, cache={"short_side": 16})
    cached = FolderImages(tmp_path, value_range=[0, 4095], cache={"short_side": 16})
    assert cached[1]["data"].getpixel((3, 3)) == (255, 255, 255)
