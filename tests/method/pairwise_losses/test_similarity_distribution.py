import pytest
import torch
from torch import Tensor

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.functional import Moments, PairMoments
from slade_plugin.method.pairwise_losses import SimilarityDistribution

LABELS = torch.tensor([7, 7, 9])
SIMILARITY = torch.tensor([[1.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1.0]])


def moments(mean: float, variance: float = 0.0) -> Moments:
    return Moments(torch.tensor(mean), torch.tensor(variance))


NOTHING = PairMoments(None, None)


def test_by_hand() -> None:
    """max(0.5 - 0.75 + 0.5, 0) + 2 * (0.125 + 0.25) = 1, of the running statistics alone."""
    running = PairMoments(moments(0.75, 0.125), moments(0.5, 0.25))
    choice = SimilarityDistribution(margin=0.5, variance_weight=2.0)
    assert choice(SIMILARITY, LABELS, NOTHING, running).item() == 1
    assert choice(SIMILARITY, LABELS, running, running).item() == 1


def test_zero_at_the_ideal() -> None:
    running = PairMoments(moments(0.75), moments(0.25))
    assert SimilarityDistribution()(SIMILARITY, LABELS, NOTHING, running).item() == 0


@pytest.mark.parametrize("sign", [0, 1])
def test_one_gaussian_alone_is_made_narrow(sign: int) -> None:
    running = PairMoments(*[moments(0.5, 0.25) if i == sign else None for i in range(2)])
    choice = SimilarityDistribution(variance_weight=2.0)
    assert choice(SIMILARITY, LABELS, NOTHING, running).item() == 0.5


def test_before_any_pair_it_is_a_differentiable_zero() -> None:
    similarity = SIMILARITY.clone().requires_grad_()
    value: Tensor = SimilarityDistribution()(similarity, LABELS, NOTHING, NOTHING)
    value.backward()
    assert value.item() == 0
    assert similarity.grad is not None
    assert not similarity.grad.any()


def test_its_column_in_the_records() -> None:
    assert SimilarityDistribution().term == "similarity_distribution"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margin": -0.1}, r"margin is -0.1; expected a number in \[0, 2\]"),
        ({"margin": 2.5}, "margin is 2.5"),
        ({"variance_weight": -1}, "variance_weight is -1; expected a number >= 0"),
        ({"variance_weight": "1e-3"}, "write 1.0e-3"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        SimilarityDistribution(**arguments)
    assert "config_loss under loss_funcs: basis_loss" in str(error.value)


def test_the_ends_of_the_ranges_are_allowed() -> None:
    assert SimilarityDistribution(margin=2, variance_weight=0).settings() == {
        "margin": 2, "variance_weight": 0,
    }  # fmt: skip
