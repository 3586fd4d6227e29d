"""How far a run is: one live line on a terminal, one plain line an epoch in a log file.

`Progress` knows the parts of a whole run and how much work each is; what trains tells it after each
step and epoch where it stands (`current`), without knowing what it is a part of.
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
    """Where training stands.

    Attributes:
        scheme: The split scheme, from 1.
        schemes: How many there are.
        epoch: The epoch, from 1.
        epochs: How many there are.
        within: Share of the epoch that is done, 0 to 1.
    """

    scheme: int
    schemes: int
    epoch: int
    epochs: int
    within: float

    @property
    def share(self) -> float:
        """Share of all epochs of all split schemes that is done, 0 to 1."""
        return (self.scheme - 1 + (self.epoch - 1 + self.within) / self.epochs) / self.schemes


class Progress:
    """The progress of a run.

    Args:
        parts: Title and work of each part, in any unit that takes about equally long everywhere;
            0 for what takes no time worth mentioning.
    """

    def __init__(self, parts: Sequence[tuple[str, float]]) -> None:
        self._parts = parts
        self._number = 0
        self._share: float | None = None  # of the current part, when last heard of
        self._seconds = self._work = 0.0  # measured so far, of which the rate is made
        self._since = 0.0
        self._bar: tqdm | None = None

    @contextmanager
    def part(self, number: int) -> Iterator[None]:
        """A part is being done; what trains finds this object by `current`.

        Args:
            number: Of the part, from 0.
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
        """Takes note of a step and renews the live line, if there is one.

        Args:
            position: Where training stands after it.
            loss: Of the step.
            accuracy: The last and the best accuracy as text; empty while there is none.
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
        """Prints a plain line where there is no terminal. The arguments are those of `step`."""
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
        """Time left for the part and for the whole; empty while nothing is measured."""
        if not self._work:
            return ""
        rate = self._seconds / self._work
        part = (1 - (self._share or 0)) * self._parts[self._number][1]
        whole = part + sum(work for _, work in self._parts[self._number + 1 :])
        text = f", {_clock(rate * part)} left"
        return text + (f" ({_clock(rate * whole)} in all)" if len(self._parts) > 1 else "")


_current: Progress | None = None


def current() -> Progress:
    """The progress of the run that goes on; a new one where nothing has been said of it."""
    global _current
    if _current is None:
        _current = Progress([("training", 1.0)])
    return _current


def _clock(seconds: float) -> str:
    return tqdm.format_interval(seconds)
