"""Images named by a text file: a CSV of path and label, or one path a line.

    path,label                  labeled; this header may be left out
    pots/one.jpg,teapot

    more/one.jpg                unlabeled: the whole line is the path
    /elsewhere/two.jpg

Relative paths count from the folder of the file. The text is UTF-8; columns may also be separated
by semicolons or tabs, and cells may stand in quotes.
"""

import csv
import os
from pathlib import Path

import numpy as np

from slade_plugin.base.errors import DataError
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.image_list import ImageList, remap_labels
from slade_plugin.data.files.image_tree import without_labels

_HEADER = ("path", "label")
_SHOWN = 3  # problems in one message


def read_labeled_table(file: Path) -> ImageList:
    """Lists the images of a CSV file of path and label.

    Returns:
        Classes in the order of their names' code points; images in that of the file.

    Raises:
        DataError: If the file cannot be read, a row has other than two columns or an empty one, an
            image is missing or has two labels, or there are fewer than two classes.
    """
    rows = _read_rows(file)
    kept: dict[str, tuple[int, str]] = {}
    twice = []
    for line, path, label in rows:
        known_line, known = kept.setdefault(path, (line, label))
        if known != label:
            twice.append(f"{path} is {known!r} in line {known_line} and {label!r} in line {line}")
    _refuse(file, twice, "expected one label an image")
    labels, names = remap_labels([label for _, label in kept.values()])
    if len(names) < 2:
        raise DataError(
            f"{file} names {len(kept)} images of {len(names)} classes; expected rows of path,label "
            "of at least two classes (--labeled)."
        )
    images = ImageList(file.parent, np.array(list(kept)), labels, names.tolist())
    _check_files(file, images, [line for line, _ in kept.values()], len(rows))
    return images


def read_path_list(file: Path) -> ImageList:
    """Lists the images of a text file with one path a line, without labels.

    Returns:
        Images in the order of the file, all with label 0.

    Raises:
        DataError: If the file cannot be read, names no image, or an image is missing.
    """
    text = _read_text(file, "one path a line (--unlabeled)")
    lines = [(i, line.strip()) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    kept: dict[str, int] = {}
    for line, path in lines:
        kept.setdefault(os.path.normpath(path), line)
    images = without_labels(file.parent, list(kept), file)
    _check_files(file, images, list(kept.values()), len(lines))
    return images


def _read_rows(file: Path) -> list[tuple[int, str, str]]:
    """Line number, path and label of each row."""
    text = _read_text(file, "a CSV of path,label (--labeled)")
    first = text.partition("\n")[0]
    delimiter = next((sign for sign in ",;\t" if sign in first), ",")
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    rows: list[tuple[int, str, str]] = []
    problems: list[str] = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells) or (not rows and tuple(map(str.lower, cells)) == _HEADER):
            continue
        if len(cells) != len(_HEADER):
            problems.append(f"line {reader.line_num}: {_short(row)} (columns: {len(cells)})")
        elif not all(cells):
            empty = _HEADER[cells.index("")]
            problems.append(f"line {reader.line_num}: {_short(row)} (empty {empty})")
        else:
            rows.append((reader.line_num, os.path.normpath(cells[0]), cells[1]))
    _refuse(file, problems, "expected two columns, path and label; a comma inside needs quotes")
    return rows


def _read_text(file: Path, expected: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8 text (byte {error.start}); expected a folder, or a text file "
            f"with {expected}. Unpack an archive first; save a table as CSV UTF-8."
        ) from error
    except OSError as error:
        raise DataError(
            f"{file} cannot be read: {error.strerror}; expected a text file with {expected}."
        ) from error


def _check_files(file: Path, images: ImageList, lines: list[int], num_rows: int) -> None:
    """Checks that every listed image exists, and says how many rows were left out."""
    missing = [f"line {lines[i]}: {images.paths[i]}" for i in np.flatnonzero(images.sizes < 0)]
    _refuse(
        file,
        missing,
        f"expected images that exist: relative paths count from {file.parent.resolve()}, and a "
        "header, if there is one, is path,label",
        f"{len(missing)} of {len(images)} listed images are not there: ",
    )
    if num_rows > len(images):
        warn_once(f"{file}: lines left out, since they repeat an image: {num_rows - len(images)}.")


def _refuse(file: Path, problems: list[str], expected: str, start: str = "") -> None:
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(f"{file}: {start}{'; '.join(problems[:_SHOWN])}{more}; {expected}.")


def _short(row: list[str]) -> str:
    text = ",".join(row)
    return text if len(text) <= 80 else f"{text[:80]} ..."
