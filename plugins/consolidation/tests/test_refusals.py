"""What the consolidating optimizers refuse, and what the message says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from consolidating import KINDS, make
from torch import Tensor

import bnnlab
from bnnlab import Model, Optimizer, TaskContext, UsageError
from bnnlab.families.posterior import BernoulliOptimizer
from bnnlab_testing import toy
from bnnlab_testing.equations import make_model


def refuse(match: str, **options: Any) -> None:
    for kind in KINDS.values():
        with pytest.raises(UsageError, match=match):
            make(kind, make_model(), **options)


def test_an_unknown_base_is_refused_with_the_nearest_name() -> None:
    refuse(r"optimizer\.base=sgdd: unknown optimizer 'sgdd'\. Did you mean 'sgd'", base="sgdd")
    refuse(r"optimizer\.base=.*no-such-distribution", base="no-such-distribution/sgd")


@pytest.mark.parametrize("nested", ["ewc", "si", "bnnlab-consolidation/ewc"])
def test_a_base_that_consolidates_already_is_refused(nested: str) -> None:
    refuse(r"optimizer\.base: .* consolidates already", base=nested)


@pytest.mark.parametrize("given", ["momentum", "=1"])
def test_an_option_of_the_base_without_a_name_or_a_value_is_refused(given: str) -> None:
    refuse(rf"optimizer\.base_options: '{given}' is not name=value", base_options=[given])


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("momentun=0.5", r"momentun: no such option of sgd\. Did you mean 'momentum'"),
        ("momentum=2", r"momentum: .* must be below 1"),
        ("momentum=high", r"momentum: 'high' is not a float"),
        ("lr=-1", r"lr: .* must be above 0"),
    ],
)
def test_a_faulty_option_of_the_base_is_named(given: str, match: str) -> None:
    refuse(rf"optimizer\.base=sgd: optimizer\.{match}", base_options=[given])


def test_an_option_given_twice_is_refused() -> None:
    refuse(r"optimizer\.base_options: 'lr' is given by optimizer\.lr", base_options=["lr=1"], lr=1)
    twice = ["momentum=0.1", "momentum=0.2"]
    refuse(r"optimizer\.base_options: 'momentum' is given twice", base_options=twice)


class Flipper(Optimizer):
    """Keeps no latent weights."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, lr=0.1)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if not group["binary"] and p.grad is not None:
                    p.sub_(p.grad, alpha=group["lr"])
        return loss


class Sampler(BernoulliOptimizer):
    """Has a posterior."""

    def sample(self, group: dict[str, Any], parameter: Tensor) -> tuple[Tensor, Tensor]:
        rho = self.rho(parameter, 1)
        return rho.sign(), rho

    def update(self, group: dict[str, Any], parameter: Tensor, *_: Tensor) -> None:
        self.write(parameter)


def test_a_base_without_latent_weights_is_refused_unless_all_weights_are_real(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bnnlab.api, "create", lambda _kind, _name, model, **_: Flipper(model))
    refuse(r"optimizer\.base: 'sgd' keeps no latent weights.*adam, sgd and meta")
    for kind in KINDS.values():
        model = toy.make_real_model()
        task = toy.make_task()
        optimizer = make(kind, model)
        first = toy.train(model, toy.ToyRule(), optimizer, task, steps=20)
        optimizer.task_ended(TaskContext(task, model, toy.ToyRule(), toy.BATCH_SIZE, 20))
        last = toy.train(model, toy.ToyRule(), optimizer, task, steps=20, done=20)
        assert last[-1] < first[0]


def test_a_base_with_a_posterior_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(_kind: str, _name: str, model: Model, **_: Any) -> Optimizer:
        return Sampler(model, generator=torch.Generator(), lr=0.1)

    monkeypatch.setattr(bnnlab.api, "create", create)
    refuse(r"optimizer\.base: 'sgd' draws its weights from a posterior")


def test_without_boundaries_it_is_refused() -> None:
    for kind in KINDS:
        with pytest.raises(UsageError, match="boundaries"):
            bnnlab.run(rule="bp", optimizer=kind, stream="digits", device="cpu")
