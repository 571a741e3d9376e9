"""Torch modules become models: cut into segments, made binary, checked."""

from bnnlab.moved import reexport

__getattr__ = reexport(__name__)
