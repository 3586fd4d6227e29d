"""Summarize the runs of a method: mean, standard error, interval, published number."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from slade_plugin.config.experiment_folder import evaluate_command
from slade_plugin.experiments.results.found import (
    CONCATENATED,
    SEPARATED,
    SPLITS,
    Experiment,
    Group,
)
from slade_plugin.experiments.results.poster import find_row, published
from slade_plugin.stages.table import mean_and_interval

# experiment, metric, size of the embedding -> published number on test, in percent
Published = Callable[[Experiment, str, int | None], float | None]


def summarize(
    groups: Iterable[Group], splits: Sequence[str] = SPLITS, published: Published = published
) -> list[dict[str, Any]]:
    """Return one row per method, split and kind of embedding.

    Args:
        groups: The result of `group_experiments`.
        splits: "val", "test" or both.
        published: Finds published numbers; by default in the poster's main table.

    Returns:
        Rows with `dataset`, `method`, `split`, `embedding` (separated: the models of the split
        schemes one by one; concatenated: all together), `dim`, `seeds`, `split_schemes`, `over`
        (the values behind the standard error), `poster_row`, `experiments` (their folders) and
        `metrics`: {metric: {mean, standard_error, interval95, values, published, difference}}, all
        in percent. interval95 is half the width of the 95 % interval (Student's t). Numbers that
        do not exist are absent.
    """
    rows = []
    for group in groups:
        for split in splits:
            for kind in (SEPARATED, CONCATENATED):
                having = [e for e in group.experiments if kind in e.scores.get(split, {})]
                if having:
                    rows.append(_row(group.title, having, split, kind, published))
    return rows


def missing_splits(groups: Iterable[Group], splits: Sequence[str]) -> list[str]:
    """Report the experiments that lack a split, with the command that evaluates it."""
    return [
        f"{experiment.folder} has no scores on {split}; evaluate it with "
        f"{evaluate_command(experiment.folder, split)}"
        for group in groups
        for experiment in group.experiments
        for split in splits
        if SEPARATED not in experiment.scores.get(split, {})
    ]


def numbers_of(runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return mean, standard error and interval of one metric.

    With several runs they are taken over the runs, each the mean of its split schemes, since the
    scores of one run are not independent. With a single run they are taken over its split schemes.

    Args:
        runs: {split scheme: percent} of each run.
    """
    of_runs = [list(by_scheme.values()) for by_scheme in runs]
    values = of_runs[0] if len(of_runs) == 1 else [float(np.mean(v)) for v in of_runs]
    mean, half = mean_and_interval(values)
    numbers: dict[str, Any] = {"mean": mean, "values": values}
    if len(values) > 1:
        numbers |= {"standard_error": float(stats.sem(values)), "interval95": half}
    return numbers


def _row(
    title: str, experiments: list[Experiment], split: str, kind: str, published: Published
) -> dict[str, Any]:
    first = experiments[0]
    metrics = first.scores[split][kind]
    schemes = len(first.schemes)
    dim = first.dim and first.dim * (schemes if kind == CONCATENATED else 1)
    row: dict[str, Any] = {
        "dataset": first.dataset,
        "method": title,
        "split": split,
        "embedding": kind,
        "dim": dim,
        "seeds": [e.seed for e in experiments],
        "split_schemes": schemes,
        "over": "runs" if len(experiments) > 1 else "split schemes",
        "poster_row": find_row(first),
        "experiments": [str(e.folder) for e in experiments],
        "metrics": {},
    }
    for metric in metrics:
        if all(metric in e.scores[split][kind] for e in experiments):
            numbers = numbers_of([e.scores[split][kind][metric] for e in experiments])
            number = published(first, metric, dim) if split == "test" else None
            if number is not None:
                numbers |= {"published": number, "difference": numbers["mean"] - number}
            row["metrics"][metric] = numbers
    return row
