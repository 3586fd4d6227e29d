"""SLADE's Eq. 1 is the host's contrastive loss, as config_loss/slade_pseudo_label sets it.

L_rank = [d_p - m_pos]+ + [m_neg - d_n]+ over the pairs of a batch, with d the Euclidean distance of
unit embeddings: mean over the terms above zero, positive and negative apart.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from slade_plugin.host.factories import SladeLossFactory
from slade_plugin.method.functional import PairIndices, mine_by_similarity

pytestmark = pytest.mark.host

POSITIVE_MARGIN, NEGATIVE_MARGIN = 0.0, 1.0
LABELS = [4, 2, 4, 7, 2, 4, 9, 7, 2, 4]


@pytest.fixture(scope="module", params=["metric_loss", "unlabeled_metric_loss"])
def loss(request: pytest.FixtureRequest, bench: Any, full_getter: Any) -> Any:
    """L_rank of D^l or of D^u, built from the shipped config as the student builds it."""
    student = bench.stages("--config_loss slade_pseudo_label")["student"]
    factory = SladeLossFactory(getter=full_getter)
    built = factory.create(named_specs=student.loss_funcs, kwargs={"num_classes": 3})
    assert set(built) == {"metric_loss", "unlabeled_metric_loss"}
    return built[request.param]


def random_embeddings(size: int = 10, seed: int = 0) -> Tensor:
    return torch.randn(size, 3, generator=torch.manual_seed(seed), dtype=torch.float64)


def random_pairs(size: int = 10, seed: int = 0) -> PairIndices:
    """Pairs in both directions as a miner finds them, that have nothing to do with distances."""
    half = torch.rand(size, size, generator=torch.manual_seed(100 + seed))
    return mine_by_similarity((half + half.t()) / 2, 0.6, 0.4)


def pairs_of(labels: list[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    ordered = [(i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j]
    same = [(i, j) for i, j in ordered if labels[i] == labels[j]]
    return same, [(i, j) for i, j in ordered if labels[i] != labels[j]]


def ranking_loss(
    embeddings: list[list[float]],
    positive: list[tuple[int, int]],
    negative: list[tuple[int, int]],
) -> float:
    """Eq. 1, one pair after the other; some negative pairs are within the margin, some beyond."""
    unit = [[x / math.hypot(*row) for x in row] for row in embeddings]
    terms = (
        [max(math.dist(unit[i], unit[j]) - POSITIVE_MARGIN, 0) for i, j in positive],
        [max(NEGATIVE_MARGIN - math.dist(unit[i], unit[j]), 0) for i, j in negative],
    )
    above = [[term for term in side if term > 0] for side in terms]
    assert 0 < len(above[1]) < len(negative)
    return sum(sum(side) / len(side) for side in above)


def test_value_by_hand(loss: Any) -> None:
    """a = (1, 0), b = (0.6, 0.8); c = (0, 1), d = (0.8, 0.6), each at some other length.

    Positive: both a-b and c-d are sqrt(0.8) apart. Negative: a-c sqrt(2), beyond the margin; a-d
    and b-c sqrt(0.4); b-d sqrt(0.08). So 0.894427 + (2 * 0.367544 + 0.717157) / 3 = 1.378509.
    """
    embeddings = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.0, 0.5], [8.0, 6.0]])
    value = loss(embeddings, torch.tensor([0, 0, 1, 1])).item()
    by_hand = math.sqrt(0.8) + (2 * (1 - math.sqrt(0.4)) + 1 - math.sqrt(0.08)) / 3
    assert value == pytest.approx(by_hand, abs=1e-6)
    assert value == pytest.approx(1.378509, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_over_all_pairs(loss: Any, seed: int) -> None:
    embeddings = random_embeddings(seed=seed)
    expected = ranking_loss(embeddings.tolist(), *pairs_of(LABELS))
    assert loss(embeddings, torch.tensor(LABELS)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_over_mined_pairs(loss: Any, seed: int) -> None:
    """Both directions of each pair; labels play no part then."""
    embeddings, pairs = random_embeddings(seed=seed), random_pairs(seed=seed)
    a1, p, a2, n = (index.tolist() for index in pairs)
    positive, negative = list(zip(a1, p, strict=True)), list(zip(a2, n, strict=True))
    for side in (positive, negative):
        assert side
        assert {(j, i) for i, j in side} == set(side)
    expected = ranking_loss(embeddings.tolist(), positive, negative)
    for labels in (LABELS, [0] * 10):
        value = loss(embeddings, torch.tensor(labels), pairs).item()
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [16, 32])
def test_equals_the_loop_in_float32(loss: Any, size: int) -> None:
    """In a batch of more than 25 torch takes distances by a matrix product."""
    labels = [i // 4 for i in range(size)]
    embeddings = random_embeddings(size).float()
    expected = ranking_loss(embeddings.tolist(), *pairs_of(labels))
    assert loss(embeddings, torch.tensor(labels)).item() == pytest.approx(expected, abs=1e-5)


def test_positive_and_negative_terms_are_averaged_apart(loss: Any) -> None:
    """The loss of both kinds is the sum of the losses of either."""
    embeddings, labels, pairs = random_embeddings(), torch.tensor(LABELS), random_pairs()
    none = torch.empty(0, dtype=torch.int64)
    positive = loss(embeddings, labels, (*pairs[:2], none, none)).item()
    negative = loss(embeddings, labels, (none, none, *pairs[2:])).item()
    assert 0 < positive < 2
    assert 0 < negative < 1
    assert loss(embeddings, labels, pairs).item() == pytest.approx(positive + negative, abs=1e-12)


@pytest.mark.parametrize("mined", [False, True])
def test_the_length_of_embeddings_does_not_count(loss: Any, mined: bool) -> None:
    """Each image may have its own."""
    embeddings, labels = random_embeddings(), torch.tensor(LABELS)
    pairs = random_pairs() if mined else None
    lengths = torch.tensor([0.01, 0.3, 1.0, 2.0, 7.0, 50.0, 900.0, 0.2, 4.0, 1.0]).double()
    value = loss(embeddings, labels, pairs).item()
    scaled = loss(lengths.unsqueeze(1) * embeddings, labels, pairs).item()
    assert scaled == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("mined", [False, True])
def test_the_order_of_the_batch_does_not_count(loss: Any, mined: bool) -> None:
    embeddings, labels = random_embeddings(), torch.tensor(LABELS)
    pairs = random_pairs()
    value = loss(embeddings, labels, pairs if mined else None).item()
    order = torch.tensor([3, 6, 8, 1, 0, 9, 5, 2, 7, 4])
    place = torch.argsort(order)  # image i stands at place[i] now
    moved = tuple(place[index] for index in pairs) if mined else None
    shuffled = loss(embeddings[order], labels[order], moved).item()
    assert shuffled == pytest.approx(value, abs=1e-12)


def test_zero_at_the_ideal(loss: Any) -> None:
    """Positives coincide, negatives are sqrt(2) apart: no loss and no gradient."""
    embeddings = torch.eye(3).repeat_interleave(3, dim=0).requires_grad_()
    value = loss(embeddings, torch.arange(3).repeat_interleave(3))
    value.backward()
    assert value.item() == 0
    assert embeddings.grad is not None
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_negatives_beyond_the_margin_do_not_count(loss: Any) -> None:
    """Turned by the angle t they are 2 sin(t / 2) apart: 1 at t = 60 degrees."""
    for degrees, expected in (
        (61, 0.0),
        (90, 0.0),
        (180, 0.0),
        (59, 1 - 2 * math.sin(math.radians(29.5))),
    ):
        turned = [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]
        value = loss(torch.tensor([[1.0, 0.0], turned]), torch.tensor([0, 1])).item()
        assert value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mined", [False, True])
def test_gradcheck(loss: Any, mined: bool) -> None:
    """Away from the kink of the negative term at a distance of 1."""
    embeddings, pairs = random_embeddings(), random_pairs() if mined else None
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    distance = torch.cdist(unit, unit)[~torch.eye(10).bool()]
    assert ((distance - NEGATIVE_MARGIN).abs() > 1e-3).all()
    assert (distance < NEGATIVE_MARGIN).any()
    assert (distance > 1e-3).all()
    labels = torch.tensor(LABELS)
    assert gradcheck(lambda x: loss(x, labels, pairs), (embeddings.requires_grad_(),))
