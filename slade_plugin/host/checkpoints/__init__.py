"""Saved models: checkpoints with their hashes, generator states, trained teachers."""
