import math

import pytest
import torch

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.functional import PairIndices
from slade_plugin.method.miners import PoolBatch, PoolPairMiner


class FirstTwo(PoolPairMiner):
    """0 and 1 are positive, whatever they are."""

    def choose(self, batch: PoolBatch) -> PairIndices:
        self.seen = batch
        pair, nothing = torch.tensor([0, 1]), torch.empty(0, dtype=torch.int64)
        return pair, pair.flip(0), nothing, nothing


def test_a_batch_of_the_pool_is_handed_on_whole_and_counted() -> None:
    miner = FirstTwo()
    batch = PoolBatch(torch.tensor([0, 7, 7]), torch.eye(3), (0.5, 0.1), 0.75)
    mined = miner.mine_pool(batch)
    assert [index.tolist() for index in mined] == [[0, 1], [1, 0], [], []]
    assert miner.seen is batch
    assert miner.num_pos_pairs == 2


def test_under_another_name_it_is_an_error() -> None:
    """The host would call it with embeddings, without a basis and its running means."""
    with pytest.raises(
        ConfigError, match=r"FirstTwo selects pairs of D\^u; .*unlabeled_tuple_miner"
    ):
        FirstTwo()(torch.eye(3), torch.arange(3))


def test_what_the_trainer_records_is_forgotten_with_the_batch() -> None:
    miner, batch = FirstTwo(), PoolBatch(torch.tensor([0, 7, 7]))
    names = ["positive_precision", "negative_precision", "positive_recall", "negative_recall"]
    assert set(names) <= set(miner._record_these_stats)
    miner.mine_pool(batch)
    miner.record_precision((1.0, 0.5), (0.25, 0.125))
    assert [getattr(miner, name) for name in names] == [1.0, 0.5, 0.25, 0.125]
    miner.mine_pool(batch)
    assert all(math.isnan(getattr(miner, name)) for name in names)


def test_no_columns_where_the_host_collects_no_statistics() -> None:
    assert not hasattr(FirstTwo(collect_stats=False), "_record_these_stats")


def test_trap_09_a_negative_pseudo_label_is_an_error() -> None:
    labels = torch.tensor([0, -1, -1])
    with pytest.raises(DataError, match=r"FirstTwo was given the pseudo label -1; expected num_cl"):
        FirstTwo().mine_pool(PoolBatch(labels))


def test_which_pairs_is_for_a_subclass_to_say() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PoolPairMiner()  # type: ignore[abstract]
