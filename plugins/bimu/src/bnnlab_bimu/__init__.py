"""bnnlab plugin: BiMU and BHU: binary weights whose uncertainty sets their learning rate."""
