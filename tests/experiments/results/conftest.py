"""Experiments with given scores."""

from tests.made_experiments import make_experiment

__all__ = ["make_experiment"]
