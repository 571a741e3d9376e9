"""bnnlab plugin: Backpropagation, and Adam and SGD with latent weights, for bnnlab."""
