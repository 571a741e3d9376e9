"""The operations by name, as each backend computes them."""

from typing import Literal, get_args

from bnnlab_runtime import bit_ops, real_ops
from bnnlab_runtime.op import Op

Backend = Literal["numba", "numpy"]

REFERENCE: dict[str, type[Op]] = {
    "activate": real_ops.Activate,
    "add": real_ops.Add,
    "affine": real_ops.Affine,
    "bit_conv": bit_ops.BitConv,
    "bit_linear": bit_ops.BitLinear,
    "concat": real_ops.Concat,
    "conv": real_ops.Conv,
    "flatten": real_ops.Flatten,
    "linear": real_ops.Linear,
    "mean": real_ops.Mean,
    "multiply": real_ops.Multiply,
    "norm_rows": real_ops.NormRows,
    "normalise": real_ops.Normalise,
    "or_pool": bit_ops.OrPool,
    "permute": bit_ops.Permute,
    "plane_linear": bit_ops.PlaneLinear,
    "pool": real_ops.Pool,
    "row_threshold": bit_ops.RowThreshold,
    "sign": bit_ops.Sign,
    "threshold": bit_ops.Threshold,
    "unpack": bit_ops.Unpack,
}


def operations(backend: Backend) -> dict[str, type[Op]]:
    """Return the operations of a backend; only `numba` imports numba.

    Raises:
        ValueError: If there is no such backend.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend {backend!r}: choose from {', '.join(get_args(Backend))}")
    if backend == "numpy":
        return REFERENCE
    from bnnlab_runtime.compiled import COMPILED

    return {**REFERENCE, **COMPILED}
