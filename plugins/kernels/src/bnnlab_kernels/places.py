"""Compiled functions of the numbers at one place of several arrays."""

from typing import Any

from numba import njit

from bnnlab_kernels.functions import INLINE


def read(count: int) -> Any:
    """Return a function of so many arrays and i, which returns their numbers at place i."""
    if count == 1:
        return _read_one
    before, last = read(count - 1), count - 1

    @njit(**INLINE)
    def get(arrays: Any, i: Any) -> Any:
        return before(arrays, i) + (arrays[last][i],)  # noqa: RUF005

    return get


def write(count: int) -> Any:
    """Return one that writes numbers there."""
    if count == 1:
        return _write_one
    before, last = write(count - 1), count - 1

    @njit(**INLINE)
    def put(arrays: Any, i: Any, values: Any) -> None:
        before(arrays, i, values)
        arrays[last][i] = values[last]

    return put


def add_to(count: int) -> Any:
    """Return one that adds numbers there."""
    if count == 1:
        return _add_one
    before, last = add_to(count - 1), count - 1

    @njit(**INLINE)
    def add(arrays: Any, i: Any, values: Any) -> None:
        before(arrays, i, values)
        arrays[last][i] += values[last]

    return add


@njit(**INLINE)
def _read_one(arrays: Any, i: Any) -> Any:
    return (arrays[0][i],)


@njit(**INLINE)
def _write_one(arrays: Any, i: Any, values: Any) -> None:
    arrays[0][i] = values[0]


@njit(**INLINE)
def _add_one(arrays: Any, i: Any, values: Any) -> None:
    arrays[0][i] += values[0]
