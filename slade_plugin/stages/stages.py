"""The stages of a run of self-training, in their order.

A new kind of stage needs its place in `list_stages`, its config in `Pipeline._plan` and, unless it
is a plain experiment of the host, what is done in `Pipeline._do`.
"""

from dataclasses import dataclass
from pathlib import Path

SELF_SUPERVISED = "self_supervised"
TEACHER, PSEUDO_LABELS, STUDENT, BASELINE = "teacher", "pseudo_labels", "student", "baseline"

_TITLES = {
    SELF_SUPERVISED: "self-supervised trunk",
    TEACHER: "teacher",
    PSEUDO_LABELS: "pseudo labels",
    STUDENT: "student",
    BASELINE: "baseline (teacher's config, equally long)",
}


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        kind: What is done in it.
        round: The round it belongs to, from 1.
        rounds: How many rounds there are.
    """

    kind: str
    round: int = 1
    rounds: int = 1

    @property
    def name(self) -> str:
        """Its folder below the run's, and its key in pipeline.json: `student`, `round2/student`."""
        return self.kind if self.round == 1 else f"round{self.round}/{self.kind}"

    @property
    def title(self) -> str:
        """What is printed."""
        of_many = self.rounds > 1 and self.kind in (PSEUDO_LABELS, STUDENT)
        return _TITLES[self.kind] + (f", round {self.round}" if of_many else "")

    @property
    def is_experiment(self) -> bool:
        """Whether it is a plain experiment of the host, with a config and a folder of its own."""
        return self.kind not in (SELF_SUPERVISED, PSEUDO_LABELS)

    @property
    def row(self) -> str:
        """Its `experiment` in the table: the last student is `student`, others `student_round1`."""
        earlier = self.kind == STUDENT and self.round < self.rounds
        return f"{self.kind}_round{self.round}" if earlier else self.kind


def list_stages(
    rounds: int, teacher: bool, baseline: bool, self_supervised: bool = False
) -> list[Stage]:
    """All stages in the order in which they are done.

    Args:
        rounds: How often pseudo labels are made and a student is trained on them, at least 1.
        teacher: Whether a teacher is trained (not where one is given).
        baseline: Whether a baseline is trained.
        self_supervised: Whether the trunk of all others is trained first.
    """
    stages = [Stage(SELF_SUPERVISED, rounds=rounds)] if self_supervised else []
    stages += [Stage(TEACHER, rounds=rounds)] if teacher else []
    for number in range(1, rounds + 1):
        stages += [Stage(PSEUDO_LABELS, number, rounds), Stage(STUDENT, number, rounds)]
    return stages + ([Stage(BASELINE, rounds=rounds)] if baseline else [])


def later_students(experiment: Path) -> dict[int, Path]:
    """Folders of the students from the second round on, by round.

    Args:
        experiment: A folder of self-training.
    """
    found = experiment.glob(f"round*/{STUDENT}")
    return {int(path.parent.name.removeprefix("round")): path for path in found}


def title_of_row(experiment: str) -> str:
    """The title of a row of the table, such as `student, round 1`; a name of others as it is."""
    kind, _, number = experiment.partition("_round")
    return _TITLES.get(kind, kind) + (f", round {number}" if number else "")
