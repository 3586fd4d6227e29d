"""Losses from the config, with the host's two unreachable wrappers made reachable.

Differs from powerful-benchmarker's ``LossFactory``: ``MultipleLosses`` and ``CrossBatchMemory``
can be built (the number of classes reaches the inner losses; ``MultipleLosses`` gets its losses by
name, since its list form adds up nothing and returns 0), and every error names the place in the
config instead of being an ``AttributeError`` without text.
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


class SladeLossFactory(LossFactory):
    """Builds the entries of ``loss_funcs``; used as the factory ``loss``."""

    def key_specific_kwargs(self, key: str | None) -> dict[str, Any]:
        """Tells each loss where it stands in the config, for error messages."""
        return {} if key is None else {"where": f"loss_funcs.{key}"}

    def _create_general(
        self, loss_type: object, num_classes: int | None = None, where: str = "loss_funcs"
    ) -> Any:
        """Builds one loss.

        Args:
            loss_type: ``{ClassName: {argument: value}}``.
            num_classes: Number of training classes, passed to losses that take it.
            where: Place in the config.

        Raises:
            ConfigError: If the name, an argument or a value is wrong.
        """
        cls, kwargs = lookup.resolve_checked(self.getter, "loss", loss_type, where)
        if cls is losses.MultipleLosses:
            self._build_multiple_losses(kwargs, num_classes, where)
        elif cls is losses.CrossBatchMemory:
            self._build_inside_memory(kwargs, num_classes, where)
        if "num_classes" in lookup.constructor(cls).names and "num_classes" not in kwargs:
            if num_classes is None:
                raise ConfigError(
                    f"{where}: {cls.__name__} needs num_classes, which is not known here; "
                    f"write num_classes below {cls.__name__}"
                )
            kwargs["num_classes"] = num_classes
            logger.info("%s: %s gets num_classes %d", where, cls.__name__, num_classes)
        for name in self.nested_loss_objects:
            if kwargs.get(name) is not None:
                kwargs[name] = self._build_nested(name, kwargs[name], f"{where}.{name}")
        with lookup.constructor_errors(cls.__name__, where):
            return cls(**kwargs)

    def _build_nested(self, name: str, spec: object, where: str) -> Any:
        """Builds a distance, reducer, regularizer or weight initialisation."""
        if name == "weight_init_func":
            function, kwargs = lookup.resolve_checked(self.getter, name, spec, where)
            return TorchInitWrapper(function, **kwargs)
        if name not in self.nested_regularizer_objects:
            cls, kwargs = lookup.resolve_checked(self.getter, "regularizer", spec, where)
            for inner in self.nested_regularizer_objects:
                if kwargs.get(inner) is not None:
                    kwargs[inner] = self._build_nested(inner, kwargs[inner], f"{where}.{inner}")
            with lookup.constructor_errors(cls.__name__, where):
                return cls(**kwargs)
        return lookup.build(self.getter, name, spec, where)

    def _build_multiple_losses(
        self, kwargs: dict[str, Any], num_classes: int | None, where: str
    ) -> None:
        """Replaces the configs in ``losses`` by losses, and checks ``weights``."""
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
            name: self._create_general({name: arguments}, num_classes, f"{where}.losses")
            for name, arguments in specs.items()
        }

    def _build_inside_memory(
        self, kwargs: dict[str, Any], num_classes: int | None, where: str
    ) -> None:
        """Replaces the configs of the inner loss and miner by objects."""
        # Imported here, since the miner factory needs this module.
        from slade_plugin.host.factories.slade_miner_factory import SladeMinerFactory

        if "loss" in kwargs:
            kwargs["loss"] = self._create_general(kwargs["loss"], num_classes, f"{where}.loss")
        if kwargs.get("miner") is not None:
            kwargs["miner"] = SladeMinerFactory(getter=self.getter).create(
                kwargs["miner"], kwargs={"num_classes": num_classes, "where": f"{where}.miner"}
            )
