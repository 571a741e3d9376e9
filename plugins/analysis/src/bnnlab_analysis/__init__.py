"""Probes: what a run can be measured by beside its accuracies."""
