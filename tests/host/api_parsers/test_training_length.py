"""A scheduler that asks for it learns how long the training is, in every runner that can tell."""

from types import SimpleNamespace
from typing import Any

import pytest
from powerful_benchmarker.api_parsers import BaseAPIParser
from powerful_benchmarker.factories import OptimizerFactory

from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.api_parsers.seeded import seeded
from slade_plugin.host.api_parsers.training_length import TrainingLength
from slade_plugin.host.factories import SladeOptimizerFactory


class Host:
    def default_kwargs_optimizers(self) -> dict[str, Any]:
        return {"param_sources": lambda: ["models", "losses"]}


class Parser(TrainingLength, Host):
    def __init__(self, factory: type, epochs: Any) -> None:
        self.factories = {"optimizer": factory(getter=None)}
        self.args = SimpleNamespace(num_epochs_train=epochs)
        self.split_manager = SimpleNamespace(curr_split_scheme_name="b")


@pytest.mark.parametrize("epochs", [7, {"a": 3, "b": 7}])
def test_our_factory_is_told_the_epochs_of_the_split_scheme(epochs: Any) -> None:
    kwargs = Parser(SladeOptimizerFactory, epochs).default_kwargs_optimizers()
    assert {name: value() for name, value in kwargs.items()} == {
        "param_sources": ["models", "losses"],
        "num_epochs": 7,
    }


def test_the_host_s_factory_is_told_what_the_host_tells_it() -> None:
    kwargs = Parser(OptimizerFactory, 7).default_kwargs_optimizers()
    assert list(kwargs) == ["param_sources"]


@pytest.mark.parametrize("cls", [APISladeStudent, seeded(APISladeStudent), seeded(BaseAPIParser)])
def test_students_and_all_that_our_runner_makes_have_it(cls: type) -> None:
    """Students in the host's own runner too."""
    assert cls.default_kwargs_optimizers is TrainingLength.default_kwargs_optimizers
    assert cls.__mro__.count(TrainingLength) == 1
