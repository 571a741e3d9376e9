"""bnnlab plugin: PEPITA and signal propagation, learning by two forward passes."""
