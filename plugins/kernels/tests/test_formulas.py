"""Formulas of the shipped optimizers, with each branch of their equations."""

from typing import Any

import pytest
import torch

from bnnlab.errors import RunError, UsageError
from bnnlab_kernels.compiled import kernels_of
from bnnlab_testing import OptimizerContract, toy

LIMITS = {"clamp": None, "ratio_max": 0.1, "sigma_min": 0.1, "sigma_max": 0.2}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("adam", {}),
    ("adam", {"weight_decay": 0.1, "decoupled_decay": 10.0, "latent_clip": None, "lr": 0.02}),
    ("adam", {"latent_clip": 0.03, "gradient_clip": 1.0}),
    ("sgd", {}),
    ("sgd", {"momentum": 0.0, "weight_decay": 0.1, "latent_clip": None}),
    ("bimu", {}),
    ("bimu", {"temperature": 0.7, "memory": None, "train_draws": 1}),
    ("bimu", {"draws": "hard", "memory": 10.0}),
    ("bayesbinn", {}),
    ("bayesbinn", {"momentum": 0.9, "prior": "uniform", "temperature": 1.0, "train_draws": 3}),
    ("bayesbinn", {"momentum": 0.5, "lambda_init": 40.0}),
    ("bayesbinn", {"prior": "none"}),
    ("bayesbinn", {"mode": "sign"}),
    ("bgd", {}),
    ("bgd", LIMITS),
    ("bop", {"threshold": 1e-4}),
    ("bop", {"gamma": [0.1, 0.2, 0.3], "threshold": 1e-2, "gamma_decay": 0.5,
             "gamma_decay_steps": 1}),
    ("bop", {"form": "accumulator", "threshold": 1e-4, "gamma_decay": 0.5,
             "gamma_decay_steps": 2}),
    ("mesu", {}),
    ("mesu", {**LIMITS, "memory": None}),
    ("mesu", {"clamp": 10.0, "memory": 10.0, "prior_mean": 0.5, "train_draws": 1}),
    ("meta", {}),
    ("meta", {"m": [0.0, 5.0, 100.0], "weight_decay": 0.1, "lr": 0.1}),
    ("meta", {"weights": "real", "m": "auto"}),
]  # fmt: skip


COMPILED = [*map(VARIANTS.__getitem__, (4, 6, 7, 9))]
"""Variants with loops of their own that no contract of a plugin compiles."""


def contract(name: str, options: dict[str, Any]) -> OptimizerContract:
    """Return the contract of an optimizer, for its checks of formulas."""
    made = type("Contract", (OptimizerContract,), {"name": name, "options": options})()
    assert isinstance(made, OptimizerContract)
    return made


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_formulas_are_what_steps_compute(name: str, options: dict[str, Any]) -> None:
    its = contract(name, options)
    assert its.make().formulas is not None
    its.test_its_formulas_are_what_its_steps_compute()


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(*each, marks=[] if each in COMPILED else pytest.mark.slow) for each in VARIANTS],
    ids=str,
)
def test_compiled_loops_compute_formulas(name: str, options: dict[str, Any]) -> None:
    """They also leave something to be found where a gradient is infinite."""
    its = contract(name, options)
    its.test_compiled_loops_compute_its_formulas()
    model = its.make_model()
    optimizer: Any = its.make(0, model)
    optimizer.task_started(toy.context(toy.make_task(), model, toy.ToyRule(), 9))
    optimizer.kernels = kernels_of(optimizer)
    optimizer.step(toy.constant(model, torch.inf))
    optimizer.zero_grad()
    with pytest.raises(RunError, match="not finite"):
        optimizer.look()


@pytest.mark.parametrize(
    ("name", "options"), [("bayesbinn", {"train_draws": 0}), ("beakers", {}), ("ewc", {})], ids=str
)
def test_what_has_no_formulas_is_refused(name: str, options: dict[str, Any]) -> None:
    """Of a subclass that changes an update, and says no formulas, those of its base are none."""
    with pytest.raises(UsageError, match="has no formulas for compiled loops, as it is set"):
        kernels_of(contract(name, options).make())
