import pytest
import torch
from torch import Tensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.functional import PairIndices
from slade_plugin.method.miners import PoolPairMiner

ROWS = torch.tensor([[3.0], [4.0], [5.0]])


class FirstTwo(PoolPairMiner):
    """0 and 1 are positive, whatever they are."""

    seen: tuple[Tensor, Tensor]

    def mine_pairs(self, embeddings: Tensor, labels: Tensor) -> PairIndices:
        self.seen = embeddings, labels
        pair, nothing = torch.tensor([0, 1]), torch.empty(0, dtype=torch.int64)
        return pair, pair.flip(0), nothing, nothing


def test_a_batch_of_pseudo_labels_is_mined_and_counted() -> None:
    miner, labels = FirstTwo(), torch.tensor([0, 7, 7])
    mined = miner(ROWS, labels)
    assert [index.tolist() for index in mined] == [[0, 1], [1, 0], [], []]
    assert all(given is seen for given, seen in zip((ROWS, labels), miner.seen, strict=True))
    assert miner.num_pos_pairs == 2
    miner.record_true_labels(mined, torch.tensor([4, 4, 5]))
    assert miner.positive_precision == 1


def test_trap_09_a_negative_pseudo_label_is_an_error() -> None:
    with pytest.raises(DataError, match=r"FirstTwo was given the pseudo label -1; expected num_cl"):
        FirstTwo()(ROWS, torch.tensor([0, -1, -1]))


def test_a_second_batch_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"FirstTwo was given a second set.*CrossBatchMemory"):
        FirstTwo()(ROWS, torch.arange(3), ROWS.clone(), torch.arange(3))


def test_which_pairs_is_for_a_subclass_to_say() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PoolPairMiner()  # type: ignore[abstract]
