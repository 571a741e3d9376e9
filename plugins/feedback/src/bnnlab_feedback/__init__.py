"""bnnlab plugin: Feedback alignment and its relatives for bnnlab."""
