import math

import pytest
import torch
from torch import Tensor

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.functional import Moments, PairMoments, pair_moments
from slade_plugin.method.pairwise_losses import GlobalCE

LABELS = torch.tensor([7, 7, 9])
SIMILARITY = torch.tensor([[1.0, 0.5, 0.1], [0.5, 1.0, 0.3], [0.1, 0.3, 1.0]])


def moments(mean: float, variance: float = 0.0) -> Moments:
    return Moments(torch.tensor(mean), torch.tensor(variance))


def test_by_hand() -> None:
    """Midpoint (0.5 + 0.1) / 2 = 0.3: logits 2 for the positive pair, -2 and 0 for the negative."""
    known, nothing = PairMoments(moments(0.5), moments(0.1)), PairMoments(None, None)
    value = GlobalCE(scale=10.0)(SIMILARITY, LABELS, nothing, known)
    positive = math.log(1 + math.exp(-2))
    negative = (math.log(1 + math.exp(-2)) + math.log(2)) / 2
    assert value.item() == pytest.approx((positive + negative) / 2)


def test_the_batch_means_are_not_read() -> None:
    known, nothing = PairMoments(moments(0.5), moments(0.1)), PairMoments(None, None)
    similarity = SIMILARITY.clone().requires_grad_()
    value: Tensor = GlobalCE()(similarity, LABELS, known, nothing)
    value.backward()
    assert value.item() == 0
    assert similarity.grad is not None
    assert not similarity.grad.any()


def test_a_constant_on_every_similarity_changes_nothing() -> None:
    values = []
    for shift in (0.0, 0.25):
        known = pair_moments(SIMILARITY + shift, LABELS)
        values.append(GlobalCE()(SIMILARITY + shift, LABELS, known, known))
    torch.testing.assert_close(*values)


def test_its_column_in_the_records() -> None:
    assert GlobalCE().term == "global_ce"


@pytest.mark.parametrize("scale", [0, -1, math.inf, None, "10"])
def test_wrong_scale_is_named(scale: object) -> None:
    with pytest.raises(ConfigError, match=r"GlobalCE: scale is .*; expected a number > 0"):
        GlobalCE(scale=scale)  # type: ignore[arg-type]
