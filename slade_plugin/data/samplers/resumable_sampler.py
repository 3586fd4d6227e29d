"""A sampler that can stop in the middle of a pass over the data and go on in another process."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import Sampler


class ResumableSampler(Sampler[int]):
    """Gives the indices of another sampler and knows which of a pass are left.

    A pass is made as a whole when its first index is asked for, as the host's samplers and torch's
    do by themselves, so the generators are drawn from in the same order as without this class.

    Args:
        sampler: A sampler of the host or of torch, with a length. Its own generators, if it has
            any, are not looked after.
        before_first_index: Called whenever a pass begins or goes on, before anything is drawn.
    """

    def __init__(self, sampler: Any, before_first_index: Callable[[], None]) -> None:
        self.sampler = sampler
        self.before_first_index = before_first_index
        self._rest: deque[int] | None = None  # None before the first pass
        self._goes_on = False

    def __len__(self) -> int:
        """Indices of a whole pass."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        """What is left of the pass that was loaded, once; a new pass otherwise."""
        self.before_first_index()
        if not self._goes_on:
            self._rest = deque(self.sampler)
        self._goes_on = False
        rest = self._rest or deque()
        while rest:
            yield rest.popleft()

    def state_dict(self) -> dict[str, Any]:
        """The indices that are left; None before the first pass."""
        rest = None if self._rest is None else torch.tensor([int(i) for i in self._rest])
        return {"rest": rest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the state was taken.

        A pass of which nothing is left is gone on with as well: its reader has still to find that
        out, and makes a new iterator then, which draws from a generator.
        """
        rest = state["rest"]
        self._goes_on = rest is not None
        self._rest = None if rest is None else deque(rest.long().tolist())
