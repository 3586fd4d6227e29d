"""Remove records written after a checkpoint, which a resumed run would write again.

The host writes records immediately and checkpoints later. Tables and CSV files of epochs have a
column ``epoch``; those of iterations do not, so each checkpoint stores where they end.
"""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slade_plugin.base.files import write_text


def remove_records_after(
    record_keeper: Any, epoch: int, ends: Mapping[str, Mapping[str, int]] | None
) -> None:
    """Remove records written after a checkpoint.

    Removes later epochs from tables and files with a column ``epoch``, and iterations after the
    given ends. Applies only to the run's own database and CSV files: a global database does not
    distinguish the rows of several splits.

    Args:
        record_keeper: The host's record keeper, or None if nothing is recorded.
        epoch: The last epoch to keep.
        ends: Output of `find_ends_of_records` at the checkpoint; None keeps all iterations.
    """
    database = own_database(record_keeper)
    if database is None:
        return
    folder = Path(record_keeper.record_writer.folder)
    by_epoch = tables_with(database, "epoch")
    for table in tables_with(database, "id"):
        if table in by_epoch:
            database.execute(f"DELETE FROM [{table}] WHERE epoch > ?", (epoch,))
        elif ends is not None:
            end = ends.get(table, {"row": 0, "byte": 0})
            database.execute(f"DELETE FROM [{table}] WHERE id > ?", (end["row"],))
            _cut(folder / f"{table}.csv", end["byte"])
        last = f"(SELECT COALESCE(MAX(id), 0) FROM [{table}])"
        database.execute(f"UPDATE sqlite_sequence SET seq = {last} WHERE name = ?", (table,))
    for path in sorted(folder.glob("*.csv")):
        remove_csv_rows_after(path, epoch)


def find_ends_of_records(record_keeper: Any) -> dict[str, dict[str, int]]:
    """Find the last database row and CSV size of each iteration table."""
    database = own_database(record_keeper)
    if database is None:
        return {}
    folder = Path(record_keeper.record_writer.folder)
    ends = {}
    for table in set(tables_with(database, "id")) - set(tables_with(database, "epoch")):
        (row,) = database.query(f"SELECT COALESCE(MAX(id), 0) AS last FROM [{table}]")
        path = folder / f"{table}.csv"
        ends[table] = {"row": row["last"], "byte": path.stat().st_size if path.exists() else 0}
    return dict(sorted(ends.items()))


def own_database(record_keeper: Any) -> Any:
    """Return the run's own record database; None if nothing has been recorded."""
    writer = getattr(record_keeper, "record_writer", None)
    return writer.local_db if writer and Path(writer.local_db.db_path).is_file() else None


def tables_with(database: Any, column: str) -> list[str]:
    """List the tables of a record-keeper database that have a column."""
    rows = database.query("SELECT name FROM sqlite_master WHERE type='table'")
    tables = [row["name"] for row in rows if not row["name"].startswith("sqlite_")]
    return [
        table
        for table in tables
        if any(row["name"] == column for row in database.query(f"PRAGMA table_info([{table}])"))
    ]


def _cut(path: Path, size: int) -> None:
    """Truncate a file to a size; remove it at size 0."""
    if size == 0:
        path.unlink(missing_ok=True)
    elif path.is_file() and path.stat().st_size > size:
        os.truncate(path, size)


def remove_csv_rows_after(path: Path, epoch: int) -> None:
    """Rewrite one CSV file of records without rows of later epochs or a truncated last row.

    The host starts a new header line inside the file when columns change. A full disk or a killed
    process truncates the last row.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        text = stream.read()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    whole = not text or text.endswith("\n")
    if not whole:
        rows.pop()
    column: int | None = None
    kept = []
    for row in rows:
        if "epoch" in row:
            column = row.index("epoch")
        elif column is not None and column < len(row) and _is_later(row[column], epoch):
            continue
        kept.append(row)
    if whole and len(kept) == len(rows):
        return
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(kept)
    write_text(path, buffer.getvalue())


def _is_later(cell: str, epoch: int) -> bool:
    try:
        return float(cell) > epoch
    except ValueError:
        return False
