"""Hyperparameter search: the host's Bayesian optimisation, for baselines and for self-training."""
