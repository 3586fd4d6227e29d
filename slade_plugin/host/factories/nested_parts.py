"""Build losses and miners from config entries, with nested parts.

A loss may contain a miner and a miner a loss, so both are built here. Every error names the place
in the config.
"""

import logging
from collections.abc import Mapping
from typing import Any

from powerful_benchmarker.factories import LossFactory
from pytorch_metric_learning import losses
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper

from slade_plugin.base.errors import ConfigError
from slade_plugin.config import lookup

logger = logging.getLogger(__name__)

# Argument of a loss or miner -> kind of class it is built from.
CHOICES = {
    "distance": "distance",
    "pairwise_loss": "pairwise_loss",
    "positive_threshold": "threshold",
    "negative_threshold": "threshold",
}


def build_loss(getter: Any, spec: object, num_classes: int | None, where: str) -> Any:
    """Build one loss.

    Args:
        getter: The host's ``PytorchGetter``.
        spec: ``{ClassName: {argument: value}}``.
        num_classes: Number of training classes, passed to losses that take it; None if unknown.
        where: Place in the config.

    Raises:
        ConfigError: If the name, an argument or a value is wrong.
    """
    cls, kwargs = lookup.resolve_checked(getter, "loss", spec, where)
    if cls is losses.MultipleLosses:
        _build_multiple_losses(getter, kwargs, num_classes, where)
    elif cls is losses.CrossBatchMemory:
        if "loss" in kwargs:
            kwargs["loss"] = build_loss(getter, kwargs["loss"], num_classes, f"{where}.loss")
        if kwargs.get("miner") is not None:
            kwargs["miner"] = build_miner(getter, kwargs["miner"], num_classes, f"{where}.miner")
    if "num_classes" in lookup.constructor(cls).names and "num_classes" not in kwargs:
        if num_classes is None:
            raise ConfigError(
                f"{where}: {cls.__name__} needs num_classes, which is not known here; "
                f"add num_classes below {cls.__name__}"
            )
        kwargs["num_classes"] = num_classes
        logger.info("%s: %s gets num_classes %d", where, cls.__name__, num_classes)
    for name in dict.fromkeys([*LossFactory.nested_loss_objects, *CHOICES]):
        if kwargs.get(name) is not None:
            kwargs[name] = _build_nested(getter, name, kwargs[name], f"{where}.{name}")
    with lookup.constructor_errors(cls.__name__, where):
        return cls(**kwargs)


def build_miner(getter: Any, spec: object, num_classes: int | None, where: str) -> Any:
    """Build one miner; arguments and errors as for `build_loss`."""
    cls, kwargs = lookup.resolve_checked(getter, "miner", spec, where)
    for name, build in {"loss": build_loss, "miner": build_miner}.items():
        if kwargs.get(name) is not None:
            kwargs[name] = build(getter, kwargs[name], num_classes, f"{where}.{name}")
    for name in CHOICES:
        if kwargs.get(name) is not None:
            kwargs[name] = _build_nested(getter, name, kwargs[name], f"{where}.{name}")
    with lookup.constructor_errors(cls.__name__, where):
        return cls(**kwargs)


def _build_nested(getter: Any, name: str, spec: object, where: str) -> Any:
    """Build a nested choice, distance, reducer, regularizer or weight initialization."""
    if name == "weight_init_func":
        function, kwargs = lookup.resolve_checked(getter, name, spec, where)
        return TorchInitWrapper(function, **kwargs)
    if name in CHOICES or name in LossFactory.nested_regularizer_objects:
        return lookup.build(getter, CHOICES.get(name, name), spec, where)
    cls, kwargs = lookup.resolve_checked(getter, "regularizer", spec, where)
    for inner in LossFactory.nested_regularizer_objects:
        if kwargs.get(inner) is not None:
            kwargs[inner] = _build_nested(getter, inner, kwargs[inner], f"{where}.{inner}")
    with lookup.constructor_errors(cls.__name__, where):
        return cls(**kwargs)


def _build_multiple_losses(
    getter: Any, kwargs: dict[str, Any], num_classes: int | None, where: str
) -> None:
    """Replace the configs in ``losses`` by losses, and check ``weights``."""
    specs = kwargs.get("losses")
    if not isinstance(specs, Mapping) or not specs:
        raise ConfigError(
            f"{where}: MultipleLosses.losses is {specs!r}, expected a mapping "
            "ClassName: {argument: value} with at least one loss"
        )
    weights = kwargs.get("weights")
    if weights is not None and (not isinstance(weights, Mapping) or set(weights) != set(specs)):
        raise ConfigError(
            f"{where}: MultipleLosses.weights is {weights!r}, expected one number for each of "
            f"{', '.join(specs)}"
        )
    kwargs["losses"] = {
        name: build_loss(getter, {name: arguments}, num_classes, f"{where}.losses")
        for name, arguments in specs.items()
    }
