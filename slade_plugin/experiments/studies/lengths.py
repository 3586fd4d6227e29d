"""Find how long the experiments of a run were trained, to compare with an equally long baseline."""

import math
from collections.abc import Mapping
from typing import Any

from slade_plugin.config.experiment_folder import is_pipeline_folder, read_state
from slade_plugin.experiments.results.found import read_saved
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.stages.kinds import (
    BASELINE,
    PLAIN,
    STUDENT,
    TEACHER,
    parse_stage_name,
    row_name,
)


def row_lengths(run: Run) -> dict[str, int]:
    """Return the length of each row of a run's table in steps.

    A student's length includes its teacher and all students up to its round, rounded up to whole
    epochs of the teacher, as the pipeline does for the baseline. A plain experiment has its own.

    Args:
        run: A started run; the length of a given teacher is read from the run that trained it.

    Returns:
        `teacher`, `student`, `baseline`, `student_round1`, ..., or `PLAIN`, to 1 or more; empty if
        the configs do not give it.
    """
    if run.plain:
        try:
            return {PLAIN: _steps(read_saved(run.experiment).config)[0]}
        except (KeyError, TypeError):
            return {}
    if not all(is_pipeline_folder(of.experiment) for of in (run, run.teacher) if of):
        return {}
    try:
        steps = _planned_steps(run)
        if run.teacher:
            steps[TEACHER] = _planned_steps(run.teacher)[TEACHER]
        total, per_epoch = steps[TEACHER]
    except (KeyError, TypeError):
        return {}
    stages = {name: parse_stage_name(name) for name in steps}
    rounds = sum(kind == STUDENT for kind, _ in stages.values())
    lengths = {TEACHER: total}
    for name, (kind, number) in stages.items():
        if kind == STUDENT:
            total += steps[name][0]
            lengths[row_name(kind, number, rounds)] = total
        elif kind == BASELINE:
            lengths[kind] = steps[name][0]
    return {row: math.ceil(length / per_epoch) * per_epoch for row, length in lengths.items()}


def _planned_steps(run: Run) -> dict[str, tuple[int, int]]:
    """Return the steps of each experiment of a run, in all and per epoch."""
    return {
        name: _steps({key: value for area in areas.values() for key, value in area.items()})
        for name, areas in read_state(run.experiment)["plan"].items()
    }


def _steps(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the steps that a config trains for, in all and per epoch."""
    per_epoch = next(iter(config["trainer"].values()))["iterations_per_epoch"]
    return config["num_epochs_train"] * per_epoch, per_epoch
