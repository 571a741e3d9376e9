"""bnnlab plugin: Equilibrium propagation for bnnlab."""
