"""Runs: from four components to a result."""
