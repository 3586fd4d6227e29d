"""Which entries of a config are searched, and what is put in their place."""

from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.search.space import Parameter, fill, find_space


def test_each_keyword_of_the_host_is_found_with_its_path() -> None:
    config = {
        "loss_funcs": {"metric_loss": {"X": {"margin~BAYESIAN~": [-0.2, 2], "p": 2}}},
        "optimizers": {"o": {"lr~LOG_BAYESIAN~": ["1e-6", 1]}},  # 1e-6 is text to YAML
        "num_epochs_train~INT_BAYESIAN~": [2, 5],
        "transforms": None,
    }
    assert find_space(config) == {
        "loss_funcs/metric_loss/X/margin": Parameter(-0.2, 2.0, log_scale=False, integer=False),
        "optimizers/o/lr": Parameter(1e-6, 1.0, log_scale=True, integer=False),
        "num_epochs_train": Parameter(2, 5, log_scale=False, integer=True),
    }
    assert find_space({"loss_funcs": {"margin": 1}}) == {}


def test_integer_bounds_are_integers() -> None:
    """Ax makes its values of the kind of the bounds."""
    found = find_space({"k~INT_BAYESIAN~": [2.0, 250]})["k"]
    assert type(found.lower) is int
    assert type(found.upper) is int


@pytest.mark.parametrize(
    ("key", "bounds", "message"),
    [
        ("m~BAYESIAN~", 0.5, "m~BAYESIAN~ is 0.5; expected two numbers"),
        ("m~BAYESIAN~", [0, 1, 2], r"m~BAYESIAN~ is \[0, 1, 2\]; expected two numbers"),
        ("m~BAYESIAN~", ["a", 1], r"is \['a', 1\]; expected two numbers"),
        ("m~BAYESIAN~", [None, 1], r"is \[None, 1\]; expected two numbers"),
        ("m~BAYESIAN~", [1, 0], r"is \[1, 0\]; expected two numbers, the lower one first"),
        ("m~BAYESIAN~", [1, 1], "the lower one first"),
        ("m~BAYESIAN~", [0, float("inf")], "expected two numbers"),
        ("m~LOG_BAYESIAN~", [0, 1], "starts at 0; expected bounds above 0 on a log scale"),
        ("m~INT_BAYESIAN~", [0.5, 2], r"is \[0.5, 2\]; expected integers"),
    ],
)
def test_bounds_that_cannot_be_searched(key: str, bounds: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_space({"loss": {key: bounds}})


def test_a_value_takes_the_place_of_bounds_and_of_the_value_they_stand_beside() -> None:
    """The host merges a file with bounds into one with a value and keeps both keys."""
    config: dict[str, Any] = {"loss": {"X": {"margin": 0.1, "margin~BAYESIAN~": [0, 1], "p": 2}}}
    fill(config, {"loss/X/margin": 0.7})
    assert config == {"loss": {"X": {"margin": 0.7, "p": 2}}}


def test_a_top_level_value() -> None:
    config: dict[str, Any] = {"num_epochs_train~INT_BAYESIAN~": [1, 9]}
    fill(config, {"num_epochs_train": 3})
    assert config == {"num_epochs_train": 3}


@pytest.mark.parametrize("path", ["loss/Y/margin", "loss/X/other", "loss/X/p/q", "x"])
def test_a_path_that_a_config_lacks_adds_nothing(path: str) -> None:
    """A trial's values go into several stages, and each has some of the entries."""
    config: dict[str, Any] = {"loss": {"X": {"margin": 0.1, "p": 2}}}
    fill(config, {path: 0.7})
    assert config == {"loss": {"X": {"margin": 0.1, "p": 2}}}
