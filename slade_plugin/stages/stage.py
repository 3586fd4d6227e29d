"""What every stage of a run has: a config, a check before training, a description, a result."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from slade_plugin.data.leakage import LeakageReport
from slade_plugin.stages.kinds import row_name, stage_name
from slade_plugin.stages.run_command import RunCommand


@dataclass(frozen=True)
class Findings:
    """What the check of a stage found.

    Attributes:
        hashes: Name of what the run is made from, such as "pool", to a hash of its content. A run
            is only resumed with the same content.
        leakage: Images that were left out of the pool.
    """

    hashes: dict[str, str] = field(default_factory=dict)
    leakage: LeakageReport | None = None


class Stage(ABC):
    """One stage of a run. A subclass with its entry in `STAGES` is all that a new stage needs.

    Args:
        command: The command line of the run.
        number: The round it belongs to, from 1.

    Attributes:
        kind: Its folder and its key in pipeline.json; `round2/KIND` in the second round.
        heading: What is printed.
        in_every_round: Whether each round has one.
        has_scores: Whether it is an experiment of the host, with a row in the table.
        row_order: The rows are sorted by it.
        given: A finished result from elsewhere that is used instead of running the stage.
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
        """Its folder below the run's, and its key in pipeline.json."""
        return stage_name(self.kind, self.number)

    @property
    def folder(self) -> Path:
        """Where its result lies."""
        return self.given or self.command.folder / self.name

    @property
    def title(self) -> str:
        """Its heading, with its round if there are several."""
        several = self.in_every_round and self.command.rounds > 1
        return self.heading + (f", round {self.number}" if several else "")

    @property
    def row(self) -> str:
        """Its `experiment` in the table."""
        return row_name(self.kind, self.number, self.command.rounds if self.in_every_round else 1)

    def images_drawn(self) -> float:
        """About how many images it trains on, which says how long it takes; 0 if it trains none."""
        args = self.command.configs.get(self.name)
        if args is None:
            return 0
        (settings,) = args.trainer.values()
        batch = settings["batch_size"] + settings.get("unlabeled_batch_size", 0)
        epochs = args.num_epochs_train
        epochs = epochs if isinstance(epochs, int) else max(epochs.values())
        return float(epochs * (settings.get("iterations_per_epoch") or 1) * batch)

    @property
    def config(self) -> Any:
        """Its merged config, if it is an experiment of the host."""
        return self.command.configs[self.name]

    @abstractmethod
    def is_wanted(self) -> bool:
        """Whether the command asks for it."""

    @abstractmethod
    def read_config(self) -> Any:
        """Merge its config; None if it does not train an experiment of the host.

        The configs of earlier stages are in `command.configs`.
        """

    @abstractmethod
    def check(self) -> Findings:
        """Build or read what it needs, so that a mistake shows before any training.

        Raises:
            SladeError: Whatever does not fit.
        """

    @abstractmethod
    def describe(self) -> str:
        """One line that says what it does."""

    @abstractmethod
    def run(self, entry: dict[str, Any]) -> None:
        """Do what is not done yet.

        Args:
            entry: What pipeline.json holds of the stage; `done` is True once it is finished.
        """
