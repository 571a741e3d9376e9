"""What tests of an optimizer's watch share: shipped optimizers that have trained a toy model."""

from functools import cache
from typing import Any

from torch import nn

import bnnlab
from bnnlab import Model, Optimizer, PluginHost
from bnnlab_testing import toy

BINARY = ("adam", "sgd", "meta", "beakers", "bop", "bayesbinn", "bimu", "bhu", "ewc", "si")
REAL = ("mesu", "bgd")


@cache
def host() -> PluginHost:
    """Return the plugins, which are found once for all tests."""
    return PluginHost()


def trained(name: str, steps: int = 3, **options: Any) -> tuple[Model, Optimizer]:
    """Return a model that was trained for some steps, and its optimizer."""
    model = toy.make_real_model() if name in REAL else toy.make_model()
    optimizer = bnnlab.create("optimizer", name, model, seed=0, host=host(), **options)
    toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=steps)
    return model, optimizer


def go_on(model: Model, optimizer: Optimizer, steps: int = 1) -> list[float]:
    """Make more steps of the task in which `trained` made three."""
    return toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=steps, done=3)


def first_weight(model: Model) -> nn.Parameter:
    """Return the first binary weight."""
    return next(iter(model.binary_parameters().values()))
