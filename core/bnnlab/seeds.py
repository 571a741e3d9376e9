"""Randomness: one root seed, named children.

A component draws only from generators made here, so adding one component never shifts another's
draws, and the global generators are left alone. Permutations come from NumPy's legacy
`RandomState`, whose streams NumPy promises never to change: they are the same on every machine.
"""

import hashlib

import numpy as np
import torch


def _digest(root: int, names: tuple[str | int, ...]) -> bytes:
    return hashlib.sha256("/".join(map(str, (root, *names))).encode()).digest()


def child_seed(root: int, *names: str | int) -> int:
    """Return the seed, in [0, 2^63), of the child `names` of a root seed."""
    return int.from_bytes(_digest(root, names)[:8], "little") >> 1


def generator(root: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator for the child `names` of a root seed."""
    return torch.Generator().manual_seed(child_seed(root, *names))


def permutation(n: int, root: int, *names: str | int) -> torch.Tensor:
    """Return a permutation of 0..n-1, int64 of shape (n,), equal on every machine."""
    key = np.frombuffer(_digest(root, names), dtype="<u4")
    return torch.from_numpy(np.random.RandomState(key).permutation(n).astype(np.int64))
