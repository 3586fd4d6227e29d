"""Read the scores of the concatenated models of all split schemes."""

import sqlite3
from contextlib import closing
from pathlib import Path

from powerful_benchmarker.utils.constants import (
    META_LOGS_FOLDER_NAME,
    TRAINED,
    TRAINED_STATUS_COL_NAME,
)

from slade_plugin.stages.table import metric_titles

_ENDING = "_level0"


def read_ensemble(folder: Path, split: str, ensemble: str) -> dict[str, float]:
    """Read the latest scores of --evaluate_ensemble for the trained models.

    Args:
        folder: An experiment of the host.
        split: "val" or "test".
        ensemble: Name of the class that joins the models (config_eval); the host's default is
            ConcatenateEmbeddings.

    Returns:
        {metric: percent}; empty if the ensemble was not evaluated on that split.
    """
    database = folder / META_LOGS_FOLDER_NAME / "saved_csvs" / "logs.db"
    if not database.is_file():
        return {}
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        for (name,) in names.fetchall():
            # Means over split schemes are in other tables, named after their aggregator.
            if not (name.startswith(f"{ensemble}_") and name.endswith(f"_{split.upper()}")):
                continue
            query = f'SELECT * FROM "{name}" WHERE {TRAINED_STATUS_COL_NAME}=? ORDER BY id DESC'
            row = connection.execute(query, (TRAINED,)).fetchone()
            if row is not None:
                found = {k.removesuffix(_ENDING): row[k] for k in row.keys() if k.endswith(_ENDING)}
                return {metric: 100 * found[metric] for metric in metric_titles(found)}
    return {}
