"""bnnlab plugin: Gaussian weights that learn at the rate of their uncertainty, for bnnlab."""
