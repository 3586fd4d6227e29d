import math

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss, MultiSimilarityLoss
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices
from torch import Tensor

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional import (
    PairIndices,
    mine_by_similarity,
    pair_precision,
    pair_quantile,
    pair_recall,
    pairs_by_label,
)

# By hand: 0-1 is very similar, 0-2 and 1-3 are dissimilar, the others are in between.
SIMILARITY = torch.tensor(
    [
        [1.0, 0.9, 0.1, 0.5],
        [0.9, 1.0, 0.4, -0.3],
        [0.1, 0.4, 1.0, 0.6],
        [0.5, -0.3, 0.6, 1.0],
    ]
)
NAN = math.nan


def as_sets(pairs: PairIndices) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    lists = [index.tolist() for index in pairs]
    return (
        set(zip(lists[0], lists[1], strict=True)),
        set(zip(lists[2], lists[3], strict=True)),
    )


def random_similarity(size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    half = 2 * torch.rand(size, size, generator=generator) - 1
    return (half + half.t()) / 2


def random_embeddings(size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "labels", [[0, 0, 1, 1, 2], [3, 3, 3], [0, 1, 2], [5], [], [9, 2, 9, 2, 2, 9]]
)
def test_pairs_by_label_are_those_of_the_host(labels: list[int]) -> None:
    given = torch.tensor(labels, dtype=torch.int64)
    for ours, theirs in zip(pairs_by_label(given), get_all_pairs_indices(given), strict=True):
        assert ours.dtype == torch.int64
        assert torch.equal(ours, theirs)


def test_pairs_by_label_equal_the_loop() -> None:
    labels = [4, 2, 4, 7, 2]
    ordered = [(i, j) for i in range(5) for j in range(5) if i != j]
    positive, negative = as_sets(pairs_by_label(torch.tensor(labels)))
    assert positive == {(i, j) for i, j in ordered if labels[i] == labels[j]}
    assert negative == {(i, j) for i, j in ordered if labels[i] != labels[j]}


def test_mining_by_hand() -> None:
    """T1 = 0.9 takes 0-1 (the threshold belongs to P), T2 = 0.1 takes 0-2 (to N) and 1-3."""
    positive, negative = as_sets(mine_by_similarity(SIMILARITY, 0.9, 0.1))
    assert positive == {(0, 1), (1, 0)}
    assert negative == {(0, 2), (2, 0), (1, 3), (3, 1)}


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 1, 2, 2, 0]])
@pytest.mark.parametrize(("high", "low"), [(0.3, 0.0), (0.0, -0.4), (-0.2, -0.3)])
def test_mining_equals_the_loop(labels: list[int] | None, high: float, low: float) -> None:
    similarity = random_similarity(7).double()
    expected: tuple[set[tuple[int, int]], set[tuple[int, int]]] = (set(), set())
    for i in range(7):
        for j in range(7):
            same = labels is not None and labels[i] == labels[j]
            if i != j and float(similarity[i, j]) >= high and (labels is None or same):
                expected[0].add((i, j))
            if i != j and float(similarity[i, j]) <= low and (labels is None or not same):
                expected[1].add((i, j))
    given = None if labels is None else torch.tensor(labels)
    mined = mine_by_similarity(similarity, high, low, given)
    assert as_sets(mined) == expected
    assert len(mined[0]) == len(expected[0])  # no pair twice
    assert len(mined[2]) == len(expected[1])


def test_agreement_by_hand() -> None:
    """0-1 is similar but of two pseudo labels, 0-2 dissimilar but of one: both are dropped."""
    labels = torch.tensor([8, 9, 8, 8])
    positive, negative = as_sets(mine_by_similarity(SIMILARITY, 0.6, 0.1, labels))
    assert positive == {(2, 3), (3, 2)}
    assert negative == {(1, 3), (3, 1)}


def test_agreement_only_removes_pairs() -> None:
    similarity, labels = random_similarity(12), torch.arange(12) % 3
    free = as_sets(mine_by_similarity(similarity, 0.1, -0.1))
    agreed = as_sets(mine_by_similarity(similarity, 0.1, -0.1, labels))
    by_label = as_sets(pairs_by_label(labels))
    assert agreed == (free[0] & by_label[0], free[1] & by_label[1])
    assert agreed[0] < free[0]


def test_mining_follows_a_permutation() -> None:
    similarity, order = random_similarity(8), torch.tensor([3, 7, 1, 0, 6, 2, 5, 4])
    mined = mine_by_similarity(similarity[order][:, order], 0.2, -0.2)
    back = tuple(order[index] for index in mined)
    assert as_sets(back) == as_sets(mine_by_similarity(similarity, 0.2, -0.2))  # type: ignore[arg-type]


def test_mining_is_blind_to_a_common_monotone_map() -> None:
    similarity = random_similarity(8).double()
    mapped = mine_by_similarity(3 * similarity + 1, 3 * 0.2 + 1, 3 * -0.2 + 1)
    assert as_sets(mapped) == as_sets(mine_by_similarity(similarity, 0.2, -0.2))


def test_mining_is_detached_and_leaves_the_input_alone() -> None:
    similarity = SIMILARITY.clone().requires_grad_()
    for index in mine_by_similarity(similarity, 0.9, 0.1):
        assert not index.requires_grad
    assert torch.equal(similarity, SIMILARITY)


def test_nan_is_never_mined() -> None:
    similarity = SIMILARITY.clone()
    similarity[0, 1] = similarity[1, 0] = similarity[0, 2] = similarity[2, 0] = NAN
    positive, negative = as_sets(mine_by_similarity(similarity, 0.9, 0.1))
    assert positive == set()
    assert negative == {(1, 3), (3, 1)}


def test_duplicates_are_positive_but_never_with_themselves() -> None:
    positive, negative = as_sets(mine_by_similarity(torch.ones(3, 3), 1.0, 0.0))
    assert positive == {(i, j) for i in range(3) for j in range(3) if i != j}
    assert negative == set()


@pytest.mark.parametrize("size", [0, 1])
def test_too_small_a_batch_gives_nothing(size: int) -> None:
    assert [len(index) for index in mine_by_similarity(torch.ones(size, size), 0.5, 0.1)] == [0] * 4


def test_trap_01_both_directions_of_every_pair() -> None:
    similarity = random_similarity(10)
    similarity[2, 5], similarity[5, 2] = 0.3, 0.1  # rounding on two sides of a threshold
    for pairs in as_sets(mine_by_similarity(similarity, 0.2, -0.2)):
        assert len(pairs) > 0
        assert {(j, i) for i, j in pairs} == pairs
    assert (2, 5) in as_sets(mine_by_similarity(similarity, 0.2, -0.2))[0]


def test_trap_01_one_direction_loses_half_of_the_multi_similarity_loss() -> None:
    """The host averages rows (anchors): the row of the lacking direction counts as zero."""
    embeddings, loss = random_embeddings(2), MultiSimilarityLoss()
    labels, nothing = torch.tensor([0, 0]), torch.empty(0, dtype=torch.int64)
    both = mine_by_similarity(torch.ones(2, 2), 0.5, 0.1)
    # Twice the same direction: the host takes a list of one index for "no pairs".
    one = (torch.tensor([0, 0]), torch.tensor([1, 1]), nothing, nothing)
    assert loss(embeddings, labels, both).item() > 0
    expected = loss(embeddings, labels, both).item() / 2
    assert loss(embeddings, labels, one).item() == pytest.approx(expected, rel=1e-6)


def test_trap_01_one_direction_of_a_single_pair_is_dropped_by_the_contrastive_loss() -> None:
    """The host takes up to one index a list for "no pairs": a loss of exactly 0."""
    embeddings, loss = random_embeddings(4), ContrastiveLoss()
    labels, nothing = torch.arange(4), torch.empty(0, dtype=torch.int64)
    both = mine_by_similarity(SIMILARITY, 0.9, -0.9)
    assert as_sets(both) == ({(0, 1), (1, 0)}, set())
    one = (both[0][:1], both[1][:1], nothing, nothing)
    assert loss(embeddings, labels, one).item() == 0
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    distance = (unit[0] - unit[1]).norm().item()
    assert loss(embeddings, labels, both).item() == pytest.approx(distance, rel=1e-6)


@pytest.mark.parametrize(
    ("high", "low"), [(0.5, 0.5), (0.1, 0.9), (NAN, 0.1), (0.9, NAN), (NAN, NAN)]
)
def test_trap_02_nothing_is_mined_until_the_means_separate(high: float, low: float) -> None:
    mined = mine_by_similarity(SIMILARITY, high, low)
    assert len(mined) == 4
    for index in mined:
        assert index.shape == (0,)
        assert index.dtype == torch.int64
        assert index.device == SIMILARITY.device


def test_trap_02_with_labels_only_an_unknown_threshold_mines_nothing() -> None:
    labels = torch.tensor([8, 9, 8, 8])
    assert as_sets(mine_by_similarity(SIMILARITY, -1.0, 1.0, labels)) == as_sets(
        pairs_by_label(labels)
    )
    for high, low in ((NAN, 1.0), (-1.0, NAN)):
        assert [len(i) for i in mine_by_similarity(SIMILARITY, high, low, labels)] == [0] * 4


def test_trap_02_no_pair_is_positive_and_negative_at_once() -> None:
    similarity = random_similarity(10)
    for high in (-0.5, -0.1, 0.0, 0.1, 0.5):
        for low in (-0.5, -0.1, 0.0, 0.1, 0.5):
            positive, negative = as_sets(mine_by_similarity(similarity, high, low))
            assert positive.isdisjoint(negative)


@pytest.mark.parametrize("loss", [ContrastiveLoss(), MultiSimilarityLoss()])
def test_trap_02_a_host_loss_of_no_pairs_is_a_differentiable_zero(
    loss: ContrastiveLoss | MultiSimilarityLoss,
) -> None:
    embeddings = random_embeddings(4).requires_grad_()
    value = loss(embeddings, torch.tensor([0, 0, 1, 1]), mine_by_similarity(SIMILARITY, NAN, 0.1))
    value.backward()
    assert value.item() == 0
    assert embeddings.grad is not None
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_quantile_by_hand() -> None:
    """Pairs: -0.3, 0.1, 0.4, 0.5, 0.6, 0.9; those of one label, 0-2, 0-3 and 2-3: 0.1, 0.5, 0.6."""
    similarity, labels = SIMILARITY.double(), torch.tensor([8, 9, 8, 8])
    assert pair_quantile(similarity, 0.0) == pytest.approx(-0.3)
    assert pair_quantile(similarity, 0.5) == pytest.approx((0.4 + 0.5) / 2)
    assert pair_quantile(similarity, 0.9) == pytest.approx(0.6 + 0.5 * (0.9 - 0.6))  # at 4.5 of 5
    assert pair_quantile(similarity, 0.5, labels) == pytest.approx(0.5)
    assert pair_quantile(similarity, 1.0, labels, same_label=False) == pytest.approx(0.9)
    assert pair_quantile(similarity, 0.5, labels, same_label=False) == pytest.approx(0.4)


@pytest.mark.parametrize("quantile", [0.0, 0.05, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("same_label", [None, True, False])
def test_quantile_equals_the_loop(quantile: float, same_label: bool | None) -> None:
    similarity, labels = random_similarity(9).double(), [4, 2, 4, 4, 7, 2, 9, 7, 4]
    values = sorted(
        float(similarity[i, j])
        for i in range(9)
        for j in range(i + 1, 9)
        if same_label is None or (labels[i] == labels[j]) is same_label
    )
    place = quantile * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    expected = values[low] + (place - low) * (values[high] - values[low])
    given = () if same_label is None else (torch.tensor(labels), same_label)
    assert pair_quantile(similarity, quantile, *given) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantile_decides_how_many_pairs_are_mined(quantile: float) -> None:
    """Of 190 pairs, and the same ones on any increasing scale of the similarities."""
    similarity = random_similarity(20).double()
    for values in (similarity, 0.1 * similarity + 0.9):
        threshold = pair_quantile(values, quantile)
        positive, _ = as_sets(mine_by_similarity(values, threshold, -2.0))
        _, negative = as_sets(mine_by_similarity(values, 2.0, threshold))
        assert len(positive) / 2 == pytest.approx((1 - quantile) * 190, abs=1)
        assert len(negative) / 2 == pytest.approx(quantile * 190, abs=1)


def test_quantile_of_nothing_or_of_nan_is_unknown() -> None:
    damaged = SIMILARITY.clone()
    damaged[0, 1] = NAN
    assert math.isnan(pair_quantile(damaged, 0.5))
    assert math.isnan(pair_quantile(torch.ones(1, 1), 0.5))
    assert math.isnan(pair_quantile(SIMILARITY, 0.5, torch.arange(4)))
    assert isinstance(pair_quantile(SIMILARITY.clone().requires_grad_(), 0.5), float)


def test_precision_and_recall_by_hand() -> None:
    """P: 0-1 right, 2-3 wrong. N: 0-2 right, 1-3 wrong.

    Of one class: 0-1, 0-3, 1-3, of which P has 0-1. Of two: 0-2, 1-2, 2-3, of which N has 0-2.
    """
    true_labels = torch.tensor([1, 1, 0, 1])
    mined = mine_by_similarity(SIMILARITY, 0.6, 0.1)
    assert pair_precision(mined, true_labels) == (1 / 2, 1 / 2)
    assert pair_recall(mined, true_labels) == pytest.approx((1 / 3, 1 / 3))


def test_precision_and_recall_equal_the_loop() -> None:
    truth = [0, 1, 0, 2, 1, 0, 2, 2]
    mined = mine_by_similarity(random_similarity(8), 0.1, -0.1)
    positive, negative = as_sets(mined)
    right = sum(truth[i] == truth[j] for i, j in positive)
    apart = sum(truth[i] != truth[j] for i, j in negative)
    total = sum(truth[i] == truth[j] for i in range(8) for j in range(8) if i != j)
    total_apart = 8 * 7 - total
    precision = pair_precision(mined, torch.tensor(truth))
    assert precision == (right / len(positive), apart / len(negative))
    assert pair_recall(mined, torch.tensor(truth)) == (right / total, apart / total_apart)


def test_pairs_by_true_label_are_perfect() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert pair_precision(pairs_by_label(labels), labels) == (1.0, 1.0)
    assert pair_recall(pairs_by_label(labels), labels) == (1.0, 1.0)


def test_recall_counts_a_pair_once_however_often_and_whichever_way_it_is_mined() -> None:
    """Of the six pairs of one class 0-1 and 2-3 are among the positives, none is of two."""
    once = pairs_by_label(torch.tensor([0, 0, 1, 1]))
    thrice = tuple(index.repeat(3) for index in once)
    one_way = tuple(index[once[i - i % 2] > once[i - i % 2 + 1]] for i, index in enumerate(once))
    for pairs in (once, thrice, one_way):
        recall = pair_recall(pairs, torch.tensor([0, 0, 0, 0]))  # type: ignore[arg-type]
        assert recall == pytest.approx((2 / 6, NAN), nan_ok=True)


def test_recall_falls_with_every_pair_that_is_left_out() -> None:
    truth, similarity = torch.arange(10) % 3, random_similarity(10)
    thresholds = [(-0.8, -0.9), (0.0, -0.1), (0.4, -0.5), (0.9, -0.9)]
    recalls = [pair_recall(mine_by_similarity(similarity, *t), truth) for t in thresholds]
    positive = [recall[0] for recall in recalls]
    assert positive == sorted(positive, reverse=True)
    assert 1 >= positive[0] > positive[1] > positive[-1] >= 0
    assert recalls[0][1] < recalls[1][1] > recalls[2][1]


def test_precision_and_recall_of_nothing_are_nan() -> None:
    nothing = mine_by_similarity(SIMILARITY, NAN, NAN)
    assert all(math.isnan(share) for share in pair_precision(nothing, torch.arange(4)))
    assert pair_recall(nothing, torch.arange(4)) == pytest.approx((NAN, 0.0), nan_ok=True)
    assert pair_recall(nothing, torch.zeros(4)) == pytest.approx((0.0, NAN), nan_ok=True)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"similarity has shape \(2, 3\)"):
        mine_by_similarity(torch.zeros(2, 3), 0.5, 0.1)
    with pytest.raises(ShapeError, match=r"labels have shape \(3,\); expected \(4,\)"):
        mine_by_similarity(SIMILARITY, 0.5, 0.1, torch.zeros(3))
    with pytest.raises(ShapeError, match=r"labels have shape \(2, 2\)"):
        pairs_by_label(torch.zeros(2, 2))
    triplets = (torch.tensor([0]), torch.tensor([1]), torch.tensor([2]))
    with pytest.raises(ShapeError, match=r"has 3 tensors; expected 4"):
        pair_precision(triplets, torch.arange(3))  # type: ignore[arg-type]
