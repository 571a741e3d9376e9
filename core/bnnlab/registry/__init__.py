"""Plugins: find them, load each one guarded, list their components. No torch."""
