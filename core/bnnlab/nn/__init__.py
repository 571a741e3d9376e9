"""Binary layers, normalisation, and counts of what a model stores and computes."""
