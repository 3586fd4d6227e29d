"""Accuracy calculators on the host's base class."""

from slade_plugin.accuracy_calculators.recall_at_k_calculator import RecallAtKCalculator

__all__ = ["RecallAtKCalculator"]
