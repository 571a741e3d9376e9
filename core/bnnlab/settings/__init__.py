"""What a run is told: layers of settings become one checked configuration. No torch."""
