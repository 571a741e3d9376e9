"""Whole steps of one example each, in one compiled loop: draw, evaluate, differentiate, learn."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import njit
from numba.np.unsafe.ndarray import to_fixed_tuple
from torch import Tensor

from bnnlab.interfaces.elementwise import Room
from bnnlab.interfaces.kernels import MakeFormulas
from bnnlab.interfaces.objectives import CLASSES
from bnnlab.interfaces.probe import Run
from bnnlab.interfaces.saying import says
from bnnlab.interfaces.stream import Task
from bnnlab_kernels import network as net
from bnnlab_kernels.arrays import flat, keys, state_of
from bnnlab_kernels.functions import FAST, f4, sign
from bnnlab_kernels.loops import loops_of
from bnnlab_kernels.network import Layer, Network, layers_of

_ZERO, _ONE, _TWO, _HALF = f4(0), f4(1), f4(2), f4(0.5)
_fixed: Any = to_fixed_tuple  # the compiler gives the first argument


@njit(**FAST)
def activated(x: Any, kind: Any, threshold: Any) -> Any:
    """Return the activation of a number."""
    if kind == net.SIGN:
        return sign(x)
    if kind == net.HEAVISIDE:
        return _ONE if x > _ZERO else _ZERO
    if kind == net.TERNARY:
        return _ZERO if abs(x) <= threshold else sign(x)
    if kind == net.GATE:
        return _ONE if abs(x) < threshold else -_ONE
    if kind == net.REVERSE_GATE:
        return _ONE if abs(x) > threshold else _ZERO
    if kind == net.RELU:
        return max(x, _ZERO)
    if kind == net.HARDTANH:
        return min(max(x, -_ONE), _ONE)
    return x


@njit(**FAST)
def slope(x: Any, kind: Any, surrogate: Any, threshold: Any, clip: Any) -> Any:
    """Return the derivative of an activation, or its surrogate."""
    if kind in (net.SIGN, net.HEAVISIDE, net.TERNARY):
        if surrogate == net.SATURATING:
            return _ONE if abs(x) <= clip else _ZERO
        if surrogate == net.POLYNOMIAL:
            return max(_TWO - _TWO * abs(x), _ZERO)
        return _ONE
    if kind in (net.GATE, net.REVERSE_GATE):
        is_flank = (abs(x) > threshold * _HALF) and (abs(x) < threshold * (_ONE + _HALF))
        rises = (x > _ZERO) == (kind == net.REVERSE_GATE)
        return (_ONE if rises else -_ONE) if is_flank else _ZERO
    if kind == net.RELU:
        return _ONE if x > _ZERO else _ZERO
    if kind == net.HARDTANH:
        return _ONE if abs(x) < _ONE else _ZERO
    return _ONE


@njit(**FAST)
def forward(
    weights: Any, kinds: Any, numbers: Any, inputs: Any, normalised: Any, spread: Any
) -> None:
    """Evaluate all layers on `inputs[0]`; `inputs[-1]` are the logits."""
    for n in range(len(weights)):
        w, x, z, y = weights[n], inputs[n], normalised[n], inputs[n + 1]
        for j in range(len(z)):
            total = _ZERO
            for i in range(len(x)):
                total += w[j * len(x) + i] * x[i]
            z[j] = total * numbers[n, 0]
        groups = kinds[n, 0]
        size = len(z) // max(groups, 1)
        for g in range(groups):
            mean, variance = _ZERO, _ZERO
            for i in range(size):
                mean += z[g * size + i]
            mean /= f4(size)
            for i in range(size):
                z[g * size + i] -= mean
                variance += z[g * size + i] ** 2
            spread[n, g] = _ONE / np.sqrt(variance / f4(size) + numbers[n, 1])
            for i in range(size):
                z[g * size + i] *= spread[n, g]
        for i in range(len(z)):
            y[i] = activated(z[i], kinds[n, 1], numbers[n, 2])


@njit(**FAST)
def loss_of(logits: Any, target: Any, mask: Any, grad: Any) -> Any:
    """Return the cross-entropy among the classes in the mask, infinite for a target outside it.

    The gradient at the logits is written to `grad`.
    """
    total = log_sum(logits, mask)
    softmax(logits, mask, total, grad)
    if not mask[target]:
        return f4(np.inf)
    grad[target] -= _ONE
    return total - logits[target]


@njit(**FAST)
def log_sum(logits: Any, mask: Any) -> Any:
    """Return the logarithm of the sum of exp(logit) over the classes in the mask."""
    most, total = -f4(np.inf), _ZERO
    for k in range(len(logits)):
        if mask[k]:
            most = max(most, logits[k])
    for k in range(len(logits)):
        if mask[k]:
            total += np.exp(logits[k] - most)
    return most + np.log(total)


@njit(**FAST)
def softmax(logits: Any, mask: Any, total: Any, p: Any) -> None:
    """Write exp(logit - total), 0 outside the mask."""
    for k in range(len(logits)):
        p[k] = np.exp(logits[k] - total) if mask[k] else _ZERO


@njit(**FAST)
def backward(
    weights: Any, kinds: Any, numbers: Any, normalised: Any, spread: Any, grads: Any
) -> None:
    """Turn `grads[-1]`, that at the logits, into those at the sums of each layer."""
    for n in range(len(weights) - 1, -1, -1):
        d, z = grads[n], normalised[n]
        for j in range(len(d)):
            d[j] *= slope(z[j], kinds[n, 1], kinds[n, 2], numbers[n, 2], numbers[n, 3])
        groups = kinds[n, 0]
        size = len(z) // max(groups, 1)
        for g in range(groups):
            mean, along = _ZERO, _ZERO
            for i in range(g * size, (g + 1) * size):
                mean += d[i]
                along += d[i] * z[i]
            mean, along = mean / f4(size), along / f4(size)
            for i in range(g * size, (g + 1) * size):
                d[i] = spread[n, g] * (d[i] - mean - z[i] * along)
        for j in range(len(d)):
            d[j] *= numbers[n, 0]
        if n:
            w, below = weights[n], grads[n - 1]
            _clear(below)
            for j in range(len(d)):
                for i in range(len(below)):
                    below[i] += w[j * len(below) + i] * d[j]


@njit(**FAST)
def _clear(array: Any) -> None:
    for i in range(len(array)):
        array[i] = _ZERO


@njit(**FAST)
def predict(found: Any, as_p: Any, logits: Any) -> None:
    """Add logits, or their probabilities, to those of other draws."""
    total = f4(0)
    if as_p:
        most = found[0]
        for k in range(len(found)):
            most = max(most, found[k])
        for k in range(len(found)):
            total += np.exp(found[k] - most)
        total = most + np.log(total)
    for k in range(len(found)):
        logits[k] += np.exp(found[k] - total) if as_p else found[k]


@cache
def loop_of(make: MakeFormulas, count: int) -> Any:
    """Return the loop over N steps, for formulas of so many numbers; its first call compiles it.

    The numbers of each step are `(1 or N, L, count)`; with 0 draws it learns at the deployed
    weights.
    """
    loops = loops_of(make)
    draw, add_outer, learn = loops.draw, loops.add_outer, loops.learn

    @njit(**FAST)
    def steps(
        examples: Any, targets: Any, mask: Any, keys: Any, draws: Any, numbers_of: Any,
        state: Any, weights: Any, noise: Any, sums: Any,
        kinds: Any, numbers: Any, inputs: Any, normalised: Any, spread: Any, grads: Any,
        losses: Any, logits: Any,
    ) -> None:  # fmt: skip
        layers = len(weights)
        for t in range(len(examples)):
            cs = numbers_of[min(t, len(numbers_of) - 1)]
            for i in range(len(inputs[0])):
                inputs[0][i] = examples[t, i]
            for n in range(layers):
                for k in range(len(sums[n])):
                    _clear(sums[n][k])
            for s in range(max(draws, 1)):
                for n in range(layers if draws else 0):
                    c = _fixed(cs[n], count)
                    draw(c, state[n], keys[t], n, s, 0, weights[n], noise[n])
                forward(weights, kinds, numbers, inputs, normalised, spread)
                found = inputs[layers]
                losses[t] += loss_of(found, targets[t], mask, grads[layers - 1])
                predict(found, draws > 0, logits[t])
                backward(weights, kinds, numbers, normalised, spread, grads)
                for n in range(layers):
                    add_outer(noise[n], grads[n], inputs[n], sums[n])
            for n in range(layers):
                learn(_fixed(cs[n], count), state[n], sums[n])

    return steps


class WholePerceptronSteps:
    """Makes whole steps of a run whose model is a perceptron of these layers."""

    def __init__(self, run: Run, make: MakeFormulas, layers: list[Layer]) -> None:
        self._optimizer: Any = run.optimizer
        self._make, self._formulas, self._memory = make, loops_of(make).formulas, Room()
        self._weights = [layer.weight for layer in layers]
        self._network = network = Network(layers)
        self._room: tuple[Any, ...] = network.kinds, network.numbers, network.inputs
        self._room += network.normalised, network.spread, network.grads
        self._draws: int = getattr(run.optimizer, "train_draws", 0) if self._formulas.draw else 0

    def __call__(self, inputs: Tensor, targets: Tensor, task: Task) -> tuple[Tensor, Tensor]:
        """Make a step of each example; return losses and logits."""
        optimizer, classes = self._optimizer, len(self._weights[-1])
        optimizer._synchronize()
        examples = np.ascontiguousarray(inputs.flatten(1).numpy(), f4)
        mask = np.ones(classes, np.bool_) if task.classes is None else task.classes.numpy()
        steps, c = len(examples), self._numbers(len(examples))
        losses, logits = np.zeros(steps, f4), np.zeros((steps, classes), f4)
        with_keys = examples, targets.numpy(), mask, keys(optimizer, steps), self._draws, c
        loop_of(self._make, c.shape[2])(*with_keys, *self._arrays(), *self._room, losses, logits)
        optimizer.count_steps(steps)
        found = torch.from_numpy(losses).div_(max(self._draws, 1))
        optimizer._stepped(found.sum())
        outputs = torch.from_numpy(logits)
        return found, outputs.div_(self._draws).log_() if self._draws else outputs

    def _numbers(self, steps: int) -> Any:
        """Return the numbers of all steps, or once where they are equal: `(N or 1, L, count)`."""
        groups = [(self._optimizer.group_of(p), p) for p in self._weights]
        ahead = range(1, 1 + (steps if self._formulas.counts_steps else 1))
        every = [[self._optimizer.numbers(*its, n) for its in groups] for n in ahead]
        return np.array(every, f4)

    def _arrays(self) -> Sequence[tuple[Any, ...]]:
        """Return state, weights, noise and sums of all layers."""
        optimizer, room = self._optimizer, self._memory
        states, weights, noises, sums = [], [], [], []
        for p in self._weights:
            states.append(state_of(self._formulas, optimizer, p))
            weights.append(flat(room("weights", p, 1)) if self._draws else states[-1][0])
            noises.append(flat(room("noise", p, 1)) if self._formulas.keeps_noise else weights[-1])
            each = [room(f"sum {n}", p, 1) for n in range(self._formulas.count)]
            sums.append(tuple(map(flat, each)))
        return tuple(states), tuple(weights), tuple(noises), tuple(sums)


def steps_of(run: Run, make: MakeFormulas) -> WholePerceptronSteps | str:
    """Return what makes the steps of a run, or why nothing can, in words."""
    layers = layers_of(run.model)
    if isinstance(layers, str):
        return layers
    learned = [*map(id, run.optimizer.learned())]
    said = {
        f"a step of {type(run.rule).__name__} is more than the gradient of the loss": not says(
            run.rule, "exact"
        ),
        "precision is bfloat16": run.rule.precision is not None,
        "clip_value is set": run.policy.clip_value is not None,
        "gradient_clip is set": getattr(run.optimizer, "gradient_clip", None) is not None,
        "training inputs are augmented": any(task.train.augment for task in run.tasks),
        "label_smoothing is set": any(
            getattr(task.objective, "smoothing", 0) for task in run.tasks
        ),
        "loss is not the cross-entropy": any(task.objective != CLASSES for task in run.tasks),
        "weights are frozen": not all(layer.weight.requires_grad for layer in layers),
        "the optimizer's method does not learn the weight of each layer": [
            id(its.weight) for its in layers
        ]
        != learned,
    }
    found = [why for why, is_so in said.items() if is_so]
    return found[0] if found else WholePerceptronSteps(run, make, layers)
