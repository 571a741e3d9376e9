"""BiMU in JAX, one example at a time in a compiled scan: what `online.py` compares with.

Written from the equations in bnnlab-bimu's docstring, for the network of `online.py`: 784-100-10
with binary weights and fan-in scale, layer normalisation after each layer, a reverse binary gate
between. It needs `jax`. One thread, as the flags below tell XLA before it starts.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import jax
import jax.numpy as jnp

SIZES = (784, 100, 10)
LR, LR_MAX, KL_WEIGHT, MEMORY = 1.0, 5.0, 0.1, 1000.0  # the defaults of bnnlab-bimu


@jax.custom_vjp
def gate(x: Any) -> Any:
    """Return 0 where |x| <= 1, else 1."""
    return (jnp.abs(x) > 1).astype(x.dtype)


def _back(x: Any, grad: Any) -> tuple[Any]:
    size = jnp.abs(x)
    return (grad * jnp.sign(x) * ((size > 0.5) & (size < 1.5)),)


gate.defvjp(lambda x: (gate(x), x), _back)


def normalised(x: Any) -> Any:
    """Return a vector with mean 0 and variance 1."""
    return (x - x.mean()) * jax.lax.rsqrt(x.var() + 1e-5)


def loss(lamdas: Any, key: Any, image: Any, label: Any) -> Any:
    """Return the cross-entropy at one relaxed draw, whose gradient is dL/dlambda."""
    x = image
    for number, (lamda, its) in enumerate(zip(lamdas, jax.random.split(key, 2), strict=True)):
        u = jax.random.uniform(its, lamda.shape, minval=1e-7, maxval=1 - 1e-7)
        w = jnp.tanh(lamda + (jnp.log(u) - jnp.log1p(-u)) / 2)
        x = normalised(w @ x / lamda.shape[1] ** 0.5)
        x = x if number else gate(x)
    return -jax.nn.log_softmax(x)[label]


def step(draws: int, state: Any, example: Any) -> tuple[Any, Any]:
    """Make one step of BiMU from one example, with the mean gradient of several draws."""
    (lamdas, key), (image, label) = state, example
    key, *keys = jax.random.split(key, draws + 1)
    gradients = jax.vmap(jax.grad(loss), in_axes=(None, 0, None, None))
    found = gradients(lamdas, jnp.stack(keys), image, label)
    return ([_moved(a, g.mean(0)) for a, g in zip(lamdas, found, strict=True)], key), None


def _moved(lamda: Any, q: Any) -> Any:
    t = jnp.tanh(lamda)
    h = KL_WEIGHT * (1 - t * t)
    eta = 1 / (h + 2 * q * t + 2 * jnp.abs(q) + 1 / LR_MAX)
    return lamda - eta * (LR * q + lamda * h / MEMORY)


def learner(draws: int, images: Any, labels: Any) -> Callable[[int], None]:
    """Return a function that learns from the first of these examples, `(N, 784)` and `(N,)`.

    The function takes their number; each new number is compiled first.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    lamdas = [
        jax.random.uniform(key, (b, a), minval=-(a**-0.5), maxval=a**-0.5)
        for key, a, b in zip(keys, SIZES, SIZES[1:], strict=False)
    ]
    scan = jax.jit(partial(jax.lax.scan, partial(step, draws)))
    state = [(lamdas, keys[2])]
    images, labels = jnp.asarray(images), jnp.asarray(labels)

    def learn(count: int) -> None:
        state[0], _ = jax.block_until_ready(scan(state[0], (images[:count], labels[:count])))

    return learn
