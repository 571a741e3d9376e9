"""bnnlab plugin: Multi-layer perceptrons with binary or real weights for bnnlab."""
