"""Progress of a run: one live line on a terminal, one plain line per epoch in a log file.

`Progress` knows the parts of a run and the work of each. Training code reports its position to
`current` after each step and epoch, without knowing which part it belongs to.
"""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tqdm import tqdm


@dataclass(frozen=True)
class Position:
    """Position in a training.

    Attributes:
        scheme: The split scheme, from 1.
        schemes: Number of split schemes.
        epoch: The epoch, from 1.
        epochs: Number of epochs.
        within: Finished share of the epoch, 0 to 1.
    """

    scheme: int
    schemes: int
    epoch: int
    epochs: int
    within: float

    @property
    def share(self) -> float:
        """Finished share of all epochs of all split schemes, 0 to 1."""
        return (self.scheme - 1 + (self.epoch - 1 + self.within) / self.epochs) / self.schemes


class Progress:
    """Progress of a run.

    Args:
        parts: Title and work of each part, in any unit that takes about equally long everywhere;
            0 if the time is negligible.
    """

    def __init__(self, parts: Sequence[tuple[str, float]]) -> None:
        self._parts = parts
        self._number = 0
        self._share: float | None = None  # of the current part, as last reported
        self._seconds = self._work = 0.0  # measured so far, for the rate
        self._since = 0.0
        self._bar: tqdm | None = None

    @contextmanager
    def part(self, number: int) -> Iterator[None]:
        """Make this object `current` while a part runs.

        Args:
            number: Number of the part, from 0.
        """
        global _current
        before, _current = _current, self
        self._number, self._share = number, None
        try:
            yield
        finally:
            _current = before
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def step(self, position: Position, loss: float, accuracy: str) -> None:
        """Record a step and update the live line, if there is one.

        Args:
            position: Position after the step.
            loss: Loss of the step.
            accuracy: Last and best accuracy as text; empty while there is none.
        """
        now, share = time.monotonic(), position.share
        if self._share is not None and share >= self._share:
            self._seconds += now - self._since
            self._work += (share - self._share) * self._parts[self._number][1]
        self._since, self._share = now, share
        if not sys.stderr.isatty():
            return
        line = self._line(position, loss, accuracy)
        # Not tqdm's own: where a terminal gives 0 lines and columns, tqdm draws nothing.
        columns, lines = shutil.get_terminal_size()
        columns -= 1  # a longer line would wrap, and stay
        if self._bar is None:
            self._bar = tqdm(
                desc=line, bar_format="{desc}", leave=False, ncols=columns, nrows=lines
            )
        self._bar.ncols = columns
        self._bar.set_description_str(line, refresh=False)
        self._bar.update()  # draws it a few times a second

    def epoch(self, position: Position, loss: float, accuracy: str) -> None:
        """Print a plain line if there is no terminal. Takes the arguments of `step`."""
        if not sys.stderr.isatty():
            print(f"      {self._line(position, loss, accuracy)}", flush=True)

    def _line(self, position: Position, loss: float, accuracy: str) -> str:
        count = f"[{self._number + 1}/{len(self._parts)}] " if len(self._parts) > 1 else ""
        schemes = f"split scheme {position.scheme}/{position.schemes}, "
        title = self._parts[self._number][0].partition(" (")[0]
        return (
            f"{count}{title}: {schemes if position.schemes > 1 else ''}"
            f"epoch {position.epoch}/{position.epochs}, loss {loss:.3f}{accuracy}{self._left()}"
        )

    def _left(self) -> str:
        """Format the time left for the part and the run; empty while nothing is measured."""
        if not self._work:
            return ""
        rate = self._seconds / self._work
        part = (1 - (self._share or 0)) * self._parts[self._number][1]
        whole = part + sum(work for _, work in self._parts[self._number + 1 :])
        text = f", {_clock(rate * part)} left"
        return text + (f" ({_clock(rate * whole)} in all)" if len(self._parts) > 1 else "")


_current: Progress | None = None


def current() -> Progress:
    """Return the progress of the current run, a new one if there is none."""
    global _current
    if _current is None:
        _current = Progress([("training", 1.0)])
    return _current


def _clock(seconds: float) -> str:
    return tqdm.format_interval(seconds)
