"""Hyperparameter search: the host's Bayesian optimization, for baselines and self-training."""
