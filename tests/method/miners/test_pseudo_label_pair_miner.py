import pytest
import torch
from pytorch_metric_learning.losses import (
    ContrastiveLoss,
    IntraPairVarianceLoss,
    LiftedStructureLoss,
    MultiSimilarityLoss,
    NTXentLoss,
    SignalToNoiseRatioContrastiveLoss,
)
from pytorch_metric_learning.losses.base_metric_loss_function import BaseMetricLossFunction
from pytorch_metric_learning.miners.base_miner import BaseTupleMiner
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch import Tensor

from slade_plugin.base.errors import DataError
from slade_plugin.method.miners import PoolBatch, PseudoLabelPairMiner

LABELS = torch.tensor([10, 10, 11, 12, 11, 10, 12, 13])


def make_embeddings() -> Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


def test_is_a_tuple_miner_of_the_host() -> None:
    assert isinstance(PseudoLabelPairMiner(), BaseTupleMiner)


def test_all_pairs_are_mined_and_counted() -> None:
    """Clusters of 3, 2, 2, 1: ordered pairs 6 + 2 + 2 of the 8 * 7, the other 46 negative."""
    miner = PseudoLabelPairMiner()
    mined = miner.mine_pool(PoolBatch(LABELS))
    for ours, theirs in zip(mined, get_all_pairs_indices(LABELS), strict=True):
        assert torch.equal(ours, theirs)
    assert (miner.num_pos_pairs, miner.num_neg_pairs) == (10, 46)


@pytest.mark.parametrize(
    "loss",
    [
        ContrastiveLoss(neg_margin=0.5),
        IntraPairVarianceLoss(),
        LiftedStructureLoss(),
        MultiSimilarityLoss(),
        NTXentLoss(),
        SignalToNoiseRatioContrastiveLoss(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_trap_12_with_basis_off_it_is_the_plain_pair_loss(loss: BaseMetricLossFunction) -> None:
    mined, plain = make_embeddings().requires_grad_(), make_embeddings().requires_grad_()
    with_miner = loss(mined, LABELS, PseudoLabelPairMiner().mine_pool(PoolBatch(LABELS)))
    without = loss(plain, LABELS)
    assert with_miner.item() > 0
    assert torch.equal(with_miner, without)
    with_miner.backward()
    without.backward()
    assert mined.grad is not None
    assert plain.grad is not None
    torch.testing.assert_close(mined.grad, plain.grad, rtol=0.0, atol=1e-7)


def test_trap_09_a_negative_pseudo_label_is_an_error() -> None:
    with pytest.raises(DataError, match=r"PseudoLabelPairMiner was given the pseudo label -1"):
        PseudoLabelPairMiner().mine_pool(PoolBatch(torch.tensor([-1, -1, 0, 1, 0, 1, 0, 1])))


@pytest.mark.parametrize(("labels", "counts"), [([7] * 8, (56, 0)), (list(range(8)), (0, 56))])
def test_one_cluster_and_clusters_of_one(labels: list[int], counts: tuple[int, int]) -> None:
    miner = PseudoLabelPairMiner()
    miner.mine_pool(PoolBatch(torch.tensor(labels)))
    assert (miner.num_pos_pairs, miner.num_neg_pairs) == counts
