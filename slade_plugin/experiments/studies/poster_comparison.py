"""Compare a study with a table of the poster, whose numbers are of concatenated models."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from slade_plugin.experiments.results.found import CONCATENATED, Experiment, Group, read_saved
from slade_plugin.experiments.results.poster import published, published_ablation
from slade_plugin.experiments.results.summary import summarize
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.study import Study
from slade_plugin.stages.kinds import STUDENT, TEACHER, students_of


def compare_with_poster(
    study: Study, runs: Mapping[tuple[str, int, str], Run], dataset: str
) -> list[dict[str, Any]]:
    """Return the concatenated scores on test of the rows that the study names in `poster`.

    Args:
        study: The study.
        runs: Of the settings that are finished.
        dataset: Name.

    Returns:
        Rows as those of `results.summary.summarize`, in the order of `poster`. The published
        numbers of an ablation are those of its own table.
    """
    rows = []
    for name, theirs in study.poster.items():
        experiments = [
            read_saved(_experiment(run, name == study.row(setting, TEACHER)))
            for (of_dataset, _, setting), run in runs.items()
            if of_dataset == dataset
            and name in (study.row(setting, STUDENT), study.row(setting, TEACHER))
        ]
        groups = [Group(name, experiments)] if experiments else []
        look_up = partial(_in_ablation, study.ablation, theirs) if study.ablation else published
        rows += [
            row | {"poster_row": theirs}
            for row in summarize(groups, ["test"], look_up)
            if row["embedding"] == CONCATENATED
        ]
    return rows


def _in_ablation(
    ablation: int, setting: str, experiment: Experiment, metric: str, dim: int | None
) -> float | None:
    return published_ablation(ablation, setting, experiment.dataset, metric, dim)


def _experiment(run: Run, of_teacher: bool) -> Path:
    if run.plain:
        return run.experiment
    return run.experiment / TEACHER if of_teacher else students_of(run.experiment)[-1]
