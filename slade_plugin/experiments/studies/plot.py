"""Draw the figures of a study: scores with intervals, and the selected pairs over training."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from slade_plugin.experiments.studies.mined_pairs import COLUMNS, Parts
from slade_plugin.stages.kinds import BASELINE
from slade_plugin.stages.table import METRICS

_SHARES = ("positive_precision", "positive_recall", "negative_precision", "negative_recall")


def plot_scores(rows: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> Figure:
    """Draw the mean of each setting with its interval, in the order of the table.

    Args:
        rows: Data set to the result of `summarize` for the metric.
        metric: Key of METRICS.

    Returns:
        One panel per data set; controls are hollow, the line marks the baseline.
    """
    most = max(len(of_dataset) for of_dataset in rows.values())
    figure = Figure(figsize=(4.2 * len(rows) + 1, 0.32 * most + 1.1), layout="constrained")
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    for panel, (dataset, of_dataset) in zip(panels, rows.items(), strict=True):
        for place, row in enumerate(of_dataset):
            panel.errorbar(
                row["mean"],
                place,
                xerr=row.get("mean_interval95", 0.0),
                fmt="o",
                color="tab:blue",
                markerfacecolor="white" if row["control"] else "tab:blue",
                capsize=3,
            )
            if row["setting"] == BASELINE:
                panel.axvline(row["mean"], color="0.7", linewidth=1, zorder=0)
        panel.set_yticks(range(len(of_dataset)), [row["setting"] for row in of_dataset])
        panel.invert_yaxis()
        panel.set_title(dataset)
        panel.set_xlabel(f"{METRICS[metric]} on test, %")
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def plot_pairs(parts: Mapping[str, Mapping[str, Parts]]) -> Figure:
    """Draw precision and recall of the selected pairs over training.

    Args:
        parts: Data set to setting to values of equal parts of training (`pair_parts`).

    Returns:
        One row per data set, one panel per share, one line per setting.
    """
    settings = list(dict.fromkeys(name for of_dataset in parts.values() for name in of_dataset))
    styles = {
        name: {"color": colormaps["tab10"](i % 10), "linestyle": "-" if i < 10 else "--"}
        for i, name in enumerate(settings)
    }
    figure = Figure(figsize=(11, 2.5 * len(parts) + 0.6), layout="constrained")
    panels = figure.subplots(len(parts), len(_SHARES), squeeze=False, sharex=True)
    for line, (dataset, of_dataset) in zip(panels, parts.items(), strict=True):
        for panel, column in zip(line, _SHARES, strict=True):
            for name, values in of_dataset.items():
                shares = values.get(column, [])
                x = [100 * (i + 0.5) / len(shares) for i in range(len(shares))]
                panel.plot(x, shares, label=name, linewidth=1.5, **styles[name])
            panel.set_title(f"{dataset}: {COLUMNS[column].title}", fontsize="medium")
            panel.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel("%")
    for panel in panels[-1]:
        panel.set_xlabel("% of training")
    lines = {
        line.get_label(): line
        for panel in panels.flat
        for line in panel.get_lines()
        if not all(math.isnan(y) for y in line.get_ydata())
    }
    figure.legend(
        [lines[name] for name in settings if name in lines],
        [name for name in settings if name in lines],
        loc="outside lower center",
        ncols=min(5, len(settings)),
        frameon=False,
    )
    return figure


def save_png(figure: Figure, file: BinaryIO) -> None:
    """Write a figure with few colors, which makes a small file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    Image.open(buffer).convert("RGB").quantize(64).save(file, format="png", optimize=True)
