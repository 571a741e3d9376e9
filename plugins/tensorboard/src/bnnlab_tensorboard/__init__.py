"""A tracker: TensorBoard."""
