from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.self_supervised.settings import SwAVSettings


def test_a_config_is_read_and_the_folder_left_alone() -> None:
    settings = SwAVSettings.from_config({"folder": None, "num_epochs": 3, "epsilon": 0.03})
    assert (settings.num_epochs, settings.epsilon, settings.num_prototypes) == (3, 0.03, 3000)
    assert SwAVSettings(**settings.settings()) == settings


def test_an_unknown_entry_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no entry 'num_epoch' \(did you mean 'num_epochs'\?\)"):
        SwAVSettings.from_config({"num_epoch": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_epochs", 0),
        ("num_epochs", True),
        ("batch_size", 1),
        ("num_prototypes", 1),
        ("projection_size", 0),
        ("sinkhorn_iterations", 0),
        ("queue_length", -1),
        ("queue_start_epoch", 1.5),
        ("frozen_prototype_epochs", "1"),
        ("epsilon", 0.01),
        ("epsilon", True),
        ("temperature", 0),
        ("final_lr_fraction", 1.1),
        ("warmup_epochs", 101),
        ("seed", -1),
        ("optimizer", "Adam"),
        ("optimizer", {"Adam": {}, "SGD": {}}),
        ("views", [1]),
        ("view_transforms", ["RandomInvert"]),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is .*config_self_supervised"):
        SwAVSettings(**{name: value})


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"num_epochs is 0(.|\n)*epsilon is 2"):
        SwAVSettings(num_epochs=0, epsilon=2)
