"""Step decay with a single step, placed relative to the length of the training.

Teacher, student and baseline differ in length, and the baseline's follows from the others, so a
milestone in epochs would suit only one of them.
"""

from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from slade_plugin.base.settings import Range, checked_arguments


class FinalStepLR(MultiStepLR):
    """Multiply the rate by ``factor`` for the last ``share`` of the epochs; constant before.

    A resumed training keeps its original step, even if it is extended.

    Args:
        optimizer: Optimizer to schedule; given by the program.
        num_epochs: Length of the training; given by the program (num_epochs_train).
        share: Epochs from ``num_epochs - round(share * num_epochs)`` on have the lower
            rate; at least the last one if there are several.
        factor: What the rate is multiplied by.
        last_epoch: Number of finished epochs; -1 for none.

    Raises:
        ConfigError: If a value is out of range.

    Source: ours; step decay as in torch's ``MultiStepLR``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        num_epochs: Annotated[int, Range(1)],
        share: Annotated[float, Range(0, 1, "()")] = 0.25,
        factor: Annotated[float, Range(0, 1, "()")] = 0.1,
        last_epoch: int = -1,
    ) -> None:
        checked_arguments(
            "FinalStepLR",
            FinalStepLR.__init__,
            locals(),
            "config_optimizers under scheduler_by_epoch: FinalStepLR (num_epochs is set by "
            "SladeOptimizerFactory)",
        )
        first_low = num_epochs - max(1, round(share * num_epochs))
        milestones = [first_low] if first_low > 0 else []
        super().__init__(optimizer, milestones, gamma=factor, last_epoch=last_epoch)
