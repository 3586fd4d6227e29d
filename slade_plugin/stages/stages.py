"""The stages of a run in their order. A new stage has its entry in `STAGES`."""

from itertools import groupby

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.stages.baseline import Baseline
from slade_plugin.stages.pseudo_labels import PseudoLabels
from slade_plugin.stages.run_command import RunCommand
from slade_plugin.stages.self_supervised import SelfSupervised
from slade_plugin.stages.stage import Stage
from slade_plugin.stages.student import Student
from slade_plugin.stages.teacher import Teacher

# Neighbors that are in every round take turns: pseudo labels, student, pseudo labels, student.
STAGES: list[type[Stage]] = [SelfSupervised, Teacher, PseudoLabels, Student, Baseline]


def list_stages(command: RunCommand) -> list[Stage]:
    """All stages that a command asks for, in the order in which they are run.

    Raises:
        ConfigError: If the config has settings for a stage that does not exist.
    """
    known = [*(stage.kind for stage in STAGES), "rounds"]
    for name in command.settings:
        if name not in known:
            raise ConfigError(
                f"pipeline has no entry {name!r}{nearest(str(name), known)}; expected "
                f"{', '.join(known)} (config_general)."
            )
    stages: list[Stage] = []
    for in_every_round, neighbors in groupby(STAGES, key=lambda stage: stage.in_every_round):
        kinds = list(neighbors)
        for number in range(1, (command.rounds if in_every_round else 1) + 1):
            stages += [kind(command, number) for kind in kinds]
    return [stage for stage in stages if stage.is_wanted()]


def title_of_row(experiment: str) -> str:
    """The title of a row of the table, such as `student, round 1`; other names stay as they are."""
    kind, _, number = experiment.partition("_round")
    heading = {stage.kind: stage.heading for stage in STAGES}.get(kind, kind)
    return heading + (f", round {number}" if number else "")
