"""Table of several experiments, from the host's records.

Accuracies are those of the best epoch, which the host chose on the validation split.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from slade_plugin.base.csv_text import csv_text
from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import write_json, write_text
from slade_plugin.config.experiment_folder import (
    evaluate_command,
    latest_epoch,
    split_scheme_folders,
)

METRICS = {
    "mean_average_precision_at_r": "MAP@R",
    "r_precision": "RP",
    "precision_at_1": "P@1",
}
MAIN_METRIC = "mean_average_precision_at_r"
_RECALL = "recall_at_"

# experiment -> split -> metric -> split scheme -> percent
Results = dict[str, dict[str, dict[str, float]]]


def read_experiment(folder: Path, splits: Sequence[str]) -> Results:
    """Read the accuracies of an experiment's best models, in percent.

    Args:
        folder: A plain experiment of the host.
        splits: Splits, such as ["val", "test"].

    Returns:
        {split: {metric: {split scheme: percent}}}, for METRICS and recall at k where recorded.

    Raises:
        ExperimentError: If a split scheme has no best model, was not evaluated on a split, or
            lacks one of METRICS.
    """
    schemes = split_scheme_folders(folder)
    if not schemes:
        raise ExperimentError(f"{folder} has no trained split scheme; expected an experiment.")
    results: Results = {split: {} for split in splits}
    for scheme in schemes:
        if not any(scheme.glob("saved_models/trunk_best*.pth")):
            raise ExperimentError(
                f"{scheme} has no best model; expected trunk_best<epoch>.pth. Train it to the end: "
                "run.py --experiment_name <name> --resume_training latest"
            )
        epoch = latest_epoch(scheme / "saved_models", best=True)
        for split in splits:
            row = _row_of_epoch(scheme / "saved_csvs" / "logs.db", split, epoch)
            if row is None:
                raise ExperimentError(
                    f"{scheme} has no record of epoch {epoch} on {split}; expected one. Evaluate "
                    f"it: {evaluate_command(folder, split)}"
                )
            names = [k.removesuffix("_level0") for k in row if k.endswith("_level0")]
            recalls = [name for name in names if name.startswith(_RECALL)]
            for metric in (*METRICS, *sorted(recalls, key=_k_of_recall)):
                if f"{metric}_level0" not in row:
                    raise ExperimentError(
                        f"{scheme} has no {metric} of labels of level 0 on {split}; expected "
                        f"{', '.join(METRICS)}. Train it with a tester that computes them "
                        "(config_eval: accuracy_calculator, label_hierarchy_level)."
                    )
                by_scheme = results[split].setdefault(metric, {})
                by_scheme[scheme.name] = 100 * row[f"{metric}_level0"]
    return results


def _k_of_recall(metric: str) -> int:
    return int(metric.removeprefix(_RECALL))


def metric_titles(found: Iterable[str]) -> dict[str, str]:
    """Return the metrics of a table with titles: METRICS, then recall at k where found."""
    recalls = sorted({name for name in found if name.startswith(_RECALL)}, key=_k_of_recall)
    return METRICS | {metric: f"R@{_k_of_recall(metric)}" for metric in recalls}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return metric_titles(k for row in rows for k in row if not k.endswith("_interval95"))


def read_curve(scheme: Path, split: str, metric: str) -> dict[int, float]:
    """Read a metric of every epoch with it, in percent; the untrained model is epoch 0 or -1.

    Args:
        scheme: Folder of a split scheme.
        split: Such as "val".
        metric: The host's name.
    """
    column = f"{metric}_level0"
    tables = _accuracies(scheme / "saved_csvs" / "logs.db", split)
    rows = (row for table in tables for row in table if row.get(column) is not None)
    return {int(row["epoch"]): 100 * row[column] for row in rows}


def _row_of_epoch(db: Path, split: str, epoch: int) -> Mapping[str, Any] | None:
    """Return the latest row of an epoch."""
    for rows in _accuracies(db, split):
        for row in reversed(rows):
            if row["epoch"] == epoch:
                return row
    return None


def _accuracies(db: Path, split: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each of the host's tables of accuracies on a split, oldest first."""
    if not db.is_file():
        return
    with closing(sqlite3.connect(db)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type='table' AND name LIKE 'accuracies%'"
        )
        for (name,) in names.fetchall():
            if name.endswith(f"_{split.upper()}"):
                yield [dict(r) for r in connection.execute(f'SELECT * FROM "{name}" ORDER BY id')]


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Compute the mean and half width of its 95 % interval (Student's t; NaN for one value)."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return float(x.mean()), float("nan")
    return float(x.mean()), float(stats.t.ppf(0.975, len(x) - 1) * stats.sem(x))


def with_interval(mean: float | None, half: float | None, sign: str = "", digits: int = 2) -> str:
    """Format a mean and the half width of its interval: `36.61 ± 0.82`.

    Args:
        mean: None gives an empty text.
        half: None or NaN gives the mean alone.
        sign: "+" also marks a positive mean.
        digits: After the point.
    """
    if mean is None:
        return ""
    interval = "" if half is None or np.isnan(half) else f" ± {half:.{digits}f}"
    return f"{mean:{sign}.{digits}f}{interval}"


def build_rows(results: Mapping[str, Results]) -> list[dict[str, Any]]:
    """Build one row per experiment, split and split scheme, and one for the mean.

    Args:
        results: Output of `read_experiment` by experiment name.
    """
    rows = []
    for name, splits in results.items():
        for split, metrics in splits.items():
            schemes = list(next(iter(metrics.values())))
            for scheme in schemes:
                row: dict[str, Any] = {"experiment": name, "split": split, "split_scheme": scheme}
                rows.append(row | {k: values[scheme] for k, values in metrics.items()})
            row = {"experiment": name, "split": split, "split_scheme": "mean"}
            for metric, values in metrics.items():
                mean, half = mean_and_interval(list(values.values()))
                row[metric] = mean
                if not np.isnan(half):  # which JSON does not know
                    row[f"{metric}_interval95"] = half
            rows.append(row)
    return rows


def to_markdown(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Format the whole table in percent, means with their 95 % intervals.

    Args:
        rows: What `build_rows` gave.
        titles: Title of each experiment.
    """
    columns = _columns(rows)
    lines = [["experiment", "split", "split scheme", *columns.values()]]
    for row in rows:
        cells = [titles[row["experiment"]], row["split"]]
        cells.append("**mean**" if row["split_scheme"] == "mean" else row["split_scheme"])
        lines.append([*cells, *(_cell(row, metric) for metric in columns)])
    return _aligned(lines)


def summarize(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> str:
    """Format the means only, one row per experiment, val and test side by side.

    Takes the arguments of `to_markdown`. Omits R-precision, which adds nothing to MAP@R.
    """
    means = {(r["experiment"], r["split"]): r for r in rows if r["split_scheme"] == "mean"}
    columns = {
        f"{split} {title}": (split, metric)
        for metric, title in _columns(rows).items()
        for split in dict.fromkeys(split for _, split in means)
        if metric != "r_precision"
        and any(metric in row for key, row in means.items() if key[1] == split)
    }
    lines = [["experiment", *columns]]
    for experiment in dict.fromkeys(experiment for experiment, _ in means):
        cells = [_cell(means.get((experiment, s), {}), metric) for s, metric in columns.values()]
        lines.append([titles[experiment], *cells])
    return _aligned(lines)


def _cell(row: Mapping[str, Any], metric: str) -> str:
    return with_interval(row.get(metric), row.get(f"{metric}_interval95"))


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    text.insert(1, "-|-".join("-" * w for w in widths))
    return "\n".join(f"| {line} |" for line in text)


def write_tables(
    folder: Path, results: Mapping[str, Results], titles: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """Write table.md, table.csv and table.json, each atomically.

    Args:
        folder: Output folder.
        results: Output of `read_experiment` by experiment name.
        titles: Title of each experiment.

    Returns:
        The summary and the content of table.json.
    """
    rows = build_rows(results)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", f"{to_markdown(rows, titles)}\n")
    metrics = _columns(rows)
    columns = ["experiment", "split", "split_scheme", *metrics]
    columns += [f"{m}_interval95" for m in metrics]
    cells = [[row.get(column) for column in columns] for row in rows]
    write_text(folder / "table.csv", csv_text(columns, cells, "\r\n"))
    table = {"unit": "percent", "interval": "95 %, Student's t over split schemes", "rows": rows}
    write_json(folder / "table.json", table)
    return summarize(rows, titles), table
