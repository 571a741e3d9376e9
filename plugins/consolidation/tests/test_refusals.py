"""What the consolidating optimizers refuse, and what the message says."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from consolidating import KINDS, based, make
from torch import Tensor

import bnnlab
from bnnlab import Kind, Maker, Model, Optimizer, OptimizerAround, TaskContext, UsageError
from bnnlab.families.posterior import BernoulliOptimizer
from bnnlab_testing import toy
from bnnlab_testing.equations import make_model


def refuse(match: str, **options: Any) -> None:
    for kind in KINDS.values():
        with pytest.raises(UsageError, match=match):
            make(kind, make_model(), **options)


def test_an_unknown_base_is_refused_with_the_nearest_name() -> None:
    refuse(r"unknown optimizer 'sgdd'\. Did you mean 'sgd'", base="sgdd")
    refuse(r"no plugin of 'no-such-distribution' is installed", base="no-such-distribution/sgd")


@pytest.mark.parametrize("base", ["mesu", "bop", "bimu", "si"])
def test_a_run_is_refused_before_it_computes_with_the_bases_that_fit(base: str) -> None:
    message = (
        rf"optimizer\.base={base} does not provide 'latent-weights', which optimizer:ewc needs.*"
        r"What would fit: .*--set optimizer\.base=(adam|beakers|meta|sgd)"
    )
    with pytest.raises(UsageError, match=message) as caught:
        bnnlab.run(optimizer={"name": "ewc", "base": base}, rule="bp", stream="split-digits")
    advice = str(caught.value).partition("What would fit: ")[2]
    assert {*re.findall(r"optimizer\.base=(\w+)", advice)} <= {"adam", "beakers", "meta", "sgd"}


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
    refuse(rf"optimizer\.{match}", base_options=[given])


def test_an_option_given_twice_is_refused() -> None:
    refuse(r"optimizer\.base_options: 'lr' is given by optimizer\.lr", base_options=["lr=1"], lr=1)
    twice = ["momentum=0.1", "momentum=0.2"]
    refuse(r"optimizer\.base_options: 'momentum' is given twice", base_options=twice)
    base = based("sgd", momentum=0.5, lr=0.5)
    refuse(
        r"optimizer\.momentum is set twice: to 0\.5 and to 0\.1", base=base, base_options=twice[:1]
    )
    refuse(r"optimizer\.lr is set twice: to 0\.5 and to 0\.25", base=base, lr=0.25)


def test_a_run_names_the_base_by_its_path() -> None:
    ewc = {"name": "ewc", "base": {"lr": 0.5}}
    with pytest.raises(UsageError, match=r"optimizer\.base\.lr is set twice: to 0\.5 and to 0\.25"):
        bnnlab.run(rule="bp", optimizer={**ewc, "lr": 0.25}, stream="split-digits", device="cpu")


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


class Gives(Maker):
    """Makes what a test says."""

    def __init__(self, made: Callable[..., Optimizer]) -> None:
        self.kind, self.name, self.place, self._made = Kind.OPTIMIZER, "given", "here", made

    def __call__(self, *arguments: Any, **given: Any) -> Optimizer:
        return self._made(*arguments, **given)


def test_a_base_without_latent_weights_is_refused_unless_all_weights_are_real() -> None:
    base = Gives(lambda model, **_: Flipper(model))
    refuse(r"optimizer\.base: 'given' keeps no latent weights.*adam, sgd and meta", base=base)
    for kind in KINDS.values():
        model = toy.make_real_model()
        task = toy.make_task()
        optimizer = make(kind, model, base=base)
        first = toy.train(model, toy.ToyRule(), optimizer, task, steps=20)
        optimizer.task_ended(TaskContext(task, model, toy.ToyRule(), toy.BATCH_SIZE, 20))
        last = toy.train(model, toy.ToyRule(), optimizer, task, steps=20, done=20)
        assert last[-1] < first[0]


def test_a_base_with_a_posterior_is_refused() -> None:
    base = Gives(lambda model, generator: Sampler(model, generator=generator, lr=0.1))
    refuse(r"optimizer\.base: 'given' draws its weights from a posterior", base=base)


def test_a_base_around_one_that_consolidates_is_refused() -> None:
    base = Gives(lambda model, **_: OptimizerAround(model, make(KINDS["si"], model)))
    refuse(r"optimizer\.base: 'given' consolidates already", base=base)


def test_without_boundaries_it_is_refused() -> None:
    for kind in KINDS:
        with pytest.raises(UsageError, match="boundaries"):
            bnnlab.run(rule="bp", optimizer=kind, stream="digits", device="cpu")


def test_stream_ewc_needs_no_boundaries() -> None:
    stream_ewc = {"name": "ewc", "variant": "stream", "strength": 5.0, "decay": 0.2}
    model = {"name": "mlp", "hidden": [8]}
    result = bnnlab.run(rule="bp", optimizer=stream_ewc, stream="digits", model=model, epochs=1)
    assert len(result.accuracy) == 1
