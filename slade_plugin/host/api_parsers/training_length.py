"""The length of a training, for schedulers and for the start of mining."""

from typing import Any

from slade_plugin.host.factories.slade_optimizer_factory import NUM_EPOCHS, SladeOptimizerFactory


class TrainingLength:
    """A layer on the host's API parser, for students and for whatever our runner makes."""

    args: Any
    factories: dict[str, Any]
    split_manager: Any

    def default_kwargs_optimizers(self) -> dict[str, Any]:
        """The host's entries; our optimizer factory also gets the number of epochs."""
        kwargs: dict[str, Any] = super().default_kwargs_optimizers()  # type: ignore[misc]
        if isinstance(self.factories["optimizer"], SladeOptimizerFactory):
            kwargs[NUM_EPOCHS] = self._num_epochs
        return kwargs

    def _num_epochs(self) -> int:
        """Of the current split scheme: a run that reproduces a resumed one has one for each."""
        epochs: int | dict[str, int] = self.args.num_epochs_train
        if isinstance(epochs, int):
            return epochs
        return epochs[self.split_manager.curr_split_scheme_name]
