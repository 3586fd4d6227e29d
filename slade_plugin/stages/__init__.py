"""Stages of a self-training run, each rerunnable on its own."""
