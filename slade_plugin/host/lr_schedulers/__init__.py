"""Learning-rate schedulers that depend on the length of the training."""

from slade_plugin.host.lr_schedulers.final_step_lr import FinalStepLR

__all__ = ["FinalStepLR"]
