"""The ordered list of stages, `STAGES`; add new stages there."""

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

# Adjacent stages of every round alternate: pseudo labels, student, pseudo labels, student.
STAGES: list[type[Stage]] = [SelfSupervised, Teacher, PseudoLabels, Student, Baseline]


def list_stages(command: RunCommand) -> list[Stage]:
    """List the requested stages in execution order.

    Raises:
        ConfigError: If the config has settings for an unknown stage.
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
    """Return the title of a table row, such as `student, round 1`; keep unknown names."""
    kind, _, number = experiment.partition("_round")
    heading = {stage.kind: stage.heading for stage in STAGES}.get(kind, kind)
    return heading + (f", round {number}" if number else "")
