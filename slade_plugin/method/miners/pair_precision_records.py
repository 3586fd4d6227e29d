"""Records of how many mined pairs of D^u are right and how many are found, where classes are known.

Not in the paper. Watching the precision of the mined pairs tells early what MAP@R tells late.
The true labels reach records only, never a loss and never the choice of a pair.
"""

import math
from typing import Any

from torch import Tensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.functional import PairIndices, pair_precision, pair_recall

_COLUMNS = ["positive_precision", "negative_precision", "positive_recall", "negative_recall"]


class PairPrecisionRecords:
    """Mixin, put before the host's miner class: four columns of the miner's record table.

    Each column is NaN (an empty cell in the tables) until ``record_true_labels`` is called after
    a forward call, and where there is no pair to count.

    Attributes:
        positive_precision: share of the mined positive pairs truly of one class.
        negative_precision: share of the mined negative pairs truly of two.
        positive_recall: share of the batch's pairs truly of one class that were mined as positive.
        negative_recall: share of its pairs truly of two classes that were mined as negative.

    Args:
        record_precision: whether the columns exist; the columns of a table cannot change while
            it is being written, so this is decided here.
        **kwargs: of the next class.

    Raises:
        ConfigError: if ``record_precision`` is not a bool.
    """

    positive_precision: float
    negative_precision: float
    positive_recall: float
    negative_recall: float

    def __init__(self, record_precision: bool = True, **kwargs: Any) -> None:
        """Create the record columns, each unknown."""
        if not isinstance(record_precision, bool):
            raise ConfigError(
                f"{type(self).__name__}: record_precision is {record_precision!r}; expected True "
                "or False. Set it in config_loss under mining_funcs: unlabeled_tuple_miner."
            )
        super().__init__(**kwargs)
        self.record_precision = record_precision
        if record_precision:
            self.add_to_recordable_attributes(list_of_names=_COLUMNS, is_stat=True)  # type: ignore[attr-defined]
        self._forget_precision()

    def reset_stats(self) -> None:
        """Forget the previous batch: the host's counts become 0, the shares unknown."""
        super().reset_stats()  # type: ignore[misc]
        self._forget_precision()

    def record_true_labels(self, indices_tuple: PairIndices, true_labels: Tensor | None) -> None:
        """Record how many of the pairs just mined are right.

        Call it after the forward call, on every batch, as that forgets the previous one.

        Args:
            indices_tuple: what the forward call returned.
            true_labels: (N,) classes of the batch, >= 0; None if unknown.

        Raises:
            DataError: if a true label is negative, which would make unknown images one class.
        """
        if true_labels is None or not self.record_precision:
            self._forget_precision()
            return
        if (true_labels < 0).any():
            raise DataError(
                f"{type(self).__name__} was given the true label {int(true_labels.min())}; "
                "expected classes >= 0, or None where the classes of the pool are unknown."
            )
        true_labels = true_labels.to(indices_tuple[0].device)
        precision = pair_precision(indices_tuple, true_labels)
        self.positive_precision, self.negative_precision = precision
        self.positive_recall, self.negative_recall = pair_recall(indices_tuple, true_labels)

    def _forget_precision(self) -> None:
        for name in _COLUMNS:
            setattr(self, name, math.nan)
