"""The rate is constant and then, for the last share of the training, a fraction of that."""

import math
from typing import Any

import pytest
import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.host.lr_schedulers import FinalStepLR


def rates(num_epochs: int, stop: int | None = None, **changes: Any) -> list[float]:
    """The rate of each epoch; with `stop` a second scheduler goes on from the first one's state."""

    def made() -> tuple[torch.optim.Optimizer, FinalStepLR]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, FinalStepLR(optimizer, num_epochs, **changes)

    optimizer, scheduler = made()
    seen = []
    for epoch in range(num_epochs):
        if epoch == stop:
            states = optimizer.state_dict(), scheduler.state_dict()
            optimizer, scheduler = made()
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    ("num_epochs", "share", "high", "low"),
    [
        (20, 0.25, 15, 5),
        (40, 0.25, 30, 10),
        (60, 0.25, 45, 15),
        (10, 0.5, 5, 5),
        (10, 0.25, 8, 2),  # 2.5 epochs are rounded to the even number
        (4, 0.01, 3, 1),  # at least one
        (4, 0.99, 4, 0),  # a rate that is low from the start is a lower rate and no step
        (1, 0.25, 1, 0),
    ],
)
def test_the_rate_of_each_epoch(num_epochs: int, share: float, high: int, low: int) -> None:
    expected = [1.0] * high + [0.5] * low
    assert rates(num_epochs, share=share, factor=0.5) == expected


def test_defaults_are_a_tenth_in_the_last_quarter() -> None:
    assert rates(8) == pytest.approx([1.0] * 6 + [0.1] * 2)


@pytest.mark.parametrize("stop", [1, 6, 7])
def test_resumed_it_goes_on(stop: int) -> None:
    assert rates(8, stop=stop) == rates(8)


@pytest.mark.parametrize("name", ["share", "factor"])
@pytest.mark.parametrize("value", [0, 1, -0.5, 2.5, math.nan, "0.5", None, True])
def test_a_share_or_factor_out_of_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is .*; expected a number in \(0, 1\)"):
        rates(4, **{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, None, True])
def test_a_length_that_is_none_is_refused(value: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ConfigError, match=r"num_epochs is .*; expected an integer >= 1"):
        FinalStepLR(optimizer, value)
