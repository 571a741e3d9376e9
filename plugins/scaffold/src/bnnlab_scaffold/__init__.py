"""bnnlab plugin: new plugin packages, from templates."""
