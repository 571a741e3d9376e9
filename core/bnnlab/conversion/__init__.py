"""Torch modules become models: cut into segments, made binary, checked."""

from bnnlab.moved import HOMES, reexport

__getattr__ = reexport(__name__, tuple(f"bnnlab.{home}" for home in HOMES["conversion"]))
