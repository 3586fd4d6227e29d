"""Choose the experiments that a report shows, and the two of them that it compares."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slade_plugin.base.errors import ExperimentError
from slade_plugin.config.experiment_folder import (
    check_is_trained,
    is_pipeline_folder,
    read_saved_config,
    saved_areas,
)
from slade_plugin.config.saved_paths import find_moved
from slade_plugin.stages.kinds import BASELINE, STUDENT, TEACHER, students_of
from slade_plugin.stages.stages import title_of_row


@dataclass(frozen=True)
class ShownExperiment:
    """A trained experiment of the host.

    Attributes:
        title: Its name in the report.
        folder: Its path.
    """

    title: str
    folder: Path


def select_experiments(
    paths: Sequence[Path],
) -> tuple[list[ShownExperiment], list[ShownExperiment]]:
    """Find the experiments to show and to compare.

    A single folder of self-training stands for its stages, of which teacher and last student are
    compared. With a second folder, it stands for its last student. Any other folder is one
    experiment.

    Args:
        paths: One folder or two.

    Returns:
        The experiments whose training is shown, and the one or two whose retrieval is compared.

    Raises:
        ExperimentError: If there are more than two folders, they are equal, or one holds no trained
            experiment.
    """
    if len(paths) > 2:
        raise ExperimentError(f"{len(paths)} experiments are given; a report shows one or two.")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ExperimentError(f"{paths[0]} is given twice; expected one folder, or two.")
    stages = [_stages(path) for path in paths]
    if len(paths) == 1:
        shown = stages[0]
        trained = [e for e in shown if e.title != title_of_row(BASELINE)]
        compared = [trained[0], trained[-1]] if len(trained) > 1 else trained
    else:
        compared = [
            ShownExperiment(title, _last_student(found).folder)
            for title, found in zip(_titles(paths), stages, strict=True)
        ]
        shown = compared
    for experiment in shown:
        saved_areas(experiment.folder)
        check_is_trained(experiment.folder)
    return shown, compared


def _last_student(stages: Sequence[ShownExperiment]) -> ShownExperiment:
    return ([e for e in stages if e.title.startswith(STUDENT)] or stages)[-1]


def _titles(paths: Sequence[Path]) -> list[str]:
    """Return the paths without their common parent."""
    resolved = [path.resolve() for path in paths]
    shared = Path(os.path.commonpath(resolved))
    if shared in resolved:
        shared = shared.parent
    return [str(path.relative_to(shared)) for path in resolved]


def _stages(path: Path) -> list[ShownExperiment]:
    """Return teacher, students and baseline of a folder of self-training; else the experiment."""
    if not is_pipeline_folder(path):
        if not (path / "configs").is_dir():
            raise ExperimentError(
                f"{path} is not an experiment; expected a folder of run.py, with `configs` or "
                "the stages of self-training in it (--root_experiment_folder says where)."
            )
        return [ShownExperiment(path.resolve().name, path)]
    students = [folder for folder in students_of(path) if (folder / "configs").is_dir()]
    if not students:
        raise ExperimentError(
            f"{path} holds no student yet. Rerun its command with --resume_training latest."
        )
    found = [ShownExperiment(title_of_row(TEACHER), teacher) for teacher in _teacher(path)]
    for number, folder in enumerate(students, 1):
        name = STUDENT if len(students) == 1 else f"{STUDENT}_round{number}"
        found.append(ShownExperiment(title_of_row(name), folder))
    if (path / BASELINE / "configs").is_dir():
        found.append(ShownExperiment(title_of_row(BASELINE), path / BASELINE))
    return found


def _teacher(path: Path) -> list[Path]:
    """Return the teacher trained there, or the given one if it still exists."""
    given = read_saved_config(path / STUDENT).get("teacher_experiment")
    candidates = [path / TEACHER, *([find_moved(given, path / STUDENT)] if given else [])]
    return [folder for folder in candidates if (folder / "configs").is_dir()][:1]
