"""Step decay with a single step, placed relative to the length of the training.

Teacher, student and baseline differ in length, and the baseline's follows from the others, so a
milestone in epochs would suit only one of them.
"""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from slade_plugin.base.errors import ConfigError


class FinalStepLR(MultiStepLR):
    """Multiply the rate by ``factor`` for the last ``share`` of the epochs; constant before.

    A resumed training keeps its original step, even if it is extended.

    Args:
        optimizer: Optimizer to schedule; given by the program.
        num_epochs: Length of the training, >= 1; given by the program (num_epochs_train).
        share: In (0, 1): epochs from ``num_epochs - round(share * num_epochs)`` on have the lower
            rate; at least the last one if there are several.
        factor: In (0, 1).
        last_epoch: Number of finished epochs; -1 for none.

    Raises:
        ConfigError: If a value is out of range.

    Source: ours; step decay as in torch's ``MultiStepLR``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        num_epochs: int,
        share: float = 0.25,
        factor: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        for name, value in {"share": share, "factor": factor}.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise ConfigError(
                    f"FinalStepLR: {name} is {value!r}; expected a number above 0 and below 1 "
                    "(config_optimizers, scheduler_by_epoch)."
                )
        if isinstance(num_epochs, bool) or not isinstance(num_epochs, int) or num_epochs < 1:
            raise ConfigError(
                f"FinalStepLR: num_epochs is {num_epochs!r}; expected an integer >= 1. If the "
                "program does not set it (factories.optimizer is not SladeOptimizerFactory), "
                "set it in config_optimizers."
            )
        first_low = num_epochs - max(1, round(share * num_epochs))
        milestones = [first_low] if first_low > 0 else []
        super().__init__(optimizer, milestones, gamma=factor, last_epoch=last_epoch)
