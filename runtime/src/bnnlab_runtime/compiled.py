"""Operations as numba compiles them."""

from bnnlab_runtime.op import Op

COMPILED: dict[str, type[Op]] = {}
