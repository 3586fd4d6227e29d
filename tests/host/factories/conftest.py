"""The host's getter, as its runner fills it."""

from typing import Any

import pytest
import torch
from easy_module_attribute_getter import PytorchGetter
from pytorch_metric_learning import distances, losses, miners, reducers, regularizers


@pytest.fixture(scope="session")
def getter() -> Any:
    getter = PytorchGetter()
    for kind, module in {
        "loss": losses,
        "miner": miners,
        "regularizer": regularizers,
        "distance": distances,
        "reducer": reducers,
        "weight_init_func": torch.nn.init,
    }.items():
        getter.register(kind, module)
    return getter
