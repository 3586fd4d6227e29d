"""Stage 1: a supervised experiment on the labeled images, trained or given."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slade_plugin.base.differences import first_difference
from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.config.experiment_folder import (
    read_saved_config,
    saved_areas,
    split_scheme_folders,
)
from slade_plugin.config.keys import complete_config
from slade_plugin.config.saved_paths import resolve_folders, without_locations
from slade_plugin.host.api_parsers.data_record import read_data_record
from slade_plugin.host.checkpoints.teacher import Teacher as TrainedTeacher
from slade_plugin.stages.kinds import STUDENT, TEACHER
from slade_plugin.stages.run_command import RunCommand
from slade_plugin.stages.stage import Findings
from slade_plugin.stages.table import read_experiment
from slade_plugin.stages.training import EVALUATED_SPLITS, TrainedStage


class Teacher(TrainedStage):
    """A plain experiment with the settings `pipeline: teacher`."""

    kind = TEACHER
    heading = "teacher"
    row_order = 1

    def __init__(self, command: RunCommand, number: int = 1) -> None:
        super().__init__(command, number)
        self.given = command.given_teacher

    def read_config(self) -> Any:
        """Read the teacher's config, if it is trained here."""
        return None if self.given else read_teacher(self.command, self.name)

    def check(self) -> Findings:
        """Build its parts, or check a given teacher and hash it."""
        if self.given is None:
            return super().check()
        record = read_data_record(self.given)
        check_given_teacher(self.given, self.command.configs[STUDENT], by_hash=bool(record))
        digest = hashlib.sha256()
        for name in (scheme.name for scheme in split_scheme_folders(self.given)):
            digest.update(f"{name} {TrainedTeacher(self.given, name).sha256()}".encode())
        read_experiment(self.given, EVALUATED_SPLITS)  # the table needs its scores
        labeled = {name: value for name, value in record.items() if name == "labeled"}
        return Findings({TEACHER: digest.hexdigest(), **labeled})


def read_teacher(command: RunCommand, name: str, own: Iterable[tuple[str, Any]] = ()) -> Any:
    """Merge the teacher's config: ours, or the saved one of a given teacher.

    Args:
        command: The command line of the run.
        name: Name of the stage that trains with it.
        own: Values for this stage alone.

    Raises:
        ConfigError: If `pipeline: teacher` has no loss of its own.
    """
    if command.given_teacher:
        return _read_given(command, command.given_teacher, command.reader_for(name, own))
    settings = command.settings.get(TEACHER) or {}
    if settings.get("config_loss") in (None, command.runner.requested["config_loss"]):
        raise ConfigError(
            "pipeline: teacher has no config_loss; expected a supervised one such "
            "as {config_loss: contrastive} (config_general)."
        )
    reader = command.reader_for(name, [*command.flags("teacher."), *own], settings)
    return command.runner.read(reader)


def check_given_teacher(teacher: Path, student: Any, by_hash: bool) -> None:
    """Check that a trained teacher has the student's labeled data and splits.

    Args:
        teacher: Its experiment folder; only read.
        student: The student's merged config.
        by_hash: Whether data content is compared elsewhere, so paths may differ.

    Raises:
        ExperimentError: If its configs are missing or differ.
    """
    saved, own = read_saved_config(teacher), vars(student)
    if by_hash:
        saved, own = without_locations(saved), without_locations(own)
    for key in ("dataset", "split_manager"):
        difference = first_difference(_no_null(saved.get(key)), _no_null(own[key]))
        if difference is not None:
            where, theirs, ours = difference
            raise ExperimentError(
                f"the teacher {teacher} was trained with another {key}: {where} is {theirs!r} "
                f"there and {ours!r} for the student; expected the same labeled data and splits. "
                "Change config_dataset or train another teacher."
            )


def _read_given(command: RunCommand, teacher: Path, reader: Any) -> Any:
    """Merge a given teacher's saved config with the flags for a stage."""
    other = command.runner.reader_for(reader)
    for area in other.args.config_foldernames:
        delattr(other.args, area)
    other.args.config_foldernames = saved_areas(teacher)
    paths = command.runner.get_saved_config_paths(other.args, teacher / "configs")
    args, _, args.dict_of_yamls = other.load_yamls(
        paths, max_merge_depth=math.inf, max_argparse_merge_depth=math.inf
    )
    vars(args).update(resolve_folders(vars(args), teacher))
    complete_config(args)
    return args


def _no_null(config: Any) -> Any:
    """Replace None by an empty mapping; the host treats them alike."""
    if isinstance(config, Mapping):
        return {k: _no_null(v) for k, v in config.items()}
    return {} if config is None else config
