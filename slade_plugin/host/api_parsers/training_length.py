"""Length of a training, for schedulers and for the start of mining."""

from typing import Any

from slade_plugin.host.factories.slade_optimizer_factory import NUM_EPOCHS, SladeOptimizerFactory


class TrainingLength:
    """A mixin for the host's API parser, for students and every parser of our runner."""

    args: Any
    factories: dict[str, Any]
    split_manager: Any

    def default_kwargs_optimizers(self) -> dict[str, Any]:
        """Return the host's entries, with the number of epochs for our optimizer factory."""
        kwargs: dict[str, Any] = super().default_kwargs_optimizers()  # type: ignore[misc]
        if isinstance(self.factories["optimizer"], SladeOptimizerFactory):
            kwargs[NUM_EPOCHS] = self._num_epochs
        return kwargs

    def _num_epochs(self) -> int:
        """Return the epochs of the current scheme; they differ in a reproduced resumed run."""
        epochs: int | dict[str, int] = self.args.num_epochs_train
        if isinstance(epochs, int):
            return epochs
        return epochs[self.split_manager.curr_split_scheme_name]
