import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from slade_plugin.base.errors import ShapeError
from slade_plugin.method.functional import (
    Moments,
    PairMoments,
    corrected_momentum,
    pair_moments,
    running_update,
    running_with_gradient,
)


def random_similarity(size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    half = torch.rand(size, size, generator=generator, dtype=torch.float64)
    return (half + half.t()) / 2


def seen(moments: Moments | None) -> Moments:
    assert moments is not None
    return moments


def test_moments_by_hand() -> None:
    """Labels 0 0 1 1. Positive: 0.8, 0.4: mean 0.6, variance (0.2^2 + 0.2^2) / 2 = 0.04.

    Negative: 0.1, 0.3, -0.1, 0.1: mean 0.1, variance (0 + 0.04 + 0.04 + 0) / 4 = 0.02.
    """
    similarity = torch.tensor(
        [
            [1.0, 0.8, 0.1, 0.3],
            [0.8, 1.0, -0.1, 0.1],
            [0.1, -0.1, 1.0, 0.4],
            [0.3, 0.1, 0.4, 1.0],
        ],
        dtype=torch.float64,
    )
    positive, negative = pair_moments(similarity, torch.tensor([0, 0, 1, 1]))
    assert seen(positive).mean.item() == pytest.approx(0.6, abs=1e-12)
    assert seen(positive).variance.item() == pytest.approx(0.04, abs=1e-12)
    assert seen(negative).mean.item() == pytest.approx(0.1, abs=1e-12)
    assert seen(negative).variance.item() == pytest.approx(0.02, abs=1e-12)


def test_moments_equal_the_loop() -> None:
    similarity, labels = random_similarity(9), [4, 2, 4, 4, 7, 2, 9, 7, 4]
    groups: dict[bool, list[float]] = {True: [], False: []}
    for i in range(9):
        for j in range(i + 1, 9):
            groups[labels[i] == labels[j]].append(float(similarity[i, j]))
    moments = pair_moments(similarity, torch.tensor(labels))
    for values, found in ((groups[True], moments.positive), (groups[False], moments.negative)):
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        assert seen(found).mean.item() == pytest.approx(mean, abs=1e-12)
        assert seen(found).variance.item() == pytest.approx(variance, abs=1e-12)


def test_moments_do_not_depend_on_order_or_on_the_names_of_labels() -> None:
    similarity, labels = random_similarity(6), torch.tensor([0, 1, 0, 2, 1, 0])
    order = torch.tensor([5, 2, 0, 1, 4, 3])
    renamed = torch.tensor([30, 10, 20])[labels]
    one = pair_moments(similarity, labels)
    for other in (
        pair_moments(similarity[order][:, order], labels[order]),
        pair_moments(similarity, renamed),
    ):
        for left, right in zip(one, other, strict=True):
            torch.testing.assert_close(seen(left).mean, seen(right).mean)
            torch.testing.assert_close(seen(left).variance, seen(right).variance)


def test_shift_moves_the_mean_alone_and_scale_squares_the_variance() -> None:
    similarity, labels = random_similarity(6), torch.tensor([0, 1, 0, 2, 1, 0])
    one = seen(pair_moments(similarity, labels).negative)
    other = seen(pair_moments(3 * similarity + 2, labels).negative)
    torch.testing.assert_close(other.mean, 3 * one.mean + 2)
    torch.testing.assert_close(other.variance, 9 * one.variance)


def test_diagonal_is_not_read() -> None:
    similarity, labels = random_similarity(5), torch.tensor([0, 0, 1, 1, 0])
    spoiled = similarity.clone().fill_diagonal_(math.nan)
    assert pair_moments(spoiled, labels) == pair_moments(similarity, labels)


@pytest.mark.parametrize(
    ("labels", "has_positive", "has_negative"),
    [
        ([0, 1, 2], False, True),
        ([5, 5, 5], True, False),
        ([5], False, False),
        ([], False, False),
    ],
)
def test_missing_kind_of_pair_is_none(
    labels: list[int], has_positive: bool, has_negative: bool
) -> None:
    size = len(labels)
    moments = pair_moments(random_similarity(size), torch.tensor(labels, dtype=torch.int64))
    assert (moments.positive is not None) == has_positive
    assert (moments.negative is not None) == has_negative
    assert isinstance(moments, PairMoments)


def test_single_pair_and_duplicates_have_no_variance() -> None:
    similarity = torch.full((4, 4), 0.25)
    positive, negative = pair_moments(similarity, torch.tensor([0, 0, 1, 2]))
    assert seen(positive).variance.item() == 0
    assert seen(negative).variance.item() == 0


def test_nan_reaches_only_its_own_gaussian() -> None:
    similarity = random_similarity(3)
    similarity[0, 1] = math.nan
    positive, negative = pair_moments(similarity, torch.tensor([0, 0, 1]))
    assert seen(positive).mean.isnan()
    assert seen(negative).mean.isfinite()


def test_gradcheck_of_moments() -> None:
    labels = torch.tensor([0, 1, 0, 1])

    def four(similarity: Tensor) -> tuple[Tensor, ...]:
        positive, negative = pair_moments(similarity, labels)
        return (
            seen(positive).mean,
            seen(positive).variance,
            seen(negative).mean,
            seen(negative).variance,
        )

    assert gradcheck(four, (random_similarity(4).requires_grad_(),))


def test_trap_05_moments_of_half_precision_are_float32() -> None:
    """0.500 and 0.502 differ by one bfloat16 step; their variance, 1e-6, needs float32."""
    similarity = torch.tensor([[1.0, 0.5, 0.502]] * 3, dtype=torch.float16)
    negative = seen(pair_moments(similarity, torch.tensor([0, 1, 2])).negative)
    assert negative.variance.dtype == torch.float32
    values = [float(similarity[0, 1]), float(similarity[0, 2]), float(similarity[1, 2])]
    mean = sum(values) / 3
    expected = sum((value - mean) ** 2 for value in values) / 3
    assert negative.variance.item() == pytest.approx(expected, rel=1e-4)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 3\) and labels \(2,\)"):
        pair_moments(random_similarity(3), torch.tensor([0, 1]))
    with pytest.raises(ShapeError, match=r"labels \(3, 1\)"):
        pair_moments(random_similarity(3), torch.tensor([[0], [1], [2]]))


def test_running_update_by_hand() -> None:
    """0.1 * 1 + 0.9 * 0.5 = 0.55."""
    updated = running_update(torch.tensor(0.5), torch.tensor(1.0), momentum=0.9, is_first=False)
    assert updated.item() == pytest.approx(0.55)


def test_running_update_equals_the_unrolled_sum() -> None:
    """Eq. 6 unrolled: beta^n x_0 + (1 - beta) * sum of beta^(n - k) x_k."""
    values, beta = [0.3, -0.2, 0.9, 0.4], 0.7
    running = torch.tensor(math.nan, dtype=torch.float64)
    for step, value in enumerate(values):
        batch = torch.tensor(value, dtype=torch.float64)
        running = running_update(running, batch, momentum=beta, is_first=step == 0)
    last = len(values) - 1
    expected = beta**last * values[0] + sum(
        (1 - beta) * beta ** (last - k) * values[k] for k in range(1, len(values))
    )
    assert running.item() == pytest.approx(expected, abs=1e-12)


def test_running_update_keeps_a_constant_and_forgets_without_momentum() -> None:
    half, one = torch.tensor(0.5), torch.tensor(1.0)
    assert running_update(half, half, momentum=0.99, is_first=False).item() == pytest.approx(0.5)
    assert running_update(half, one, momentum=0.0, is_first=False).item() == 1.0


@pytest.mark.parametrize("gradient_mode", ["batch", "running"])
def test_trap_04_first_observation_is_the_statistic(gradient_mode: str) -> None:
    """From zero with beta = 0.99, the first mean of 0.8 would be recorded as 0.008."""
    batch = torch.tensor(0.8, requires_grad=True)
    unseen = torch.tensor(math.nan)
    first = running_with_gradient(unseen, batch, 0.99, True, gradient_mode)
    first.backward()
    assert first.item() == pytest.approx(0.8)
    assert batch.grad is not None
    assert batch.grad.item() == 1.0


@pytest.mark.parametrize(("gradient_mode", "strength"), [("batch", 1.0), ("running", 0.01)])
def test_trap_03_gradient_strength_by_mode(gradient_mode: str, strength: float) -> None:
    """Both have the value 0.01 * 0.3 + 0.99 * 0.5 = 0.498; d / d batch is 1, or literally 0.01."""
    running = torch.tensor(0.5, requires_grad=True)
    batch = torch.tensor(0.3, requires_grad=True)
    value = running_with_gradient(running, batch, 0.99, False, gradient_mode)
    value.backward()
    assert value.item() == pytest.approx(0.498)
    assert batch.grad is not None
    assert batch.grad.item() == pytest.approx(strength)
    assert running.grad is None


@pytest.mark.parametrize("is_first", [False, True])
def test_gradcheck_of_the_literal_mode(is_first: bool) -> None:
    running = torch.tensor(0.5, dtype=torch.float64)

    def literal(batch: Tensor) -> Tensor:
        return running_with_gradient(running, batch, 0.9, is_first, "running")

    assert gradcheck(literal, (torch.tensor(0.3, dtype=torch.float64, requires_grad=True),))


# ---------------------------------------------------------------- correction for the start


def test_corrected_momentum_by_hand() -> None:
    """beta = 1/2: beta_t = (1/2 - 2 ** -t) / (1 - 2 ** -t) = 0, 1/3, 3/7, 7/15."""
    found = [corrected_momentum(0.5, updates) for updates in range(4)]
    assert found == pytest.approx([0, 1 / 3, 3 / 7, 7 / 15], abs=1e-15)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
def test_corrected_momentum_equals_adams_loop(beta: float) -> None:
    """m <- beta m + (1 - beta) x from m = 0, then m / (1 - beta ** t)."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(300, generator=generator, dtype=torch.float64)
    moment, running = 0.0, torch.zeros((), dtype=torch.float64)
    for step, value in enumerate(values):
        moment = beta * moment + (1 - beta) * float(value)
        running = running_update(running, value, corrected_momentum(beta, step), step == 0)
        assert float(running) == pytest.approx(moment / (1 - beta ** (step + 1)), abs=1e-12)


def test_corrected_momentum_begins_as_a_plain_mean_and_ends_as_beta() -> None:
    assert [corrected_momentum(1 - 1e-9, t) for t in range(5)] == pytest.approx(
        [t / (t + 1) for t in range(5)], abs=1e-6
    )
    assert corrected_momentum(0.99, 5000) == pytest.approx(0.99, abs=1e-12)
    found = [corrected_momentum(0.9, t) for t in range(50)]
    assert found == sorted(found)
    assert max(found) < 0.9
