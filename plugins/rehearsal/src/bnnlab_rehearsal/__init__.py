"""bnnlab plugin: Rehearsal and distillation around any learning rule, and joint training."""
