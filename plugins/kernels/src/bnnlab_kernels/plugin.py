"""What this plugin offers: no component, only what `kernels = compiled` uses. Imports no numba."""
