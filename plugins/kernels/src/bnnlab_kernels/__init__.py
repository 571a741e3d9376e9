"""bnnlab plugin: compiled loops for the steps of optimizers, and for whole steps of one example."""
