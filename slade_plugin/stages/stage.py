"""Base class of all stages: config, check before training, description, run."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from slade_plugin.data.leakage import LeakageReport
from slade_plugin.stages.kinds import row_name, stage_name
from slade_plugin.stages.run_command import RunCommand


@dataclass(frozen=True)
class Findings:
    """Results of a stage's check.

    Attributes:
        hashes: Content hash of each input of the run by name, such as "pool". A run resumes only
            with the same content.
        leakage: Images that were removed from the pool.
    """

    hashes: dict[str, str] = field(default_factory=dict)
    leakage: LeakageReport | None = None


class Stage(ABC):
    """One stage of a run. A new stage needs only a subclass and its entry in `STAGES`.

    Args:
        command: The command line of the run.
        number: Its round, from 1.

    Attributes:
        kind: Folder and key in pipeline.json; `round2/KIND` in the second round.
        heading: Printed title.
        in_every_round: Whether each round has one.
        has_scores: Whether it is an experiment of the host, with a row in the table.
        row_order: Sort key of the rows.
        given: Finished result from elsewhere to use instead of running the stage.
    """

    kind: ClassVar[str]
    heading: ClassVar[str]
    in_every_round: ClassVar[bool] = False
    has_scores: ClassVar[bool] = True
    row_order: ClassVar[int] = 2

    def __init__(self, command: RunCommand, number: int = 1) -> None:
        self.command = command
        self.number = number
        self.given: Path | None = None

    @property
    def name(self) -> str:
        """Folder in the run, and key in pipeline.json."""
        return stage_name(self.kind, self.number)

    @property
    def folder(self) -> Path:
        """Folder of its result."""
        return self.given or self.command.folder / self.name

    @property
    def title(self) -> str:
        """Heading, with the round if there are several."""
        several = self.in_every_round and self.command.rounds > 1
        return self.heading + (f", round {self.number}" if several else "")

    @property
    def row(self) -> str:
        """Value of `experiment` in the table."""
        return row_name(self.kind, self.number, self.command.rounds if self.in_every_round else 1)

    def images_drawn(self) -> float:
        """Estimate the images it trains on, a measure of its duration.

        0 for a stage that is not an experiment of the host.
        """
        args = self.command.configs.get(self.name)
        if args is None:
            return 0
        (settings,) = args.trainer.values()
        batch = settings["batch_size"] + settings.get("unlabeled_batch_size", 0)
        return float(most_epochs(args) * (settings.get("iterations_per_epoch") or 1) * batch)

    @property
    def config(self) -> Any:
        """Merged config, if it is an experiment of the host."""
        return self.command.configs[self.name]

    def is_wanted(self) -> bool:
        """Whether the command asks for it."""
        return True

    def read_config(self) -> Any:
        """Merge its config, or return None if it is not an experiment of the host.

        The configs of earlier stages are in `command.configs`.
        """
        return None

    def check(self) -> Findings:
        """Build or read its inputs, so that mistakes show before any training.

        Raises:
            SladeError: If something does not fit.
        """
        return Findings()

    @abstractmethod
    def describe(self) -> str:
        """Describe it in one line."""

    @abstractmethod
    def run(self, entry: dict[str, Any]) -> None:
        """Do the unfinished work.

        Args:
            entry: The stage's entry in pipeline.json; `done` is True once it is finished.
        """


def most_epochs(args: Any) -> int:
    """Return the epochs of an experiment, or of the longest if each split scheme has its own."""
    epochs = args.num_epochs_train
    return int(epochs if isinstance(epochs, int) else max(epochs.values()))
