"""Images named by a text file: a CSV of path and label, or one path per line.

    path,label                  labeled; this header may be left out
    pots/one.jpg,teapot

    more/one.jpg                unlabeled: the whole line is the path
    /elsewhere/two.jpg

Relative paths count from the folder of the file. Text is UTF-8 or, with a byte-order mark, UTF-16.
Cells are separated by commas, semicolons, tabs or bars and may be quoted. With a header that names
one column of paths and one of labels, further columns are ignored. See `path_spellings` for paths
from other systems.
"""

import csv
import io
from collections import Counter
from pathlib import Path

import numpy as np

from slade_plugin.base.errors import DataError
from slade_plugin.base.suggestions import first_of
from slade_plugin.base.warning import warn_once
from slade_plugin.data.files.class_spellings import merge_names
from slade_plugin.data.files.image_list import ImageList, check_one_label_a_file, remap_labels
from slade_plugin.data.files.image_tree import without_labels
from slade_plugin.data.files.path_spellings import PathFinder, why_not_found
from slade_plugin.data.files.text_files import lines_of, read_text

_PATH_WORDS = {"path", "file", "filename", "filepath", "image", "imagepath", "imagename", "img"}
_LABEL_WORDS = {"label", "labels", "class", "classname", "category", "target"}
_DELIMITERS = ",;\t|"

_Row = tuple[int, list[str]]
"""Line number and cells without blanks around them."""


def read_labeled_table(
    file: Path, merge_spellings: bool = False, least_classes: int = 2
) -> ImageList:
    """List the images of a CSV file of path and label.

    Args:
        file: The CSV file.
        merge_spellings: Make one class of labels that `spelling_key` finds equal.
        least_classes: The smallest valid number of classes.

    Returns:
        Classes in the order of their names' code points; images in that of the file.

    Raises:
        DataError: If the file cannot be read, a row has the wrong number of columns or an empty
            cell, an image is missing or has two labels, or there are too few classes.
    """
    rows = _labeled_rows(file)
    labels = [label for _, _, label in rows]
    if merge_spellings:
        labels = merge_names(labels)
    finder = PathFinder(file.parent)
    kept: dict[str, tuple[int, str]] = {}
    twice = []
    for (line, listed, _), label in zip(rows, labels, strict=True):
        path = finder.find(listed) or listed
        known_line, known = kept.setdefault(path, (line, label))
        if known != label:
            twice.append(f"{path} is {known!r} in line {known_line} and {label!r} in line {line}")
    _refuse(file, twice, "expected one label per image")
    places, names = remap_labels([label for _, label in kept.values()])
    if len(names) < least_classes:
        raise DataError(
            f"{file} names {len(kept)} images of {len(names)} classes; expected rows of path,label "
            f"of {least_classes} or more classes (--labeled)."
        )
    images = ImageList(file.parent, np.array(list(kept)), places, names.tolist())
    _check_files(file, images, [line for line, _ in kept.values()], len(rows))
    check_one_label_a_file(images)
    return images


def read_path_list(file: Path) -> ImageList:
    """List the images of a text file with one path per line, without labels.

    A table whose header names a column of paths is read as well.

    Returns:
        Images in the order of the file, all with label 0.

    Raises:
        DataError: If the file cannot be read, names no image, or an image is missing.
    """
    text = read_text(file, "a text file with one path per line")
    lines = [(line, path) for line, path in lines_of(text) if path.strip(f'{_DELIMITERS} "')]
    if lines and _delimiter_of_excel(lines[0][1]):
        lines = lines[1:]
    header = next((cells for _, cells in _parse(file, lines[0][1])), []) if lines else []
    column = _column_of(_PATH_WORDS, header)
    if column is not None:
        table = _parse(file, text)[1:]
        lines = [(line, cells[column]) for line, cells in table if len(cells) > column]
    finder = PathFinder(file.parent)
    kept: dict[str, int] = {}
    for line, listed in lines:
        found = finder.find(listed) or finder.find(listed.strip(_DELIMITERS + "\"'"))
        kept.setdefault(found or listed, line)
    images = without_labels(file.parent, list(kept), file)
    _check_files(file, images, list(kept.values()), len(lines))
    return images


def _labeled_rows(file: Path) -> list[tuple[int, str, str]]:
    """Return line number, path and label of each row."""
    table = _parse(file, read_text(file, "a folder, or a CSV of path,label (--labeled)"))
    header = table[0][1] if table else []
    path_column, label_column = _column_of(_PATH_WORDS, header), _column_of(_LABEL_WORDS, header)
    if path_column is None or label_column is None:
        path_column, label_column, width = 0, 1, 2
    else:
        table, width = table[1:], len(header)
    rows, problems = [], []
    for line, cells in table:
        while len(cells) > width and not cells[-1]:  # spreadsheets end rows with empty cells
            cells.pop()
        if len(cells) != width:
            problems.append(f"line {line}: {_short(cells)} (columns: {len(cells)})")
            continue
        path, label = cells[path_column], cells[label_column]
        if path and label:
            rows.append((line, path, label))
        else:
            problems.append(f"line {line}: {_short(cells)} (empty {'label' if path else 'path'})")
    expected = "two columns, path and label" if width == 2 else f"{width} columns, as the header"
    _refuse(file, problems, f"expected {expected}; a comma inside needs quotes")
    return rows


def _parse(file: Path, text: str) -> list[_Row]:
    """Parse the non-empty rows with the delimiter that gives the most rows of one width."""
    first, _, rest = text.partition("\n")
    if delimiter := _delimiter_of_excel(first.strip()):
        return _parse_by(file, "\n" + rest, delimiter)
    finder = PathFinder(file.parent)

    def fit(table: list[_Row]) -> tuple[int, int]:
        width, number = Counter(len(cells) for _, cells in table).most_common(1)[0]
        found = sum(finder.find(cells[0]) is not None for _, cells in table[:20])
        return (number if width > 1 else 0), found

    tables = [_parse_by(file, text, delimiter) for delimiter in _DELIMITERS if delimiter in text]
    tables = [table for table in tables if table]
    return max(tables, key=fit) if tables else _parse_by(file, text, ",")


def _delimiter_of_excel(line: str) -> str | None:
    """Return the delimiter that a first line such as "sep=;" names; None if it is none."""
    return line[-1] if line.lower().startswith("sep=") and len(line) == len("sep=;") else None


def _parse_by(file: Path, text: str, delimiter: str) -> list[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise DataError(
            f"{file}, line {reader.line_num}: {error}; expected a table whose quotes are closed."
        ) from error
    return [(line, cells) for line, cells in rows if any(cells)]


def _column_of(words: set[str], header: list[str]) -> int | None:
    """Find the one column whose title is among the words; None if there is not exactly one."""
    titles = ["".join(c for c in cell.lower() if c.isalnum()) for cell in header]
    columns = [place for place, title in enumerate(titles) if title in words]
    return columns[0] if len(columns) == 1 else None


def _check_files(file: Path, images: ImageList, lines: list[int], num_rows: int) -> None:
    """Check that every listed image exists, and report how many rows were left out."""
    missing = [
        f"line {lines[i]}: {images.paths[i]}{_why_not_read(images, int(i))}"
        for i in np.flatnonzero(images.sizes < 0)
    ]
    _refuse(
        file,
        missing,
        f"expected images that exist: relative paths count from {file.parent.resolve()}, and a "
        "header, if there is one, is path,label",
        f"{len(missing)} of {len(images)} listed images are not there: ",
    )
    if num_rows > len(images):
        warn_once(f"{file}: lines left out, since they repeat an image: {num_rows - len(images)}.")


def _why_not_read(images: ImageList, index: int) -> str:
    path = str(images.paths[index])
    return " (not a regular file)" if images.path(index).exists() else why_not_found(path)


def _refuse(file: Path, problems: list[str], expected: str, start: str = "") -> None:
    if problems:
        raise DataError(f"{file}: {start}{first_of(problems, separator='; ')}; {expected}.")


def _short(cells: list[str]) -> str:
    text = ",".join(cells)
    return text if len(text) <= 80 else f"{text[:80]} ..."
