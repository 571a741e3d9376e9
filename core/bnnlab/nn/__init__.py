"""Binary layers, normalisation, and what a model stores and computes."""
