"""Losses on the host's base class: thin stateful modules around ``method.functional``."""

from slade_plugin.method.losses.feature_basis_loss import FeatureBasisLoss
from slade_plugin.method.losses.smoothed_cross_entropy_loss import SmoothedCrossEntropyLoss

__all__ = ["FeatureBasisLoss", "SmoothedCrossEntropyLoss"]
