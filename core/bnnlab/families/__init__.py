"""What groups of methods share: latent weights, posteriors, local teaching, weight draws."""
