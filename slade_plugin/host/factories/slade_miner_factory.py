"""Miners from the config.

Differs from powerful-benchmarker's ``MinerFactory``: a miner that holds a loss
(``MaximumLossMiner``) can be built, a miner's ``distance`` can be given by name, and every error
names the place in the config.
"""

from typing import Any

from powerful_benchmarker.factories import MinerFactory

from slade_plugin.config import lookup
from slade_plugin.host.factories.slade_loss_factory import SladeLossFactory


class SladeMinerFactory(MinerFactory):
    """Builds the entries of ``mining_funcs``; used as the factory ``miner``."""

    def key_specific_kwargs(self, key: str | None) -> dict[str, Any]:
        """Tells each miner where it stands in the config, for error messages."""
        return {} if key is None else {"where": f"mining_funcs.{key}"}

    def _create_general(
        self, miner_type: object, num_classes: int | None = None, where: str = "mining_funcs"
    ) -> Any:
        """Builds one miner.

        Args:
            miner_type: ``{ClassName: {argument: value}}``.
            num_classes: Number of training classes, for a loss inside the miner; None if unknown.
            where: Place in the config.

        Raises:
            ConfigError: If the name, an argument or a value is wrong.
        """
        cls, kwargs = lookup.resolve_checked(self.getter, "miner", miner_type, where)
        if kwargs.get("loss") is not None:
            kwargs["loss"] = SladeLossFactory(getter=self.getter).create(
                kwargs["loss"], kwargs={"num_classes": num_classes, "where": f"{where}.loss"}
            )
        if kwargs.get("miner") is not None:
            kwargs["miner"] = self._create_general(kwargs["miner"], num_classes, f"{where}.miner")
        if kwargs.get("distance") is not None:
            kwargs["distance"] = lookup.build(
                self.getter, "distance", kwargs["distance"], f"{where}.distance"
            )
        with lookup.constructor_errors(cls.__name__, where):
            return cls(**kwargs)
