import copy
import math
import pickle

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.miners.base_miner import BaseTupleMiner
from torch import Tensor

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.method.functional import PairIndices, mine_by_similarity, pairwise_cosine
from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.method.miners import BasisSimilarityMiner, PoolBatch, PseudoLabelPairMiner
from slade_plugin.method.thresholds import Fixed, Quantile, RunningMean, Threshold

# Angles 0, 10, 60, 90 degrees. Cosines: 0-1 0.98, 0-2 0.5, 0-3 0, 1-2 0.64, 1-3 0.17, 2-3 0.87.
ANGLES = torch.tensor([0.0, 10.0, 60.0, 90.0]).deg2rad()
RESPONSES = torch.stack([3 * ANGLES.cos(), 3 * ANGLES.sin()], dim=1)
LABELS = torch.tensor([5, 6, 5, 5])


UNKNOWN = (math.nan, math.nan)


def batch(
    means: tuple[float, float] = UNKNOWN,
    responses: Tensor = RESPONSES,
    labels: Tensor = LABELS,
    progress: float = 0.0,
) -> PoolBatch:
    return PoolBatch(labels, pairwise_cosine(responses), means, progress)


def unordered(pairs: PairIndices) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    lists = [index.tolist() for index in pairs]
    positive = [(i, j) for i, j in zip(lists[0], lists[1], strict=True) if i < j]
    negative = [(i, j) for i, j in zip(lists[2], lists[3], strict=True) if i < j]
    assert 2 * len(positive) == len(lists[0])
    assert 2 * len(negative) == len(lists[2])
    return positive, negative


def test_is_a_tuple_miner_of_the_host() -> None:
    assert isinstance(BasisSimilarityMiner(), BaseTupleMiner)


def test_running_means_by_hand() -> None:
    """T1 = 0.8 takes 0-1 and 2-3, T2 = 0.2 takes 0-3 and 1-3, whatever the pseudo labels say."""
    miner = BasisSimilarityMiner()
    mined = miner.mine_pool(batch((0.8, 0.2)))
    assert unordered(mined) == ([(0, 1), (2, 3)], [(0, 3), (1, 3)])
    assert (miner.num_pos_pairs, miner.num_neg_pairs, miner.mining_active) == (4, 4, 1)


def test_agreement_by_hand() -> None:
    """0-1 is similar, but of two clusters; 0-3 is dissimilar, but of one."""
    miner = BasisSimilarityMiner(require_agreement=True)
    assert unordered(miner.mine_pool(batch((0.8, 0.2)))) == ([(2, 3)], [(1, 3)])


def test_fixed_thresholds_need_no_running_means() -> None:
    miner = BasisSimilarityMiner(positive_threshold=Fixed(0.6), negative_threshold=Fixed(0.55))
    expected = ([(0, 1), (1, 2), (2, 3)], [(0, 2), (0, 3), (1, 3)])
    assert unordered(miner.mine_pool(batch())) == expected


def test_one_fixed_threshold_and_one_running_mean() -> None:
    miner = BasisSimilarityMiner(positive_threshold=Fixed(0.9))
    assert unordered(miner.mine_pool(batch((0.3, 0.1)))) == ([(0, 1)], [(0, 3)])


def test_quantiles_by_hand() -> None:
    """Of six cosines 0.8 is at place 4 of 0-5, 0.87 (cos 30 degrees), and 0.4 at place 2, 0.5."""
    miner = BasisSimilarityMiner(positive_threshold=Quantile(0.8), negative_threshold=Quantile(0.4))
    assert unordered(miner.mine_pool(batch())) == ([(0, 1), (2, 3)], [(0, 2), (0, 3), (1, 3)])
    assert miner.mining_active == 1


def test_quantiles_with_agreement_are_of_the_pairs_that_agree() -> None:
    """Of one pseudo label: 0-2 0.5, 0-3 0, 2-3 0.87. Of two: 0-1 0.98, 1-2 0.64, 1-3 0.17."""
    miner = BasisSimilarityMiner(
        require_agreement=True,
        positive_threshold=Quantile(0.5),
        negative_threshold=Quantile(0.0),
    )
    assert unordered(miner.mine_pool(batch())) == ([(0, 2), (2, 3)], [(1, 3)])


def test_a_quantile_goes_with_a_running_mean() -> None:
    miner = BasisSimilarityMiner(positive_threshold=Quantile(0.8))
    assert unordered(miner.mine_pool(batch((math.nan, 0.1)))) == ([(0, 1), (2, 3)], [(0, 3)])
    assert miner.reads_running_means
    assert not BasisSimilarityMiner(
        positive_threshold=Quantile(0.9), negative_threshold=Fixed(0.1)
    ).reads_running_means


def test_trap_04_without_a_pair_that_agrees_a_quantile_is_unknown() -> None:
    miner = BasisSimilarityMiner(require_agreement=True, positive_threshold=Quantile(0.5))
    assert [len(index) for index in miner.mine_pool(batch((0.8, 0.2), labels=torch.arange(4)))] == [
        0,
        0,
        0,
        0,
    ]
    assert miner.mining_active == 0


def test_trap_02_where_the_pseudo_label_agrees_quantiles_may_cross() -> None:
    """No pair is of one pseudo label and of two, so none can be positive and negative at once."""
    miner = BasisSimilarityMiner(
        require_agreement=True,
        positive_threshold=Quantile(0.0),
        negative_threshold=Quantile(1.0),
    )
    by_label = PseudoLabelPairMiner()
    assert unordered(miner.mine_pool(batch())) == unordered(by_label.mine_pool(batch()))
    assert miner.mining_active == 1


def test_trap_02_running_means_may_not_cross_even_with_agreement() -> None:
    miner = BasisSimilarityMiner(require_agreement=True)
    assert [len(index) for index in miner.mine_pool(batch((0.2, 0.8)))] == [0, 0, 0, 0]
    assert miner.mining_active == 0


def test_a_fixed_threshold_may_cross_a_running_mean_with_agreement_only() -> None:
    agreeing = BasisSimilarityMiner(require_agreement=True, negative_threshold=Fixed(1.0))
    assert unordered(agreeing.mine_pool(batch((0.6, 0.2)))) == ([(2, 3)], [(0, 1), (1, 2), (1, 3)])
    alone = BasisSimilarityMiner(negative_threshold=Fixed(1.0))
    assert [len(index) for index in alone.mine_pool(batch((0.6, 0.2)))] == [0, 0, 0, 0]


def test_before_its_start_all_pairs_count_and_mining_is_recorded_as_off() -> None:
    miner = BasisSimilarityMiner(start=0.75)
    by_label = unordered(PseudoLabelPairMiner().mine_pool(batch()))
    assert by_label == ([(0, 2), (0, 3), (2, 3)], [(0, 1), (1, 2), (1, 3)])
    for progress in (0.0, 0.5, 0.749):
        assert unordered(miner.mine_pool(batch((0.8, 0.2), progress=progress))) == by_label
        assert miner.mining_active == 0
    for progress in (0.75, 0.99):
        assert unordered(miner.mine_pool(batch((0.8, 0.2), progress=progress))) == (
            [(0, 1), (2, 3)],
            [(0, 3), (1, 3)],
        )
        assert miner.mining_active == 1


def test_trap_01_both_directions() -> None:
    miner = BasisSimilarityMiner()
    anchors, positives, negative_anchors, negatives = (
        index.tolist() for index in miner.mine_pool(batch((0.8, 0.2)))
    )
    assert sorted(zip(anchors, positives, strict=True)) == sorted(
        zip(positives, anchors, strict=True)
    )
    assert sorted(zip(negative_anchors, negatives, strict=True)) == sorted(
        zip(negatives, negative_anchors, strict=True)
    )


@pytest.mark.parametrize("means", [(0.2, 0.8), (0.5, 0.5), (math.nan, 0.1), (0.9, math.nan)])
def test_trap_02_mining_is_off_and_recorded_as_off(means: tuple[float, float]) -> None:
    miner = BasisSimilarityMiner()
    miner.mine_pool(batch((0.8, 0.2)))
    assert miner.mining_active == 1
    mined = miner.mine_pool(batch(means))
    assert [len(index) for index in mined] == [0, 0, 0, 0]
    assert (miner.num_pos_pairs, miner.num_neg_pairs, miner.mining_active) == (0, 0, 0)
    assert {"num_pos_pairs", "num_neg_pairs", "mining_active"} <= set(miner._record_these_stats)
    responses = RESPONSES.clone().requires_grad_()
    loss: Tensor = ContrastiveLoss()(responses, LABELS, mined)
    loss.backward()
    assert loss.item() == 0


def test_trap_02_mining_is_off_before_any_mean_is_known() -> None:
    miner = BasisSimilarityMiner()
    assert [len(index) for index in miner.mine_pool(batch())] == [0, 0, 0, 0]
    assert miner.mining_active == 0


def test_active_mining_may_find_nothing() -> None:
    miner = BasisSimilarityMiner(positive_threshold=Fixed(1.0), negative_threshold=Fixed(-1.0))
    assert [len(index) for index in miner.mine_pool(batch())] == [0, 0, 0, 0]
    assert miner.mining_active == 1


def test_nan_is_never_mined() -> None:
    miner = BasisSimilarityMiner()
    responses = RESPONSES.clone()
    responses[3] = math.nan
    assert unordered(miner.mine_pool(batch((0.8, 0.2), responses=responses))) == ([(0, 1)], [])


def test_trap_05_half_precision_responses_are_widened() -> None:
    miner = BasisSimilarityMiner()
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        mined = miner.mine_pool(batch((0.8, 0.2), responses=RESPONSES.to(torch.bfloat16)))
    expected = mine_by_similarity(pairwise_cosine(RESPONSES.to(torch.bfloat16).float()), 0.8, 0.2)
    for ours, theirs in zip(mined, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_trap_09_a_negative_pseudo_label_is_an_error() -> None:
    with pytest.raises(DataError, match=r"BasisSimilarityMiner was given the pseudo label -1"):
        BasisSimilarityMiner().mine_pool(batch(labels=torch.tensor([5, -1, -1, 5])))


@pytest.mark.parametrize("center_responses", [False, True])
def test_mines_what_the_feature_basis_loss_calls_similar(center_responses: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    embeddings = torch.randn(10, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([3, 3, 4, 4, 5, 5, 6, 6, 7, 7])
    embeddings[1::2] = embeddings[::2] + 0.1 * embeddings[1::2]
    loss = FeatureBasisLoss(3, 4, center_responses=center_responses).double()
    loss(embeddings, labels)
    assert loss.pool_similarity is not None
    miner = BasisSimilarityMiner()
    mined = miner.mine_pool(PoolBatch(labels, loss.pool_similarity, loss.running_means()))
    expected = mine_by_similarity(loss.similarity(embeddings), *loss.running_means())
    assert miner.num_pos_pairs > 0
    assert miner.num_neg_pairs > 0
    for ours, theirs in zip(mined, expected, strict=True):
        assert torch.equal(ours, theirs)
        assert not ours.requires_grad


def test_without_a_feature_basis_it_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"no similarity; .* Add a basis_loss to loss_funcs"):
        BasisSimilarityMiner().mine_pool(PoolBatch(LABELS))


def test_a_threshold_of_a_users_own_is_asked_with_all_it_may_need() -> None:
    asked = []

    class Probe(Threshold):
        def __call__(self, *given: object) -> float:  # type: ignore[override]
            asked.append(given[1:])
            return 0.7 if given[2] else 0.2

    miner = BasisSimilarityMiner(True, Probe(), Probe())
    assert not miner.reads_running_means
    assert unordered(miner.mine_pool(batch((0.3, 0.1)))) == ([(2, 3)], [(1, 3)])
    assert asked == [(LABELS, True, 0.3), (LABELS, False, 0.1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"require_agreement": 1}, "require_agreement is 1; expected True or False"),
        ({"positive_threshold": "mean"}, "positive_threshold is 'mean'; expected a Threshold"),
        ({"negative_threshold": 0.5}, "negative_threshold is 0.5; expected a Threshold"),
        (
            {"positive_threshold": Fixed(0.1), "negative_threshold": Fixed(0.1)},
            "nothing is ever mined",
        ),
        (
            {"positive_threshold": Quantile(0.05), "negative_threshold": Quantile(0.5)},
            "nothing is ever mined",
        ),
        ({"start": 1}, r"start is 1; expected a number in \[0, 1\)"),
        ({"start": -0.1}, "start is -0.1"),
        ({"start": True}, "start is True"),
    ],
)
def test_wrong_configuration_is_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        BasisSimilarityMiner(**arguments)  # type: ignore[arg-type]
    assert "config_loss under mining_funcs" in str(error.value)


def test_everything_wrong_is_reported_at_once() -> None:
    with pytest.raises(ConfigError, match=r"require_agreement .*positive_threshold .*negative_thr"):
        BasisSimilarityMiner("no", "no", "no")  # type: ignore[arg-type]


def test_which_settings_are_accepted_that_never_meet() -> None:
    """With agreement, or of two kinds, thresholds may lie in any order."""
    for agreement, positive, negative in (
        (True, Fixed(0.1), Fixed(0.2)),
        (False, Fixed(0.1), Quantile(0.9)),
        (False, RunningMean(), RunningMean()),
    ):
        miner = BasisSimilarityMiner(agreement, positive, negative)
        assert (miner.positive_threshold, miner.negative_threshold) == (positive, negative)


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies_are_equal(how: str) -> None:
    miner = BasisSimilarityMiner(require_agreement=True)
    copied = copy.deepcopy(miner) if how == "deepcopy" else pickle.loads(pickle.dumps(miner))
    assert unordered(copied.mine_pool(batch((0.8, 0.2)))) == unordered(
        miner.mine_pool(batch((0.8, 0.2)))
    )
