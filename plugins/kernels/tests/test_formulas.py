"""Formulas of the shipped optimizers, with each branch of their equations."""

from typing import Any

import pytest

from bnnlab_testing import OptimizerContract

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
WITHOUT: list[tuple[str, dict[str, Any]]] = [
    ("bayesbinn", {"train_draws": 0}),
    ("beakers", {}),
    ("ewc", {}),
    ("si", {}),
]


def contract(name: str, options: dict[str, Any]) -> OptimizerContract:
    made: OptimizerContract = type(
        "Contract", (OptimizerContract,), {"name": name, "options": options}
    )()
    return made


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_formulas_are_what_steps_compute(name: str, options: dict[str, Any]) -> None:
    contract(name, options).test_its_formulas_are_what_its_steps_compute()


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_compiled_loops_compute_formulas(name: str, options: dict[str, Any]) -> None:
    contract(name, options).test_compiled_loops_compute_its_formulas()
