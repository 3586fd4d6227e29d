"""A step decay whose one step is placed by the length of the training.

Teacher, student and baseline differ in length, a baseline's follows from the others, and one
milestone in epochs would be right for one of them only.
"""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from slade_plugin.base.errors import ConfigError


class FinalStepLR(MultiStepLR):
    """The rate times ``factor`` during the last ``share`` of the epochs; constant before.

    Args:
        optimizer: whose rates it moves; given by the program.
        num_epochs: length of the training, at least 1; given by the program (num_epochs_train).
        share: in (0, 1): the epochs from ``num_epochs - round(share * num_epochs)`` on have the
            lower rate, at least the last one where there is more than one.
        factor: above 0 and below 1.
        last_epoch: epochs done before; -1 for none.

    A resumed training keeps the step it began with, also if it is made longer.

    Raises:
        ConfigError: if a value is out of range.

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
                f"FinalStepLR: num_epochs is {num_epochs!r}; expected an integer >= 1. Where the "
                "program does not give it (factories.optimizer is not SladeOptimizerFactory), "
                "write it in config_optimizers."
            )
        first_low = num_epochs - max(1, round(share * num_epochs))
        milestones = [first_low] if first_low > 0 else []
        super().__init__(optimizer, milestones, gamma=factor, last_epoch=last_epoch)
