"""Schedulers of learning rates that know how long the training is."""

from slade_plugin.host.lr_schedulers.final_step_lr import FinalStepLR

__all__ = ["FinalStepLR"]
