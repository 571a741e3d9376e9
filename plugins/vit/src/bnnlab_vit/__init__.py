"""bnnlab plugin: vision transformers with binary or real weights, and distillation."""
