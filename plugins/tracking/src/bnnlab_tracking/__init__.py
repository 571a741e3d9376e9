"""Trackers show a run elsewhere, each in a process of its own that reads the run's folder."""
