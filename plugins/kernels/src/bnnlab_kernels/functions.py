"""Functions of one float32 number, in a form that the compiler makes vectors of.

Sources: exp and log by the polynomials of Cephes (Moshier), with an error of 1e-7; the Gaussian
quantile by Giles, "Approximating the erfinv function", GPU Computing Gems, 2011; the random numbers
are a hash of a place and a key, by the mixing function `triple32` (Wellons, "hash-prospector").
"""

from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from bnnlab.interfaces.kernels import Functions

FAST: dict[str, Any] = {
    # Not "nnan" nor "ninf": what is not finite must stay so, to be found. Not "nsz": -0 has a sign.
    "fastmath": {"contract", "reassoc", "arcp"},
    "error_model": "numpy",  # a check of each division would keep the loop from being vectorised
    "nogil": True,
}
"""Options of a compiled loop."""
# A loop over many arrays first looks whether they overlap; with more than eight pairs that could,
# LLVM would rather not make vectors.
llvmlite.binding.set_option("", "-runtime-memory-check-threshold=64")
INLINE: dict[str, Any] = {**FAST, "forceinline": True}
"""Options of a function in such a loop."""

f4, i4, u4, u8 = np.float32, np.int32, np.uint32, np.uint64
_ONE, _TWO, _HALF, _FOUR = f4(1), f4(2), f4(0.5), f4(4)


@intrinsic
def _float_of(_context: Any, _bits: Any) -> Any:
    def build(_: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.FloatType())

    return types.float32(types.int32), build


@intrinsic
def _bits_of(_context: Any, _number: Any) -> Any:
    def build(_: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.IntType(32))

    return types.int32(types.float32), build


_as_float: Any = _float_of  # the compiler gives the first argument
_as_bits: Any = _bits_of

_LOWEST, _HIGHEST, _LOG2E = f4(-87), f4(88), f4(1.4426950408889634)
_LN2, _LN2_REST = f4(0.693359375), f4(-2.12194440e-4)
_E0, _E1, _E2 = f4(1.9875691500e-4), f4(1.3981999507e-3), f4(8.3334519073e-3)
_E3, _E4, _E5 = f4(4.1665795894e-2), f4(1.6666665459e-1), f4(5.0000001201e-1)


@njit(**INLINE)
def exp(x: Any) -> Any:
    """Return e to the power of x, between e^-87 and e^88; of NaN, NaN."""
    y = min(max(x, _LOWEST), _HIGHEST)
    n = np.floor(y * _LOG2E + _HALF)
    r = y - n * _LN2 - n * _LN2_REST
    p = ((((_E0 * r + _E1) * r + _E2) * r + _E3) * r + _E4) * r + _E5
    power = (p * r * r + r + _ONE) * _as_float((i4(n) + i4(127)) << i4(23))
    return power + (x - x)


_SQRT_HALF, _MANTISSA, _BIAS = f4(0.70710678), i4(0x007FFFFF), i4(126)
_HALF_BITS = i4(0x3F000000)
_L0, _L1, _L2 = f4(7.0376836292e-2), f4(-1.1514610310e-1), f4(1.1676998740e-1)
_L3, _L4, _L5 = f4(-1.2420140846e-1), f4(1.4249322787e-1), f4(-1.6668057665e-1)
_L6, _L7, _L8 = f4(2.0000714765e-1), f4(-2.4999993993e-1), f4(3.3333331174e-1)


@njit(**INLINE)
def log(x: Any) -> Any:
    """Return the natural logarithm of a normal number above 0."""
    bits = _as_bits(x)
    e = f4((bits >> i4(23)) - _BIAS)
    m = _as_float((bits & _MANTISSA) | _HALF_BITS)  # 0.5 to 1
    is_small = m < _SQRT_HALF
    e = e - _ONE if is_small else e
    m = m + m - _ONE if is_small else m - _ONE
    z = m * m
    p = ((((_L0 * m + _L1) * m + _L2) * m + _L3) * m + _L4) * m + _L5
    p = ((p * m + _L6) * m + _L7) * m + _L8
    return m + (p * m * z + _LN2_REST * e - _HALF * z) + _LN2 * e


@njit(**INLINE)
def logit(u: Any) -> Any:
    """Return log(u / (1 - u)), for u in (0, 1)."""
    return log(u / (_ONE - u))


@njit(**INLINE)
def sqrt(x: Any) -> Any:
    """Return the square root of x."""
    return np.sqrt(x)


@njit(**INLINE)
def sign(x: Any) -> Any:
    """Return -1 or +1, as the sign bit of x says."""
    return -_ONE if _as_bits(x) < i4(0) else _ONE


@njit(**INLINE)
def where(condition: Any, a: Any, b: Any) -> Any:
    """Return a if the condition is true, else b."""
    return a if condition else b


@njit(**INLINE)
def clip(x: Any, low: Any, high: Any) -> Any:
    """Return x within bounds; of NaN, NaN."""
    return low if x < low else (high if x > high else x)


part = njit(**INLINE)
"""Compiles a function that is called in a loop."""


_FIVE, _CENTRE, _THREE, _SQRT_TWO = f4(5), f4(2.5), f4(3), f4(1.4142135623730951)
_C0, _C1, _C2 = f4(2.81022636e-08), f4(3.43273939e-07), f4(-3.5233877e-06)
_C3, _C4, _C5 = f4(-4.39150654e-06), f4(0.00021858087), f4(-0.00125372503)
_C6, _C7, _C8 = f4(-0.00417768164), f4(0.246640727), f4(1.50140941)
_T0, _T1, _T2 = f4(-0.000200214257), f4(0.000100950558), f4(0.00134934322)
_T3, _T4, _T5 = f4(-0.00367342844), f4(0.00573950773), f4(-0.0076224613)
_T6, _T7, _T8 = f4(0.00943887047), f4(1.00167406), f4(2.83297682)


@njit(**INLINE)
def normal(u: Any) -> Any:
    """Return the Gaussian quantile of u in (0, 1), with an error of 1e-6 of it."""
    x = _TWO * u - _ONE
    w = -log(_FOUR * u * (_ONE - u))
    c = w - _CENTRE
    a = (((_C0 * c + _C1) * c + _C2) * c + _C3) * c + _C4
    a = (((a * c + _C5) * c + _C6) * c + _C7) * c + _C8
    t = np.sqrt(w) - _THREE
    b = (((_T0 * t + _T1) * t + _T2) * t + _T3) * t + _T4
    b = (((b * t + _T5) * t + _T6) * t + _T7) * t + _T8
    return _SQRT_TWO * x * (a if w < _FIVE else b)


FUNCTIONS = Functions(f4, exp, sqrt, sign, logit, normal, where, clip, part)
"""What formulas are compiled with."""


@njit(**FAST)
def words(key: Any, parameter: Any, draw: Any) -> Any:
    """Return two words of a step's key of 64 bits, a parameter and a draw (by SplitMix64)."""
    z = u8(key) + (u8(parameter) * u8(1 << 20) + u8(draw) + u8(1)) * u8(0x9E3779B97F4A7C15)
    z = (z ^ (z >> u8(30))) * u8(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> u8(27))) * u8(0x94D049BB133111EB)
    z ^= z >> u8(31)
    return u4(z & u8(0xFFFFFFFF)), u4(z >> u8(32))


_STEP = f4(2.0**-23)


@njit(**INLINE)
def uniform(place: Any, first: Any, second: Any) -> Any:
    """Return the number (k + 1/2) / 2^23 in (0, 1) of a place, by the two words of a key."""
    x = u4(place) ^ first
    x ^= x >> u4(17)
    x = u4(x * u4(0xED5AD4BB)) + second
    x ^= x >> u4(11)
    x = u4(x * u4(0xAC4C1B51))
    x ^= x >> u4(15)
    x = u4(x * u4(0x31848BAB))
    x ^= x >> u4(14)
    return (f4(i4(x >> u4(9))) + _HALF) * _STEP
