from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from slade_plugin.base.errors import DataError
from slade_plugin.data.files.matlab_files import read_records, read_texts
from tests.car_trees import cells, structs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "annotations.mat"
    rows = [("a.jpg", np.uint16(300), np.uint8(2)), ("b.jpg", np.uint16(7), np.uint8(1))]
    content = {
        "annotations": structs(["fname", "bbox_x1", "class"], rows),
        "one": structs(["fname", "class"], [("c.jpg", np.uint8(9))]),
        "names": cells(["Citroën", "", " C/V "], (-1, 1)),
        "name": cells(["Audi"], (1, 1)),
    }
    savemat(path, content)
    return path


def test_cells_become_texts(path: Path) -> None:
    assert read_texts(path, "names") == ["Citroën", "", "C/V"]
    assert read_texts(path, "name") == ["Audi"]


def test_structs_become_one_list_a_field(path: Path) -> None:
    names, ids = read_records(path, "annotations", ["fname", "class"])
    assert names == ["a.jpg", "b.jpg"]
    assert ids == [2, 1]
    assert read_records(path, "annotations", ["bbox_x1"]) == [[300, 7]]
    assert read_records(path, "one", ["fname", "class"]) == [["c.jpg"], [9]]


def test_what_is_missing_is_named(path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations\.mat has no variable makes; expected"):
        read_texts(path, "makes")
    with pytest.raises(DataError, match="one has no field bbox_x1; it has fname, class"):
        read_records(path, "one", ["fname", "bbox_x1"])
    with pytest.raises(DataError, match="names has no field class; it has none"):
        read_records(path, "names", ["class"])


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>"])
def test_a_file_that_is_no_matlab_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "cars_annos.mat"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"cars_annos\.mat cannot be read as a MATLAB file: .+"):
        read_texts(path, "class_names")


def test_a_file_that_is_cut_off_is_named(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"annotations\.mat cannot be read as a MATLAB file: .+"):
        read_texts(path, "name")
