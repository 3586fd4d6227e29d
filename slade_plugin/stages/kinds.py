"""What a saved experiment is: a plain one, or a stage of a run of self-training.

The answer comes from facts: the stages that `pipeline.json` lists, and for an experiment outside a
run the API parser it was trained with. Keys of a config prove nothing: `config_general/folders`
writes `pseudo_labels` into every experiment.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slade_plugin.base.errors import ExperimentError
from slade_plugin.config.experiment_folder import STATE_FILE
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.stages.stages import STUDENT

PLAIN = "plain"
_ROUND = re.compile(r"(?:round(\d+)/)?([^/]+)")


@dataclass(frozen=True)
class SavedStage:
    """What an experiment on disk is.

    Attributes:
        kind: `PLAIN`, or the kind of its stage: `TEACHER`, `STUDENT`, `BASELINE`. A student outside
            a run is a `STUDENT`; a teacher or baseline outside a run is `PLAIN`.
        round: The round it belongs to, from 1. Outside a run always 1.
        run: The folder of the run whose stage it is; None outside a run.
    """

    kind: str = PLAIN
    round: int = 1
    run: Path | None = None

    @property
    def is_student(self) -> bool:
        """Whether it was trained on a pool with pseudo labels, in whichever round."""
        return self.kind == STUDENT

    @property
    def name(self) -> str:
        """Its name in pipeline.json, such as `round2/student`; empty outside a run."""
        if self.run is None:
            return ""
        return self.kind if self.round == 1 else f"round{self.round}/{self.kind}"


def identify_experiment(folder: Path, config: Mapping[str, Any]) -> SavedStage:
    """Tell what a saved experiment is.

    Args:
        folder: The folder of the experiment, with `configs` in it.
        config: Its saved config, all areas in one mapping.

    Raises:
        ExperimentError: If the pipeline.json beside it cannot be read.
    """
    resolved = folder.resolve()
    for run in resolved.parents[:2]:
        if not (run / STATE_FILE).is_file():
            continue
        name = resolved.relative_to(run).as_posix()
        if name in planned_experiments(run):
            kind, number = parse_stage_name(name)
            return SavedStage(kind, number, run)
    return SavedStage(STUDENT if _trained_as_student(config) else PLAIN)


def planned_experiments(run: Path) -> list[str]:
    """Names of the experiments of a run in the order of their training, such as `round2/student`.

    Args:
        run: A folder with a pipeline.json.

    Raises:
        ExperimentError: If the pipeline.json cannot be read.
    """
    path = run / STATE_FILE
    try:
        return list(dict(json.loads(path.read_text(encoding="utf-8"))["plan"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExperimentError(
            f"{path} cannot be read: {type(error).__name__}: {error}; expected the state of a run "
            "of self-training. Restore it from a copy."
        ) from error


def parse_stage_name(name: str) -> tuple[str, int]:
    """Split the name of a stage into its kind and its round: `round2/student` is a student's, 2.

    Raises:
        ExperimentError: If it is not the name of a stage.
    """
    found = _ROUND.fullmatch(name)
    if found is None:
        raise ExperimentError(
            f"{name!r} is not the name of a stage; expected one such as student or round2/student."
        )
    return found[2], int(found[1] or 1)


def _trained_as_student(config: Mapping[str, Any]) -> bool:
    """Whether the API parser is the student's; without one the host finds it by the trainer's name.

    A user's own API parser counts if it runs the student's trainer.
    """
    names = [*(config.get("api_parser") or {}), *(f"API{t}" for t in config.get("trainer") or {})]
    return APISladeStudent.__name__ in names
