"""The equations of Adam and SGD for one latent weight, see `bnnlab_backprop.optimizers`."""

from typing import Any

from bnnlab.interfaces.kernels import Formulas, Functions


def adam(f: Functions) -> Formulas:
    """Return Adam's formulas."""
    one, sqrt, clip, sign = f.number(1), f.sqrt, f.clip, f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        decay, kept, beta1, beta2, root, eps, step, bound = c
        value, g = kept * state[1], sums[0]
        g = g + decay * value
        m = beta1 * state[2] + (one - beta1) * g
        v = beta2 * state[3] + (one - beta2) * g * g
        value = value - step * m / (root * sqrt(v) + eps)
        value = clip(value, -bound, bound)
        return sign(value), value, m, v

    return Formulas(("latent", "m", "v"), learn, counts_steps=True)


def momentum(f: Functions) -> Formulas:
    """Return SGD's formulas."""
    clip, sign = f.clip, f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        decay, momentum, lr, bound = c
        value = state[1]
        velocity = momentum * state[2] + (sums[0] + decay * value)
        value = value - lr * velocity
        value = clip(value, -bound, bound)
        return sign(value), value, velocity

    return Formulas(("latent", "velocity"), learn)


def descent(f: Functions) -> Formulas:
    """Return SGD's formulas without momentum."""
    clip, sign = f.clip, f.sign

    def learn(c: Any, state: Any, sums: Any) -> Any:
        decay, _, lr, bound = c
        value = state[1]
        value = value - lr * (sums[0] + decay * value)
        value = clip(value, -bound, bound)
        return sign(value), value

    return Formulas(("latent",), learn)
