"""bnnlab plugin: Direct feedback alignment for bnnlab."""
