"""Loops over the weights of a parameter, compiled from an optimizer's formulas."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from numba import njit

from bnnlab.interfaces.kernels import Formulas, MakeFormulas
from bnnlab_kernels.functions import FAST, FUNCTIONS, INLINE, uniform, words
from bnnlab_kernels.places import add_to, read, write

Loop = Callable[..., None]


@dataclass(frozen=True)
class Loops:
    """The loops of formulas, over flat arrays: a parameter, or a part of it.

    Attributes:
        formulas: They are compiled from these.
        draw: `draw(c, state, key, parameter, draw, start, w, noise)` draws the weights of a part
            that begins at `start`.
        put: `put(noise, grads, sums)` writes the terms of a first draw into the sums.
        add: `add(noise, grads, sums)` adds those of a further one.
        add_outer: `add_outer(noise, d, x, sums)` does it for gradients `d[j] x[i]`.
        learn: `learn(c, state, sums)` updates a parameter.
    """

    formulas: Formulas
    draw: Loop
    put: Loop
    add: Loop
    add_outer: Loop
    learn: Loop


@cache
def loops_of(make: MakeFormulas) -> Loops:
    """Compile the loops of formulas: each when it is first called, in about a second."""
    formulas = make(FUNCTIONS)
    read_state, read_sums = read(1 + len(formulas.states)), read(formulas.count)
    write_state, write_sums = write(1 + len(formulas.states)), write(formulas.count)
    add_to_sums = add_to(formulas.count)
    learn_one = njit(**INLINE)(formulas.learn)
    draw_one = njit(**INLINE)(formulas.draw or _nothing)
    terms_of = njit(**INLINE)(formulas.terms or _gradient)

    @njit(**FAST)
    def draw_with_noise(
        c: Any, state: Any, key: Any, index: Any, number: Any, start: Any, w: Any, noise: Any
    ) -> None:
        first, second = words(key, index, number)
        for i in range(len(w)):
            w[i], noise[i] = draw_one(c, read_state(state, i), uniform(start + i, first, second))

    @njit(**FAST)
    def draw(
        c: Any, state: Any, key: Any, index: Any, number: Any, start: Any, w: Any, _: Any
    ) -> None:
        first, second = words(key, index, number)
        for i in range(len(w)):
            w[i] = draw_one(c, read_state(state, i), uniform(start + i, first, second))[0]

    @njit(**FAST)
    def put(noise: Any, grads: Any, sums: Any) -> None:
        for i in range(len(noise)):
            write_sums(sums, i, terms_of(noise[i], grads[i]))

    @njit(**FAST)
    def add(noise: Any, grads: Any, sums: Any) -> None:
        for i in range(len(noise)):
            add_to_sums(sums, i, terms_of(noise[i], grads[i]))

    @njit(**FAST)
    def add_outer(noise: Any, d: Any, x: Any, sums: Any) -> None:
        for j in range(len(d)):
            for i in range(len(x)):
                place = j * len(x) + i
                add_to_sums(sums, place, terms_of(noise[place], d[j] * x[i]))

    @njit(**FAST)
    def learn(c: Any, state: Any, sums: Any) -> None:
        for i in range(len(state[0])):
            write_state(state, i, learn_one(c, read_state(state, i), read_sums(sums, i)))

    draws = draw_with_noise if formulas.keeps_noise else draw
    return Loops(formulas, draws, put, add, add_outer, learn)


def _nothing(_c: Any, _state: Any, u: Any) -> Any:
    """Stand where nothing is drawn."""
    return u, u


def _gradient(_noise: Any, g: Any) -> Any:
    return (g,)
