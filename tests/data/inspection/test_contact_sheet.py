from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import ExperimentError
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection import contact_sheet
from slade_plugin.data.inspection.contact_sheet import CELL, TITLE, write_contact_sheet


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def cell(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    top = row * (CELL + TITLE) + TITLE
    return sheet[top : top + CELL, column * CELL : (column + 1) * CELL]


def test_a_row_a_class_and_a_box_an_image(drawn: Callable[..., ImageList], tmp_path: Path) -> None:
    """Images of one colour each; 120 x 80 becomes 92 x 61, so the box lies at 8 to 69, 15 to 54."""
    images = drawn(ant=1, bee=3)
    colours = [(0, 0, 0), (0, 255, 0), (0, 0, 255), (0, 200, 200)]
    for index, colour in enumerate(colours):
        Image.new("RGB", (120, 80), colour).save(images.path(index), quality=100)
    assert images.boxes is not None
    write_contact_sheet(replace(images, boxes=10 * images.boxes), tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    assert sheet.shape == (2 * (CELL + TITLE), 3 * CELL, 3)
    for (row, column), colour in zip([(0, 0), (1, 0), (1, 1), (1, 2)], colours, strict=True):
        part = cell(sheet, row, column)
        assert abs(part[30, 50] - colour).max() < 20
        red = (part == [255, 0, 0]).all(axis=2)
        rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
        # 2 pixels of border are added to what was worked out above.
        assert (rows[0], columns[0], columns[-1]) == pytest.approx((17, 9, 71), abs=1)
    assert (cell(sheet, 0, 1) == 255).all()
    assert (sheet[:TITLE, :60] < 100).any(), "the title"


def test_a_long_list_is_sampled_evenly(
    drawn: Callable[..., ImageList], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "ROWS", 3)
    monkeypatch.setattr(contact_sheet, "COLUMNS", 3)
    images = drawn(a=1, b=1, c=5, d=1, e=1)
    Image.new("RGB", (99, 99), (0, 0, 255)).save(images.path(4))  # the third of five
    plain = replace(images, boxes=None)
    write_contact_sheet(plain, tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    assert sheet.shape == (3 * (CELL + TITLE), 3 * CELL, 3)
    assert abs(cell(sheet, 1, 1)[48, 48] - [0, 0, 255]).max() < 20
    assert not (cell(sheet, 1, 1) == [255, 0, 0]).all(axis=2).any()


def test_what_cannot_be_decoded_is_crossed_out(
    drawn: Callable[..., ImageList], tmp_path: Path
) -> None:
    images = drawn(ant=2)
    images.path(1).write_bytes(b"none")
    write_contact_sheet(images, tmp_path / "sheet.png")
    part = cell(pixels(tmp_path / "sheet.png"), 0, 1)
    assert part[48, 20].tolist() == [211, 211, 211]
    assert (part == [255, 0, 0]).all(axis=2).sum() > 100


def test_a_line_is_an_image_too(drawn: Callable[..., ImageList], tmp_path: Path) -> None:
    images = drawn(ant=1)
    Image.new("RGB", (1, 5000)).save(images.path(0))
    write_contact_sheet(images, tmp_path / "sheet.png")
    assert (cell(pixels(tmp_path / "sheet.png"), 0, 0)[10] < 255).any(axis=1).sum() == 1


def test_names_of_any_script_and_boxes_of_no_sense(
    drawn: Callable[..., ImageList], tmp_path: Path
) -> None:
    images = replace(drawn(ant=1), class_names=["\u00c9glise \u9ce5 \u03a9"])
    images = replace(images, boxes=np.array([[90.0, 50, -3, -1]]))
    write_contact_sheet(images, tmp_path / "sheet.png")
    assert pixels(tmp_path / "sheet.png").shape == (CELL + TITLE, CELL, 3)


def test_a_folder_that_is_absent_is_an_error(
    drawn: Callable[..., ImageList], tmp_path: Path
) -> None:
    with pytest.raises(ExperimentError, match=r"Cannot write .*sheet\.png: No such file"):
        write_contact_sheet(drawn(ant=1), tmp_path / "nowhere" / "sheet.png")
