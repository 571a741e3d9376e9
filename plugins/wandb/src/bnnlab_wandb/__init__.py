"""A tracker: Weights & Biases."""
