"""A sampler that can stop in the middle of a pass and resume in another process."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import Sampler


class ResumableSampler(Sampler[int]):
    """Yield the indices of another sampler and keep track of those left in a pass.

    A pass is made as a whole when its first index is requested, as the host's samplers and torch's
    do, so the generators are drawn from in the same order as without this class.

    Args:
        sampler: A sampler of the host or of torch, with a length. Generators of its own are
            not saved.
        before_first_index: Called whenever a pass begins or resumes, before anything is drawn.
    """

    def __init__(self, sampler: Any, before_first_index: Callable[[], None]) -> None:
        self.sampler = sampler
        self.before_first_index = before_first_index
        self._rest: deque[int] | None = None  # None before the first pass
        self._resumes = False

    def __len__(self) -> int:
        """Return the number of indices of a whole pass."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        """Yield the rest of the loaded pass, once; a new pass otherwise."""
        self.before_first_index()
        if not self._resumes:
            self._rest = deque(self.sampler)
        self._resumes = False
        rest = self._rest or deque()
        while rest:
            yield rest.popleft()

    def state_dict(self) -> dict[str, Any]:
        """Return the remaining indices; None before the first pass."""
        rest = None if self._rest is None else torch.tensor([int(i) for i in self._rest])
        return {"rest": rest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume where the state was taken.

        A pass with nothing left is resumed too: its reader has yet to find the end, and then makes
        a new iterator, which draws from a generator.
        """
        rest = state["rest"]
        self._resumes = rest is not None
        self._rest = None if rest is None else deque(rest.long().tolist())
