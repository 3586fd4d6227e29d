"""Use of a trained model: embeddings of images, search, evaluation, export."""
