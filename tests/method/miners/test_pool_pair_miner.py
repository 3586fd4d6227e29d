import math

import pytest
import torch

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.functional import PairIndices
from slade_plugin.method.miners import PoolBatch, PoolPairMiner

ROWS = torch.tensor([[3.0], [4.0], [5.0]])


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


def test_as_a_miner_of_the_host_it_knows_labels_alone() -> None:
    miner, labels = FirstTwo(), torch.tensor([0, 7, 7])
    assert len(miner(ROWS, labels)[0]) == 2
    assert miner.seen.labels is labels
    assert miner.seen.similarity is None
    assert all(map(math.isnan, miner.seen.running_means))


def test_a_miner_that_reads_similarities_gets_the_cosine_of_the_hosts_rows() -> None:
    class Reader(FirstTwo):
        reads_similarity = True

    miner = Reader()
    miner(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 7]))
    assert miner.seen.similarity is not None
    assert miner.seen.similarity.tolist() == [[1, 0], [0, 1]]


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


@pytest.mark.parametrize("by_host", [True, False])
def test_trap_09_a_negative_pseudo_label_is_an_error(by_host: bool) -> None:
    labels = torch.tensor([0, -1, -1])
    with pytest.raises(DataError, match=r"FirstTwo was given the pseudo label -1; expected num_cl"):
        FirstTwo()(ROWS, labels) if by_host else FirstTwo().mine_pool(PoolBatch(labels))


def test_a_second_batch_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"FirstTwo was given a second set.*CrossBatchMemory"):
        FirstTwo()(ROWS, torch.arange(3), ROWS.clone(), torch.arange(3))


def test_which_pairs_is_for_a_subclass_to_say() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PoolPairMiner()  # type: ignore[abstract]
