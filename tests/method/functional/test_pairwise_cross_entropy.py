"""Local-CE and Global-CE are one function of a midpoint."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional import pairwise_cross_entropy

LABELS = torch.tensor([4, 2, 4, 4, 7, 2])


def random_similarity(size: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    half = 2 * torch.rand(size, size, generator=generator, dtype=torch.float64) - 1
    return (half + half.t()) / 2


def value_of(similarity: Tensor, labels: Tensor, midpoint: float, scale: float = 10.0) -> float:
    return pairwise_cross_entropy(similarity, labels, torch.tensor(midpoint), scale).item()


def test_value_by_hand() -> None:
    """Labels 0 0 1. Positive 0.8, negative 0.2 and 0.5, midpoint 0.5, scale log(3) / 0.3.

    Logits log 3, -log 3, 0: log(1 + 1/3), log(1 + 1/3), log 2. The negative mean is half the sum
    of the last two: (log(4/3) + (log(4/3) + log 2) / 2) / 2 = 3/4 log(4/3) + 1/4 log 2.
    """
    similarity = torch.tensor([[1.0, 0.8, 0.2], [0.8, 1.0, 0.5], [0.2, 0.5, 1.0]]).double()
    found = value_of(similarity, torch.tensor([0, 0, 1]), 0.5, math.log(3) / 0.3)
    assert found == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(2), abs=1e-7)


@pytest.mark.parametrize(("midpoint", "scale"), [(0.0, 1.0), (0.3, 10.0), (-0.7, 4.0)])
def test_equals_the_loop(midpoint: float, scale: float) -> None:
    similarity, labels = random_similarity(), LABELS.tolist()
    terms: dict[bool, list[float]] = {True: [], False: []}
    for i in range(6):
        for j in range(i + 1, 6):
            logit = scale * (float(similarity[i, j]) - midpoint)
            probability = 1 / (1 + math.exp(-logit))
            same = labels[i] == labels[j]
            terms[same].append(-math.log(probability if same else 1 - probability))
    means = [sum(values) / len(values) for values in terms.values()]
    assert value_of(similarity, LABELS, midpoint, scale) == pytest.approx(sum(means) / 2, abs=1e-6)


def test_is_log_2_where_nothing_is_told_apart() -> None:
    similarity = torch.full((6, 6), 0.4, dtype=torch.float64)
    midpoint = torch.tensor(0.4, dtype=torch.float64)
    value = pairwise_cross_entropy(similarity, LABELS, midpoint, 10.0)
    assert value.item() == pytest.approx(math.log(2), abs=1e-12)


def test_goes_to_zero_as_the_pairs_take_their_sides() -> None:
    ideal = (LABELS.unsqueeze(0) == LABELS.unsqueeze(1)).double()
    values = [value_of(ideal, LABELS, 0.5, scale) for scale in (1.0, 10.0, 100.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-20
    assert value_of(1 - ideal, LABELS, 0.5, 100.0) == pytest.approx(50, abs=1e-6)


def test_a_constant_added_to_every_similarity_changes_nothing() -> None:
    similarity = random_similarity()
    shifted = value_of(similarity + 0.25, LABELS, 0.25)
    assert shifted == pytest.approx(value_of(similarity, LABELS, 0.0), abs=1e-12)


def test_order_and_names_of_labels_change_nothing() -> None:
    similarity, order = random_similarity(), torch.tensor([5, 2, 0, 1, 4, 3])
    expected = value_of(similarity, LABELS, 0.1)
    permuted = value_of(similarity[order][:, order], LABELS[order], 0.1)
    assert permuted == pytest.approx(expected, abs=1e-12)
    assert value_of(similarity, LABELS + 50, 0.1) == expected


def test_many_negative_pairs_weigh_no_more_than_few() -> None:
    """Positive pairs at 0.9; negative ones at 0.2, once 1 and once 24 of them."""
    few = torch.tensor([[1.0, 0.9, 0.2], [0.9, 1.0, 0.2], [0.2, 0.2, 1.0]])
    labels = torch.tensor([0, 0, 1])
    many = torch.full((8, 8), 0.2)
    many_labels = torch.arange(4).repeat_interleave(2)
    many[many_labels.unsqueeze(0) == many_labels.unsqueeze(1)] = 0.9
    expected = value_of(few, labels, 0.5)
    assert value_of(many, many_labels, 0.5) == pytest.approx(expected, rel=1e-6)


def test_a_sign_without_pairs_adds_nothing() -> None:
    similarity = random_similarity(3)
    alone = [value_of(similarity, torch.tensor(labels), 0.0) for labels in ([0, 0, 0], [0, 1, 2])]
    pairs = similarity[torch.triu_indices(3, 3, offset=1).unbind()]
    for found, sign in zip(alone, (-1, 1), strict=True):
        expected = torch.nn.functional.softplus(10.0 * sign * pairs).mean() / 2
        assert found == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("size", [0, 1])
def test_without_pairs_it_is_a_differentiable_zero(size: int) -> None:
    similarity = torch.ones(size, size, requires_grad=True)
    value = pairwise_cross_entropy(similarity, torch.zeros(size), torch.tensor(0.0), 10.0)
    value.backward()
    assert value.item() == 0.0
    assert similarity.grad is not None
    assert torch.equal(similarity.grad, torch.zeros(size, size))


def test_positive_pairs_are_drawn_together_and_negative_ones_apart() -> None:
    similarity = random_similarity().requires_grad_()
    pairwise_cross_entropy(similarity, LABELS, torch.tensor(0.0), 10.0).backward()
    assert similarity.grad is not None
    first, second = torch.triu_indices(6, 6, offset=1)
    gradient = similarity.grad[first, second]
    same = LABELS[first] == LABELS[second]
    assert (gradient[same] < 0).all()
    assert (gradient[~same] > 0).all()
    assert similarity.grad.tril().abs().sum() == 0


def test_gradcheck() -> None:
    midpoint = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    similarity = random_similarity().requires_grad_()
    assert gradcheck(lambda s, m: pairwise_cross_entropy(s, LABELS, m, 3.0), (similarity, midpoint))


def test_large_logits_stay_finite_and_half_precision_is_widened() -> None:
    """Trap 5. Logits of 1000 would overflow in exp."""
    similarity = random_similarity().half()
    value = pairwise_cross_entropy(similarity, LABELS, torch.tensor(0.0), 1000.0)
    assert value.dtype == torch.float32
    assert value.isfinite()


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"similarity has shape \(6, 6\) and labels \(5,\)"):
        value_of(random_similarity(), LABELS[:5], 0.0)
