"""bnnlab plugin: image networks with binary or real weights."""
