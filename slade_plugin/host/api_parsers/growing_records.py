"""Series of records that begin in the middle of a run.

A loss of the host records how many pairs passed its filter from the first batch on that has such
pairs. If a batch without negative pairs comes first (the basis mines none, or a run is resumed),
the host's record writer meets lists of unequal length and ends the run with an ``AssertionError``
without text; if a whole save interval has none, its database cannot add the column later. Batches
before the first such pair count as 0 here, which is what the host records for those after it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Accuracies are always measured together: of unequal length they are a mistake to be met.
_ACCURACIES = "accuracies"


def allow_late_series(record_keeper: Any) -> None:
    """Change a record keeper of the host so that a series may begin later than others.

    Args:
        record_keeper: Changed in place; the classes of the host are left alone.
    """
    writer = getattr(record_keeper, "record_writer", None)
    if writer is None:
        return
    writer.save_records = functools.partial(_save_records, writer, writer.save_records)
    for database in (writer.local_db, writer.global_db):
        if database is not None:
            database.write = functools.partial(_write, database, database.write)


def _save_records(writer: Any, original: Callable[[], None]) -> None:
    for group, series in writer.records.items():
        if group.startswith(_ACCURACIES):
            continue
        longest = max(map(len, series.values()), default=0)
        for name, values in series.items():
            # An attribute that is recorded once is recorded ever after, so the start is missing.
            series[name] = [0] * (longest - len(values)) + values
    original()


def _write(
    database: Any,
    original: Callable[..., None],
    table: str,
    records: Mapping[str, Sequence[Any]],
    **kwargs: Any,
) -> None:
    known = {row["name"] for row in database.query(f"PRAGMA table_info([{table}])")}
    numbers = [name for name, values in records.items() if isinstance(values[0], int | float)]
    for name in numbers if known else []:
        if name not in known:
            database.execute(f"ALTER TABLE [{table}] ADD COLUMN [{name}] real")
    original(table, records, **kwargs)
