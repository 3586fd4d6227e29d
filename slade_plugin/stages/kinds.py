"""Names of stages, and the kind of a saved experiment: plain, or a stage of a run.

The kind follows from the stages in `pipeline.json` or, outside a run, from the API parser the
experiment was trained with. Config keys prove nothing: `config_general/folders` writes
`pseudo_labels` into every experiment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.config.experiment_folder import is_pipeline_folder, read_state
from slade_plugin.config.saved_paths import run_of

PLAIN = "plain"
SELF_SUPERVISED = "self_supervised"
TEACHER, PSEUDO_LABELS, STUDENT, BASELINE = "teacher", "pseudo_labels", "student", "baseline"

_NAME = re.compile(r"(?:round(\d+)/)?([^/]+)")


@dataclass(frozen=True)
class SavedStage:
    """Kind, round and run of an experiment on disk.

    Attributes:
        kind: `PLAIN`, or the kind of its stage: `TEACHER`, `STUDENT`, `BASELINE`. A student outside
            a run is a `STUDENT`; a teacher or baseline outside a run is `PLAIN`.
        round: Its round, from 1. Always 1 outside a run.
        run: Folder of its run; None outside a run.
    """

    kind: str = PLAIN
    round: int = 1
    run: Path | None = None

    @property
    def is_student(self) -> bool:
        """Whether it was trained on a pool with pseudo labels, in any round."""
        return self.kind == STUDENT

    @property
    def name(self) -> str:
        """Name in pipeline.json, such as `round2/student`; empty outside a run."""
        return "" if self.run is None else stage_name(self.kind, self.round)


def stage_name(kind: str, number: int = 1) -> str:
    """Return a stage's folder in the run and key in pipeline.json, such as `round2/student`."""
    return kind if number == 1 else f"round{number}/{kind}"


def parse_stage_name(name: str) -> tuple[str, int]:
    """Split the name of a stage into kind and round: `round2/student` gives student and 2.

    Raises:
        ExperimentError: If it is not the name of a stage.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ExperimentError(
            f"{name!r} is not the name of a stage; expected one such as student or round2/student."
        )
    return found[2], int(found[1] or 1)


def row_name(kind: str, number: int, rounds: int) -> str:
    """Return a stage's `experiment` in the table; the last student is `student`.

    Args:
        kind: Kind of the stage.
        number: Its round, from 1.
        rounds: Number of rounds with such a stage.
    """
    return kind if number == rounds else f"{kind}_round{number}"


def identify_experiment(folder: Path, config: Mapping[str, Any]) -> SavedStage:
    """Identify the kind, round and run of a saved experiment.

    Args:
        folder: Folder of the experiment, with `configs` in it.
        config: Its saved config, all areas in one mapping.

    Raises:
        ExperimentError: If its run's pipeline.json cannot be read.
    """
    run = run_of(folder)
    if run is not None:
        name = folder.resolve().relative_to(run).as_posix()
        if name in planned_experiments(run):
            return SavedStage(*parse_stage_name(name), run)
    return SavedStage(STUDENT if _trained_as_student(config) else PLAIN)


def planned_experiments(run: Path) -> list[str]:
    """List the experiments of a run in training order, such as `round2/student`.

    Args:
        run: A folder with a pipeline.json.

    Raises:
        ExperimentError: If the pipeline.json cannot be read.
    """
    return list(read_state(run, "plan")["plan"])


def students_of(run: Path) -> list[Path]:
    """List the student folders of a run in round order; some may not be trained yet.

    Returns:
        The folders; empty if the folder is not a run or the run has not begun.

    Raises:
        ExperimentError: If the pipeline.json cannot be read.
    """
    names = planned_experiments(run) if is_pipeline_folder(run) else []
    return [run / name for name in names if parse_stage_name(name)[0] == STUDENT]


def _trained_as_student(config: Mapping[str, Any]) -> bool:
    """Whether the API parser is the student's; by default the trainer's name determines it.

    A custom API parser counts if it runs the student's trainer.
    """
    # Not at the top: what only plans runs, such as a worker of Ray, need not import torch.
    from slade_plugin.host.api_parsers import APISladeStudent

    names = [*(config.get("api_parser") or {}), *(f"API{t}" for t in config.get("trainer") or {})]
    return APISladeStudent.__name__ in names
