"""From a teacher's embeddings to pseudo labels on disk."""
