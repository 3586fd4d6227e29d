"""Read the text files in which data sets list their images: UTF-8, one row per line."""

import os
from collections import Counter
from pathlib import Path

from slade_plugin.base.errors import DataError


def read_rows(
    path: str | os.PathLike[str],
    columns: str,
    *,
    separator: str | None = " ",
    skip: int = 0,
) -> list[list[str]]:
    r"""Read a list file.

    Only the first ``len(columns) - 1`` separators of a line separate; the last column may hold
    more of them, as names do. Empty lines are left out; a byte-order mark and "\r\n" are accepted.

    Args:
        path: The file.
        columns: Their names, separated by spaces, such as "image_id path"; for the count and for
            messages.
        separator: Between two columns; None for any run of spaces or tabs.
        skip: Number of lines at the top before the rows.

    Returns:
        One list of texts per row, without space around them.

    Raises:
        DataError: If the file cannot be read, is not UTF-8, or a line has too few columns; the line
            is named.
    """
    names = columns.split()
    rows = []
    try:
        # newline: as bytes, "\n" ends a line; U+2028 and the like may be part of a name.
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if number <= skip or not line.strip():
                    continue
                row = [text.strip() for text in line.strip().split(separator, len(names) - 1)]
                if len(row) != len(names):
                    raise DataError(
                        f"{path}, line {number}: {len(row)} columns in {line.strip()[:80]!r}; "
                        f"expected {len(names)} ({', '.join(names)}), separated by "
                        f"{'spaces' if separator is None else repr(separator)}. Fetch the file "
                        "again, or correct the line."
                    )
                rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}; expected UTF-8 text with the columns "
            f"{', '.join(names)}."
        ) from error
    return rows


def read_mapping(path: str | os.PathLike[str], columns: str) -> dict[str, str]:
    """Read a list file of two columns, id and value, separated by a space.

    Args:
        path: The file.
        columns: As in `read_rows`, two of them.

    Raises:
        DataError: As in `read_rows`, and if an id occurs twice.
    """
    rows = read_rows(path, columns)
    mapping = dict(rows)
    if len(mapping) < len(rows):
        (twice, _), *_ = Counter(key for key, _ in rows).most_common(1)
        raise DataError(
            f"{path}: {len(rows) - len(mapping)} ids occur more than once, for example {twice!r}; "
            f"expected each {columns.split()[0]} once. Fetch the file again, or correct it."
        )
    return mapping


def look_up(mapping: dict[str, str], keys: list[str], path: str | os.PathLike[str]) -> list[str]:
    """Look up the value of each key.

    Args:
        mapping: From `read_mapping`.
        keys: Ids of another file.
        path: The file of the mapping, for the message.

    Raises:
        DataError: If an id is missing.
    """
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise DataError(
            f"{Path(path)} has no row for {len(missing)} of {len(keys)} ids, for example "
            f"{missing[0]!r}; expected one for each. Fetch the file again, it may be cut off."
        )
    return [mapping[key] for key in keys]
