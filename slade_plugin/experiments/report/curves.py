"""Plot the training records: losses, Gaussians, mined pairs, accuracy on val."""

import itertools
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slade_plugin.config.experiment_folder import split_scheme_folders
from slade_plugin.experiments.studies.mined_pairs import COLUMNS, read_records, share
from slade_plugin.stages.table import MAIN_METRIC, read_curve

_PARTS = 100  # points of a curve, each a mean over equally many steps
_BASIS_PARTS = ("cross_entropy", "similarity_distribution")
_GAUSSIANS = (("mu_pos", "var_pos"), ("mu_neg", "var_neg"))

# one array per split scheme
Series = list[np.ndarray]


def read_series(experiment: Path, column: str) -> Series:
    """Read one column of the host's records from the table that has it.

    Args:
        experiment: Folder of an experiment.
        column: Its name, such as "mu_pos".

    Returns:
        Values of each step, for each split scheme that has them; NaN where none was recorded.
    """
    found = []
    for path in sorted(experiment.glob("*/saved_csvs/logs.db")):
        with closing(sqlite3.connect(path)) as database:
            for table in _tables(database):
                if column in _columns(database, table):
                    query = f'SELECT "{column}" FROM "{table}" ORDER BY id'
                    found.append(np.array(database.execute(query).fetchall(), dtype=float)[:, 0])
                    break
    return found


def read_losses(experiment: Path) -> dict[str, Series]:
    """Read every weighted term of the loss and the total."""
    names: dict[str, None] = {}
    for path in sorted(experiment.glob("*/saved_csvs/logs.db")):
        with closing(sqlite3.connect(path)) as database:
            columns = _columns(database, "loss_histories")
            names |= dict.fromkeys(name for name in columns if name != "id")
    return {name: read_series(experiment, name) for name in names}


def read_val(experiment: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read epochs and MAP@R on val (percent) per split scheme, without the untrained model."""
    found = []
    for scheme in split_scheme_folders(experiment, "saved_csvs"):
        curve = {e: x for e, x in read_curve(scheme, "val", MAIN_METRIC).items() if e > 0}
        if curve:
            found.append((np.array([*curve]), np.array([*curve.values()])))
    return found


def plot_curves(experiment: Path) -> Figure | None:
    """Draw one panel per kind of record: thin lines are split schemes, thick ones their mean.

    Args:
        experiment: Folder of an experiment.

    Returns:
        The figure; None if nothing was recorded.
    """
    losses = {name: values for name, values in read_losses(experiment).items() if values}
    parts = {name: read_series(experiment, name) for name in _BASIS_PARTS}
    gaussians = {name: read_series(experiment, name) for pair in _GAUSSIANS for name in pair}
    pairs = _pair_shares(experiment)
    val = read_val(experiment)
    draw = []
    if losses:
        draw.append(("terms of the loss, weighted", lambda axes: _lines(axes, losses)))
    if any(parts.values()):
        draw.append(("parts of the basis loss", lambda axes: _lines(axes, parts)))
    if any(gaussians.values()):
        draw.append(
            ("basis similarity: mean and one deviation", lambda axes: _bands(axes, gaussians))
        )
    if pairs:
        draw.append(("mined pairs of the pool, %", lambda axes: _lines(axes, pairs, binned=True)))
    if val:
        draw.append(("MAP@R on val, %", lambda axes: _accuracy(axes, val)))
    if not draw:
        return None
    figure = Figure(figsize=(12, 3.4 * -(-len(draw) // 3)), layout="constrained")
    panels = figure.subplots(-(-len(draw) // 3), 3, squeeze=False).flat
    for (title, draw_it), panel in zip(draw, panels, strict=False):
        draw_it(panel)
        panel.set_title(title, fontsize="medium")
        panel.spines[["top", "right"]].set_visible(False)
        if panel.get_legend_handles_labels()[1]:
            panel.legend(fontsize="small", frameon=False)
    for panel in panels:  # the rest
        panel.set_axis_off()
    return figure


def _pair_shares(experiment: Path) -> dict[str, Series]:
    """Return precision and recall of mined pairs, in percent, for parts of training."""
    records = read_records(experiment)
    edges = np.linspace(0, 1, _PARTS + 1)
    found: dict[str, Series] = {}
    for column in COLUMNS:
        if not column.endswith(("_precision", "_recall")):
            continue
        series = [
            np.array([100 * share(r, column, a, b) for a, b in itertools.pairwise(edges)])
            for r in records
            if column in r
        ]
        if any(not np.isnan(values).all() for values in series):
            found[COLUMNS[column].title] = series
    return found


def _lines(axes: Axes, lines: Mapping[str, Series], binned: bool = False) -> None:
    for number, (name, series) in enumerate(lines.items()):
        parts = series if binned else [_part_means(values) for values in series]
        if not parts:
            continue
        color = f"C{number}"
        for values in parts if len(parts) > 1 else []:
            axes.plot(_percent(values), values, color=color, linewidth=0.6, alpha=0.4)
        mean = _mean(parts)
        axes.plot(_percent(mean), mean, color=color, linewidth=1.6, label=name.replace("_", " "))
    axes.set_xlabel("% of training")


def _bands(axes: Axes, series: Mapping[str, Series]) -> None:
    for (name, variance), color in zip(_GAUSSIANS, ("tab:green", "tab:red"), strict=True):
        mean, var = (_mean([_part_means(v) for v in series[key]]) for key in (name, variance))
        axes.plot(_percent(mean), mean, color=color, label=name.replace("_", " "))
        bounds = mean - np.sqrt(var), mean + np.sqrt(var)
        axes.fill_between(_percent(mean), *bounds, color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel("% of training")


def _accuracy(axes: Axes, val: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    for number, (epochs, values) in enumerate(val):
        axes.plot(epochs, values, ".-", color=f"C{number}", linewidth=1)
        if len(values):
            best = int(values.argmax())
            axes.plot(epochs[best], values[best], "o", color=f"C{number}", fillstyle="none")
    axes.set_xlabel("epoch (circle: the best, which is tested)")


def _part_means(values: np.ndarray) -> np.ndarray:
    """Means of at most `_PARTS` equal parts; what was not recorded is left out."""
    parts = np.array_split(values, min(_PARTS, len(values)))
    return np.array([_known_mean(part) for part in parts])


def _mean(parts: Series) -> np.ndarray:
    """Over split schemes; a scheme that is not as far ends the mean."""
    return np.array([_known_mean(np.array(values)) for values in zip(*parts, strict=False)])


def _known_mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _percent(values: np.ndarray) -> np.ndarray:
    return 100 * (np.arange(len(values)) + 0.5) / max(1, len(values))


def _tables(database: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
    return [name for (name,) in database.execute(query).fetchall()]


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in database.execute(f'PRAGMA table_info("{table}")').fetchall()]
