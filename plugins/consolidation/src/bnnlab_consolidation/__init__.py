"""bnnlab plugin: Elastic weight consolidation and synaptic intelligence, on any optimizer."""
