"""bnnlab plugin: The kernelised information bottleneck for bnnlab."""
