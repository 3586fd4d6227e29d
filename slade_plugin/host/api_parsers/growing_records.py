"""Record series that begin in the middle of a run.

A host loss records how many pairs passed its filter, starting at the first batch with such pairs.
If earlier batches have no negative pairs (the basis mines none, or a run is resumed), the host's
record writer finds lists of unequal length and fails with an ``AssertionError`` without text; if a
whole save interval has none, its database cannot add the column later. Here earlier batches of the
same save interval count as 0, which is what the host records for later ones; rows before it are
empty (NULL).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Accuracies are always measured together, so unequal lengths are an error.
_ACCURACIES = "accuracies"


def allow_late_series(record_keeper: Any) -> None:
    """Patch a record keeper of the host so that a series may begin later than others.

    Args:
        record_keeper: Modified in place; the host's classes are not.
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
            # Once recorded, an attribute is always recorded, so only the start is missing.
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
