"""Bounds of what a step does."""

import math

import torch

from bnnlab.interfaces.optimizer import Group

SHRINK = 0.25
"""A step of MESU leaves at least this share of sigma."""


def limits(group: Group, dtype: torch.dtype) -> tuple[float, float, float, float, float]:
    """Return clamp, ratio_max, the smallest and largest sigma, and the largest |mu|."""
    finfo = torch.finfo(dtype)
    smallest, largest = finfo.tiny**0.5, finfo.max**0.5
    clamp = finfo.max if group["clamp"] is None else group["clamp"]
    ratio = math.inf if group["ratio_max"] is None else group["ratio_max"]
    low, high = group["sigma_min"] or smallest, group["sigma_max"] or largest
    return clamp, ratio, max(low, smallest), min(high, largest), largest
