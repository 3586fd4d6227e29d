"""Accuracy calculators on the host's base class."""

from slade_plugin.host.accuracy_calculators.recall_at_k_calculator import RecallAtKCalculator

__all__ = ["RecallAtKCalculator"]
