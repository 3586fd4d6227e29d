"""Additions of our runner to any API parser of the host, for baselines and SLADE alike.

A class is made from the host's (or our) API parser by `seeded`; nothing of the host is edited.
"""

from collections.abc import Callable
from typing import Any

from slade_plugin.base.errors import DivergenceError, ExperimentError
from slade_plugin.base.seeding import derive_seed, seed_everything
from slade_plugin.host.api_parsers.computed_trunk import compute_trunks
from slade_plugin.host.api_parsers.data_record import check_data, record_data
from slade_plugin.host.api_parsers.growing_records import allow_late_series
from slade_plugin.host.api_parsers.starting_trunk import record_start, start_trunks
from slade_plugin.host.api_parsers.training_length import TrainingLength
from slade_plugin.host.checkpoints.training_state import TrainingState
from slade_plugin.host.hooks.live_progress import report_progress


class _Seeded(TrainingLength):
    """Seed, resume and compare split schemes; start trunks; keep the texts of errors."""

    args: Any
    epoch: int
    curr_split_count: int
    is_training: Callable[[], bool]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Initialize as the host, whose generator is unseeded, then seed it.

        Splits that are drawn at random and untrained models of an ensemble come before the first
        split scheme is set up.
        """
        super().__init__(*args, **kwargs)
        seed_everything(self.args.seed)

    def set_factories(self) -> None:
        """Set the host's factories, and apply the entry `compute` to trunks."""
        super().set_factories()  # type: ignore[misc]
        compute_trunks(self)

    def set_models_optimizers_losses(self) -> None:
        """Seed before anything of a split scheme draws, so that each scheme stands alone.

        A scheme that is resumed from a checkpoint without generator states gets a stream of its
        own: the first epoch's batches must not come again.
        """
        if self.is_training():
            record_data(self)
        trunk_file = start_trunks(self)
        seed_everything((self.args.seed + self.curr_split_count) % 2**32)
        super().set_models_optimizers_losses()  # type: ignore[misc]
        record_start(self, trunk_file)
        epoch = getattr(self, "epoch", 1)
        if epoch > 1:
            seed_everything(derive_seed(self.args.seed, self.curr_split_count, epoch))

    def get_split_manager(self, **kwargs: Any) -> Any:
        """Build the host's split manager and check that the data are those of training."""
        split_manager = super().get_split_manager(**kwargs)  # type: ignore[misc]
        check_data(self, split_manager)
        return split_manager

    def get_trainer(self, **kwargs: Any) -> Any:
        """Build the host's trainer, with the additional state of our checkpoints."""
        trainer = super().get_trainer(**kwargs)  # type: ignore[misc]
        trainer.training_state = TrainingState(trainer)
        report_progress(trainer, self, self._num_epochs)
        return trainer

    def should_train(self, num_epochs: int, split_scheme_name: str) -> bool:
        """Decide as the host, whose patience on resume counts from the next epoch.

        The run without interruption counts it from the epoch that is done.
        """
        resumed = self.epoch > 1
        self.epoch -= resumed
        try:
            should: bool = super().should_train(num_epochs, split_scheme_name)  # type: ignore[misc]
        finally:
            self.epoch += resumed
        return should

    def get_record_keeper(self, **kwargs: Any) -> Any:
        """Build the host's record keeper, patched to accept series that begin late."""
        keeper = super().get_record_keeper(**kwargs)  # type: ignore[misc]
        allow_late_series(keeper)
        return keeper

    def run_for_each_split_scheme(self) -> None:
        """Run the host's loop; a ValueError ends the run with its text.

        The host would raise it again without text or, if the text holds "NaN", report an accuracy
        of 0 as if the run had gone well.
        """
        try:
            super().run_for_each_split_scheme()  # type: ignore[misc]
        except ValueError as error:
            # The host recognizes these by the same text.
            kind = DivergenceError if "NaN" in str(error) else ExperimentError
            raise kind(
                f"the run stopped: {error}; expected finite numbers throughout. Training may have "
                "diverged: try a lower learning rate (config_optimizers), or see --debug."
            ) from error


def seeded(api_parser: type) -> type:
    """Subclass an API parser to seed every split scheme and keep error texts.

    Args:
        api_parser: A class on the host's `BaseAPIParser`.
    """
    return type(api_parser.__name__, (_Seeded, api_parser), {"__doc__": api_parser.__doc__})
