import math

import pytest
import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.functional import pair_quantile
from slade_plugin.method.thresholds import Quantile

SIMILARITY = torch.tensor([[1.0, 0.8, 0.2], [0.8, 1.0, 0.4], [0.2, 0.4, 1.0]])
LABELS = torch.tensor([5, 6, 5])


def test_by_hand() -> None:
    """Of 0.2, 0.4, 0.8 the median is 0.4; of one pseudo label there is 0.2, of two 0.4 and 0.8."""
    half = Quantile(0.5)
    assert half(SIMILARITY, None, True, math.nan) == pytest.approx(0.4)
    assert half(SIMILARITY, LABELS, True, math.nan) == pytest.approx(0.2)
    assert half(SIMILARITY, LABELS, False, math.nan) == pytest.approx(0.6)
    assert half.level == 0.5
    assert not half.reads_running_mean


@pytest.mark.parametrize("q", [0.0, 0.3, 1.0])
def test_is_the_quantile_of_the_equations(q: float) -> None:
    random = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    assert Quantile(q)(random, None, True, 0.0) == pair_quantile(random, q)


def test_is_unknown_without_a_pair() -> None:
    assert math.isnan(Quantile(0.5)(SIMILARITY, torch.arange(3), True, 0.3))


@pytest.mark.parametrize("q", [-0.1, 1.5, True, "0.5"])
def test_what_is_no_share_is_refused(q: object) -> None:
    with pytest.raises(ConfigError, match=r"Quantile: q is .*; expected a number in \[0, 1\]"):
        Quantile(q)  # type: ignore[arg-type]
