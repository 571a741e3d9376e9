"""Repetitions, statistics and sweeps of runs."""
