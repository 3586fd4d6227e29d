"""Read which pairs of D^u the students were trained on, over the course of training.

The records come from the students' miners (`PoolPairMiner`) and need true labels. A student without
pairs of D^u has none. Those of the feature basis show how far the running means, the thresholds of
Eq. 7, lag behind the batch.
"""

import math
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slade_plugin.config.experiment_folder import read_saved_config
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.method.functional import corrected_momentum
from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.stages.kinds import students_of


class Column(NamedTuple):
    """A recorded column.

    Attributes:
        title: Its title in tables and figures.
        counts: The column with the count that its share refers to; None averages over steps.
    """

    title: str
    counts: str | None = None


COLUMNS: Mapping[str, Column] = {
    "positive_precision": Column("precision of P", "num_pos_pairs"),
    "positive_recall": Column("recall of P"),
    "negative_precision": Column("precision of N", "num_neg_pairs"),
    "negative_recall": Column("recall of N"),
    "num_pos_pairs": Column("pairs in P"),
    "num_neg_pairs": Column("pairs in N"),
    "positive_lag": Column("lag of mu+"),
    "negative_lag": Column("lag of mu-"),
}
TENTHS = {"first": (0.0, 0.1), "middle": (0.45, 0.55), "last": (0.9, 1.0)}
_MINER = "unlabeled_tuple_miner_"

# column -> value of each step, NaN where unknown
Records = dict[str, np.ndarray]
# column -> value of each part of training, percent or a count
Parts = dict[str, list[float]]


def read_records(experiment: Path) -> list[Records]:
    """Read the records of the miner of D^u.

    Args:
        experiment: Folder of a student.

    Returns:
        One entry for each split scheme with such records.
    """
    found = []
    for path in sorted(experiment.glob("*/saved_csvs/logs.db")):
        with closing(sqlite3.connect(path)) as database:
            database.row_factory = sqlite3.Row
            names = database.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
            tables = [row["name"] for row in names if row["name"].startswith(_MINER)]
            for table in tables:
                rows = database.execute(f'SELECT * FROM "{table}" ORDER BY id').fetchall()
                known = [column for column in COLUMNS if rows and column in rows[0].keys()]
                found.append({c: np.array([row[c] for row in rows], dtype=float) for c in known})
                found[-1] |= _lags(database, experiment)
    return found


def _lags(database: sqlite3.Connection, experiment: Path) -> Records:
    """Return how far the mean similarity of a batch's pairs lies above the running mean of Eq. 6.

    The batch means are not recorded; Eq. 6 gives them from the running means of two steps. The
    warm-up of the basis has updated the running means before the first recorded step.
    """
    table = f"basis_loss_{FeatureBasisLoss.__name__}"
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchone():
        return {}
    rows = database.execute(f'SELECT mu_pos, mu_neg FROM "{table}" ORDER BY id').fetchall()
    running = np.array([[*row] for row in rows], dtype=float)
    saved = read_saved_config(experiment)
    options = saved["loss_funcs"]["basis_loss"][FeatureBasisLoss.__name__]
    (trainer,) = saved["trainer"].values()
    warmup = trainer.get("basis_warmup_iterations", 0)
    beta = options.get("momentum", 0.99)
    steps = np.arange(1, len(running)) + warmup
    if options.get("bias_correction"):
        kept = np.array([corrected_momentum(beta, int(step)) for step in steps])
    else:
        kept = np.full(len(steps), beta)
    # The first observation is the first running mean; the one before the first row is unknown.
    lag = np.full_like(running, math.nan if warmup else 0)
    lag[1:] = (kept / (1 - kept))[:, None] * np.diff(running, axis=0)
    return dict(zip(("positive_lag", "negative_lag"), lag.T, strict=True))


def share(records: Records, column: str, start: float, end: float) -> float:
    """Return the value of a column in a part of training.

    Precision is that of all pairs selected in this part, so a step with many pairs counts more;
    other columns are averaged over steps.

    Args:
        records: The records of one split scheme.
        column: Key of COLUMNS.
        start: Start of the part, 0 to 1.
        end: End of the part; it has at least one step.

    Returns:
        The value, NaN if there is none.
    """
    values = records[column]
    first = math.floor(start * len(values) + 1e-9)
    part = slice(first, max(first + 1, math.ceil(end * len(values) - 1e-9)))
    values = values[part]
    counts = COLUMNS[column].counts
    weights = np.ones_like(values) if counts is None else records[counts][part]
    weights = np.where(np.isnan(values), 0, weights)
    if not weights.any():
        return math.nan
    return float((np.nan_to_num(values) * weights).sum() / weights.sum())


def pair_parts(runs: Sequence[Run], parts: Sequence[tuple[float, float]]) -> Parts:
    """Return the values of parts of training, each a mean over seeds and split schemes.

    Args:
        runs: The runs of one setting.
        parts: Start and end of each part, 0 to 1.

    Returns:
        Column to one value per part: shares in percent, pairs per step (both directions of a pair
        count, as in the host), lags times 100. Columns without any value are left out.
    """
    students = [rounds[-1] for run in runs if (rounds := students_of(run.experiment))]
    schemes = [records for student in students for records in read_records(student)]
    found: Parts = {}
    for column in COLUMNS:
        scale = 1 if column.startswith("num_") else 100
        rows = [[scale * share(r, column, *part) for part in parts] for r in schemes if column in r]
        known = [
            [value for value in values if not math.isnan(value)]
            for values in zip(*rows, strict=True)
        ]
        if any(known):
            found[column] = [sum(k) / len(k) if k else math.nan for k in known]
    return found


def has_rounds(runs: Iterable[Run]) -> bool:
    """Return whether a run trained several students; the pairs of the last one are read."""
    return any(len(students_of(run.experiment)) > 1 for run in runs)
