"""What is to be run: layers of settings become one checked configuration. No torch."""
