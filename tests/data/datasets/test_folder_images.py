from pathlib import Path
from typing import Any

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
        ({"path": 3}, ConfigError, "path is 3 and labeled is True; expected a folder or a file"),
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
