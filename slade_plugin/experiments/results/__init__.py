"""Reading experiments and writing tables."""
