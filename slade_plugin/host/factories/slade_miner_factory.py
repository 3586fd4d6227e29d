"""Build miners from the config.

Differs from powerful-benchmarker's ``MinerFactory``: a miner with a loss (``MaximumLossMiner``) can
be built, a miner's ``distance`` and thresholds can be given by name, and errors name the place in
the config.
"""

from typing import Any

from powerful_benchmarker.factories import MinerFactory

from slade_plugin.host.factories.nested_parts import build_miner


class SladeMinerFactory(MinerFactory):
    """Build the entries of ``mining_funcs``; used as the factory ``miner``."""

    def key_specific_kwargs(self, key: str | None) -> dict[str, Any]:
        """Return the miner's place in the config, for error messages."""
        return {} if key is None else {"where": f"mining_funcs.{key}"}

    def _create_general(
        self, miner_type: object, num_classes: int | None = None, where: str = "mining_funcs"
    ) -> Any:
        return build_miner(self.getter, miner_type, num_classes, where)
