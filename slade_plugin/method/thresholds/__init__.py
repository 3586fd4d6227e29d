"""Thresholds of ``BasisSimilarityMiner``: T1 and T2 of SLADE, Eq. 7, and their alternatives."""

from slade_plugin.method.thresholds.fixed import Fixed
from slade_plugin.method.thresholds.quantile import Quantile
from slade_plugin.method.thresholds.running_mean import RunningMean
from slade_plugin.method.thresholds.threshold import Threshold

__all__ = ["Fixed", "Quantile", "RunningMean", "Threshold"]
