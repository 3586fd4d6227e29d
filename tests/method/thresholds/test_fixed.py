import math

import pytest
import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.thresholds import Fixed


def test_is_its_value_whatever_the_batch() -> None:
    threshold = Fixed(0.5)
    assert threshold(torch.eye(3), None, True, math.nan) == 0.5
    assert threshold(torch.zeros(2, 2), torch.arange(2), False, 0.9) == 0.5
    assert threshold.level == 0.5
    assert not threshold.reads_running_mean


@pytest.mark.parametrize("value", [-1.5, 1.01, True, math.nan, None, "0.5"])
def test_what_is_no_cosine_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"Fixed: value is .*; expected a number in \[-1, 1\]"):
        Fixed(value)  # type: ignore[arg-type]


def test_the_ends_are_cosines() -> None:
    assert (Fixed(-1).level, Fixed(1).level) == (-1, 1)
