"""What our runner adds to whichever API parser the host picks, for baselines and SLADE alike.

A class is made from the host's (or our) API parser by `seeded`; nothing of the host is edited.
"""

from typing import Any

from slade_plugin.errors import ExperimentError
from slade_plugin.seeding import derive_seed, seed_everything


class _Seeded:
    """Seeds each split scheme, and lets errors keep their text."""

    args: Any
    epoch: int
    curr_split_count: int

    def set_models_optimizers_losses(self) -> None:
        """Seeds before anything of a split scheme draws, so that each scheme stands alone.

        A resumed scheme gets a stream of its own: the host saves no generator states, and the
        first epoch's batches must not come again.
        """
        seed_everything(self.args.seed + self.curr_split_count)
        super().set_models_optimizers_losses()  # type: ignore[misc]
        epoch = getattr(self, "epoch", 1)
        if epoch > 1:
            seed_everything(derive_seed(self.args.seed, self.curr_split_count, epoch))

    def run_train_or_eval(self) -> Any:
        """The host's, with the text of a ValueError kept (the host raises it again empty)."""
        try:
            return super().run_train_or_eval()  # type: ignore[misc]
        except ValueError as error:
            original = error.__context__
            if str(error) or not isinstance(original, ValueError):
                raise
            raise ExperimentError(f"the run stopped: {original}") from original


def seeded(api_parser: type) -> type:
    """A subclass of an API parser that seeds every split scheme and keeps error texts.

    Args:
        api_parser: A class on the host's `BaseAPIParser`.
    """
    return type(api_parser.__name__, (_Seeded, api_parser), {"__doc__": api_parser.__doc__})
