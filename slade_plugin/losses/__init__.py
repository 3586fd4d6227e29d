"""Losses on the host's base class: thin modules with state around ``slade_plugin.functional``."""

from slade_plugin.losses.feature_basis_loss import FeatureBasisLoss
from slade_plugin.losses.smoothed_cross_entropy_loss import SmoothedCrossEntropyLoss

__all__ = ["FeatureBasisLoss", "SmoothedCrossEntropyLoss"]
