"""CPU threads: how many torch computes with, and how they wait for one another.

The number of threads is the number of parts that torch cuts a sum into, so rounding depends on it.
"""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "5000"}
"""Environment variables that say how OpenMP's threads wait, and what they are in `bnn`."""
_QUOTAS = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Files with a container's quota of processor time and its period, of version 2 and 1 of cgroup."""
_SETTING = RLock()
"""Held where the number of threads that begin later is not what it should be."""


def wait_briefly() -> None:
    """Let OpenMP's threads spin briefly and then sleep, if the user has not said how they wait.

    As they are built they spin for long, and take the cores from other processes that compute
    (`benchmarks/threads.py`). GNU's library counts the spins; others read the policy alone, and
    their threads sleep at once. Both are read when torch is loaded; after that, nothing is changed.
    Processes that this process starts inherit it.
    """
    if "torch" not in sys.modules and not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)


def cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    with_affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    count = len(with_affinity(0)) if with_affinity else os.cpu_count() or 1
    return max(1, math.ceil(min(count, _quota())))


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the processor time per time that a container may use; infinity if there is no limit.

    Both versions of cgroup write a number below 1 or `max` for no limit.
    """
    for files in _QUOTAS:
        with suppress(OSError, ValueError):
            said = " ".join((root / file).read_text() for file in files)
            quota, period = map(int, said.split())
            if quota > 0:
                return quota / period
    return math.inf


def find(said: int | None) -> int:
    """Return how many threads torch should use: what was said, else what it would use here.

    This is the number that OMP_NUM_THREADS or torch.set_num_threads() set, at most the cores.
    """
    import torch

    return said or min(torch.get_num_threads(), cores())


@contextmanager
def computing(threads: int | None) -> Iterator[None]:
    """Let torch compute with the threads that `find` finds, in the block and in this thread alone.

    torch has a number for each thread, and one for threads that begin later. It sets both together,
    so the second is put back by a thread of its own: parallel runs do not disturb one another.
    """
    import torch

    with _SETTING:
        before = torch.get_num_threads()
        _use(find(threads))
    try:
        yield
    finally:
        _use(before)


def _use(number: int) -> None:
    """Set the number of this thread alone."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    with _SETTING, ThreadPoolExecutor(1) as other:
        of_others = other.submit(torch.get_num_threads).result()
        torch.set_num_threads(number)
        other.submit(torch.set_num_threads, of_others).result()
