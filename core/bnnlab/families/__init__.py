"""Base classes of groups of methods: latent weights, posteriors, local rules; weight draws."""
