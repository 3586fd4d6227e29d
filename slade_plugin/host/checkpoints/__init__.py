"""What is saved of a model: checkpoints with their hashes, generator states, trained teachers."""
