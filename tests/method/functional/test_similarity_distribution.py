import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from slade_plugin.method.functional import similarity_distribution_loss


def loss_of(
    statistics: tuple[float, float, float, float], margin: float, variance_weight: float
) -> float:
    tensors = [torch.tensor(value, dtype=torch.float64) for value in statistics]
    return similarity_distribution_loss(*tensors, margin, variance_weight).item()


def test_value_by_hand() -> None:
    """max(0.1 - 0.6 + 0.7, 0) + 2 * (0.04 + 0.02) = 0.2 + 0.12 = 0.32."""
    assert loss_of((0.6, 0.1, 0.04, 0.02), 0.7, 2.0) == pytest.approx(0.32, abs=1e-12)


def test_value_by_hand_with_means_far_apart() -> None:
    """0.1 - 0.6 + 0.3 < 0, so only the variances count: 0.06."""
    assert loss_of((0.6, 0.1, 0.04, 0.02), 0.3, 1.0) == pytest.approx(0.06, abs=1e-12)


def test_equals_equation_5_on_a_grid() -> None:
    grid = [-0.9, -0.2, 0.0, 0.4, 1.0]
    for mu_pos in grid:
        for mu_neg in grid:
            for variance, other, margin, weight in ((0.0, 0.1, 0.5, 1.0), (0.3, 0.2, 0.0, 0.25)):
                expected = max(mu_neg - mu_pos + margin, 0) + weight * (variance + other)
                found = loss_of((mu_pos, mu_neg, variance, other), margin, weight)
                assert found == pytest.approx(expected, abs=1e-12)


def test_zero_at_the_ideal() -> None:
    assert loss_of((1.0, 0.0, 0.0, 0.0), 0.5, 1.0) == 0.0


def test_only_the_distance_of_the_means_counts() -> None:
    one = loss_of((0.3, 0.2, 0.1, 0.1), 0.5, 1.0)
    assert loss_of((0.7, 0.6, 0.1, 0.1), 0.5, 1.0) == pytest.approx(one, abs=1e-12)


def test_means_get_no_gradient_beyond_the_margin() -> None:
    statistics = [torch.tensor(value, requires_grad=True) for value in (0.9, 0.1, 0.2, 0.3)]
    similarity_distribution_loss(*statistics, margin=0.5, variance_weight=2.0).backward()
    assert [statistic.grad.item() for statistic in statistics if statistic.grad is not None] == [
        0.0,
        0.0,
        2.0,
        2.0,
    ]


@pytest.mark.parametrize("mu_pos", [0.2, 0.9])
def test_gradcheck(mu_pos: float) -> None:
    def loss(mu_pos: Tensor, mu_neg: Tensor, var_pos: Tensor, var_neg: Tensor) -> Tensor:
        return similarity_distribution_loss(mu_pos, mu_neg, var_pos, var_neg, 0.5, 0.7)

    values = (mu_pos, 0.1, 0.2, 0.3)
    assert gradcheck(
        loss, tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values)
    )
