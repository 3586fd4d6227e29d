"""Control: the teacher's config, trained for as many steps as teacher and students together."""

import math
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.stages.kinds import BASELINE, STUDENT
from slade_plugin.stages.teacher import read_teacher
from slade_plugin.stages.training import TrainedStage


class Baseline(TrainedStage):
    """A plain experiment that separates the student's gain from that of longer training."""

    kind = BASELINE
    heading = "baseline (teacher's config, equally long)"
    row_order = 0

    def is_wanted(self) -> bool:
        """Whether `pipeline: {baseline: false}` is absent."""
        return self.command.settings.get(BASELINE) is not False

    def read_config(self) -> Any:
        """Read the teacher's config with more epochs; `--baseline.KEY` overrides it."""
        teacher = read_teacher(self.command, self.name)
        epochs = equal_epochs(teacher, self.command.configs[STUDENT], self.command.rounds)
        own = [("num_epochs_train", epochs), *self.command.flags("baseline.")]
        return read_teacher(self.command, self.name, own)


def equal_epochs(teacher: Any, student: Any, rounds: int) -> int:
    """Compute the teacher epochs equal to the steps of teacher and all students, rounded up.

    Args:
        teacher: The teacher's merged config.
        student: The merged config of one round's student.
        rounds: Number of students.

    Raises:
        ConfigError: If the number of steps is not known in advance.
    """
    steps = []
    for args in (teacher, student):
        per_epoch = next(iter(args.trainer.values())).get("iterations_per_epoch")
        if not isinstance(args.num_epochs_train, int) or not isinstance(per_epoch, int):
            raise ConfigError(
                f"num_epochs_train is {args.num_epochs_train!r} and iterations_per_epoch is "
                f"{per_epoch!r}; expected integers, since the baseline trains for as many "
                "steps as teacher and students (or set pipeline: {baseline: false})."
            )
        steps.append((args.num_epochs_train * per_epoch, per_epoch))
    return math.ceil((steps[0][0] + rounds * steps[1][0]) / steps[0][1])
