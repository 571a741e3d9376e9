"""bnnlab plugin: Metaplastic Adam for bnnlab: consolidated weights resist change."""
