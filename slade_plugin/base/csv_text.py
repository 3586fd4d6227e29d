"""Rows as CSV text."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], line_end: str = "\n") -> str:
    """Return CSV; None becomes an empty cell.

    Args:
        header: Names of the columns.
        rows: Cells of each row, as many as columns.
        line_end: End of each line.
    """
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=line_end).writerows([header, *rows])
    return buffer.getvalue()
