"""A fixed threshold from the config."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from slade_plugin.base.settings import Range
from slade_plugin.method.thresholds.threshold import Threshold


@dataclass(frozen=True)
class Fixed(Threshold):
    """A fixed cosine. Not in the paper."""

    value: Annotated[float, Range(-1, 1)]

    @property
    def level(self) -> float:
        """The cosine."""
        return self.value

    def __call__(
        self, similarity: Tensor, labels: Tensor | None, is_positive: bool, running_mean: float
    ) -> float:
        """Return the cosine."""
        return float(self.value)
