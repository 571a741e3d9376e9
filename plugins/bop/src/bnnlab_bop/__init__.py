"""bnnlab plugin: Bop for bnnlab: averaged gradients flip binary weights; no latent weights."""
