"""Build losses from the config, including two wrappers that the host cannot build.

Differs from powerful-benchmarker's ``LossFactory``: ``MultipleLosses`` and ``CrossBatchMemory`` can
be built (the inner losses get the number of classes; ``MultipleLosses`` gets its losses by name,
since its list form sums nothing and returns 0), choices such as ``pairwise_loss`` are built from
their class, and errors name the place in the config instead of being an ``AttributeError`` without
text.
"""

from typing import Any

from powerful_benchmarker.factories import LossFactory

from slade_plugin.host.factories.nested_parts import build_loss


class SladeLossFactory(LossFactory):
    """Build the entries of ``loss_funcs``; used as the factory ``loss``."""

    def key_specific_kwargs(self, key: str | None) -> dict[str, Any]:
        """Return the loss's place in the config, for error messages."""
        return {} if key is None else {"where": f"loss_funcs.{key}"}

    def _create_general(
        self, loss_type: object, num_classes: int | None = None, where: str = "loss_funcs"
    ) -> Any:
        return build_loss(self.getter, loss_type, num_classes, where)
