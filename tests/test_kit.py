"""The conformance kit on components that are right, and on ones that are wrong on purpose."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.components import Kind
from bnnlab.draws import backpropagate
from bnnlab.layers import BinaryLinear, Sign, random_signs
from bnnlab.model import Model
from bnnlab.normalization import BatchNorm, Statistics
from bnnlab.optimizer import Group, Optimizer, TaskContext
from bnnlab.posterior import BernoulliOptimizer
from bnnlab.rule import Batch, Closure, Draws
from bnnlab.stream import Examples, Task, TaskStream
from bnnlab.testing import (
    LearningRuleContract,
    ModelContract,
    OptimizerContract,
    StreamContract,
    toy,
)
from bnnlab.testing.component_contract import ComponentContract
from bnnlab.testing.pytest_plugin import MakePlugin


class OfARule(LearningRuleContract):
    name = "thing"


class OfAnOptimizer(OptimizerContract):
    name = "thing"


class OfAModel(ModelContract):
    name = "thing"


class OfAStream(StreamContract):
    name = "thing"


CONTRACTS: dict[Kind, type[ComponentContract]] = {
    Kind.RULE: OfARule,
    Kind.OPTIMIZER: OfAnOptimizer,
    Kind.MODEL: OfAModel,
    Kind.STREAM: OfAStream,
}
PROVIDES = {
    Kind.RULE: ["gradients", "reevaluable"],
    Kind.OPTIMIZER: [],
    Kind.MODEL: ["binary-weights", "segments"],
    Kind.STREAM: ["boundaries"],
}


def failures(
    make_plugin: MakePlugin,
    kind: Kind,
    made: type | str,
    *,
    provides: list[str] | None = None,
    options: str | None = None,
    top: str = "",
    only: str = "",
    attributes: dict[str, Any] | None = None,
    **fields: str,
) -> dict[str, str]:
    """Return the checks (or the `only` one) that a component fails, each with its message.

    What a class declares besides its kind's usual is in its `provides` and `declared`;
    `attributes` are the contract's.
    """
    provides = [*PROVIDES[kind], *getattr(made, "provides", [])] if provides is None else provides
    options = getattr(made, "declared", "") if options is None else options
    told = {"summary": "A thing.", "source": "Nobody, 2020", **fields}
    target = made if isinstance(made, str) else f"{__name__}:{made.__name__}"
    make_plugin(
        "acme-kit",
        f"""
from typing import Literal
from bnnlab import Component, Kind, Option, hookimpl

{top}

@hookimpl
def bnnlab_components():
    given = {provides!r}
    return [
        Component(
            Kind("{kind}"), "thing", "{target}", options=({options}), provides=frozenset(given),
            **{told!r},
        )
    ]
""",
    )
    failed = {}
    for check in dir(CONTRACTS[kind]):
        if check == only or (check.startswith("test_") and not only):
            contract = CONTRACTS[kind]()
            vars(contract).update(attributes or {})
            try:
                getattr(contract, check)()
            except pytest.skip.Exception:
                continue
            except (Exception, pytest.fail.Exception) as error:
                failed[check] = str(error)
    return failed


# -------------------------------------------------------------------- rules


class Fine(toy.ToyRule):
    """Does all that is asked."""


class Undocumented(toy.ToyRule):
    pass


class Accumulates(toy.ToyRule):
    """Adds to what is in `.grad`."""

    def closure(self, model: Model, batch: Any) -> Any:
        def call() -> Tensor:
            loss, logits = self.differentiate(model, Batch(*batch))
            closure.logits = logits.detach()
            return loss.detach()

        closure = _Callable(call)
        return closure


class _Callable(SimpleNamespace):
    """A closure that is not the core's."""

    def __init__(self, call: Callable[[], Tensor]) -> None:
        super().__init__(call=call, logits=None)

    def __call__(self) -> Tensor:
        loss: Tensor = self.call()
        return loss


class LeavesOut(toy.ToyRule):
    """Gives the first parameter no gradient."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        next(model.parameters()).grad = None
        return answer


class Remembers(toy.ToyRule):
    """Evaluates at the weights there were when the closure was made."""

    def closure(self, model: Model, batch: Any) -> Any:
        made = super().closure(model, batch)
        loss = made()
        gradients = [parameter.grad for parameter in model.parameters()]

        def call() -> Tensor:
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            return loss

        closure = _Callable(call)
        closure.logits = made.logits
        return closure


class Wavers(toy.ToyRule):
    """Says that it is reevaluable, and adds noise of its own to each call."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad += torch.rand(parameter.shape, generator=self.generator)
        return answer


class KeepsTheGraph(toy.ToyRule):
    """Returns a loss that autograd still knows."""

    def closure(self, model: Model, batch: Any) -> Closure:
        made = super().closure(model, batch)

        class Undetached(Closure):
            def __call__(self) -> Tensor:
                return made() * next(model.parameters()).mean()

        return Undetached(self, model, Batch(*batch))


class Meddles(toy.ToyRule):
    """Changes the weights itself."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        with torch.no_grad():
            next(model.parameters()).neg_()
        return answer


class Climbs(toy.ToyRule):
    """Goes uphill."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.neg_()
        return answer


class DrawsAnywhere(toy.ToyRule):
    """Draws its matrix from torch's global generator."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("B", torch.randn(3))


class SetsTheDtype(toy.ToyRule):
    """Sets a default of torch's for everybody."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_default_dtype(torch.float64)


class SetsAFlag(toy.ToyRule):
    """Sets a flag of torch's in every step."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        torch.backends.cudnn.benchmark = True
        return super().differentiate(model, batch)


class Forgets(toy.ToyRule):
    """Keeps its random factor where `state_dict` does not look."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.factor = torch.rand((), generator=generator)

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(self.factor)
        return answer


class Optional(toy.ToyRule):
    """Has a keyword."""

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()


class Indirect(Optional):
    """Passes its keywords on."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)


class Usual(toy.ToyRule):
    """Minimises the cross-entropy, whatever the batch's loss."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().differentiate(model, batch._replace(loss=F.cross_entropy))


class UsualWithin(Usual):
    """Returns the batch's loss, and minimises the cross-entropy."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        _, logits = super().differentiate(model, batch)
        return batch.loss(logits, batch.targets), logits


class Sums(toy.ToyRule):
    """Leaves the gradient of the batch's sum."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(len(batch.targets))
        return answer


class Zeroes(toy.ToyRule):
    """Gives the first parameter a gradient of zero."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        first = next(model.parameters())
        first.grad = torch.zeros_like(first)
        return answer


class TriesOut(toy.ToyRule):
    """Sends a batch through the model, in training mode, to see its sizes."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        assert model.input_shape is not None
        model(torch.randn(4, *model.input_shape, generator=generator))


class PutsInTraining(toy.ToyRule):
    """Puts the model into training mode."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        model.train()


class LooksTwice(toy.ToyRule):
    """Runs forward twice."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        model(batch.inputs)
        return super().differentiate(model, batch)


class Replays(toy.ToyRule):
    """Learns the batch before once more, which it keeps in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: list[Batch] = []

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        self.memory.append(batch)
        inputs, targets, _ = zip(*self.memory[-2:], strict=True)
        whole = Batch(torch.cat(inputs), torch.cat(targets), batch.loss)
        loss, logits = super().differentiate(model, whole)
        return loss, logits[-len(batch.targets) :]


class FineDraws(toy.ToyRule):
    """Differentiates at all draws in one go."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        return backpropagate(model, batch, draws)


class LearnsTheFirstDraw(FineDraws):
    """Has the first draw's gradients for all."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        first = {name: drawn[:1].expand_as(drawn) for name, drawn in draws.items()}
        return super().differentiate_draws(model, batch, first)


class ScalesDraws(FineDraws):
    """Has gradients that are too large at draws alone."""

    def differentiate_draws(
        self, model: Model, batch: Batch, draws: Mapping[str, Tensor]
    ) -> Draws | None:
        found = super().differentiate_draws(model, batch, draws)
        assert found is not None
        return found._replace(grads={name: 7 * grad for name, grad in found.grads.items()})


class ClampsTheBatch(toy.ToyRule):
    """Clamps inputs in place."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        batch.inputs.clamp_(-2, 2)
        return super().differentiate(model, batch)


class CountsOnFullBatches(toy.ToyRule):
    """Learns nothing from a batch that is not full."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        if len(batch.targets) % 10:
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.grad.zero_()
        return answer


class FreezesNothing(toy.ToyRule):
    """Takes the sign of every gradient, those that are not there as well."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            parameter.grad.sign_()  # type: ignore[union-attr]
        return answer


class LearnsAsItSays(toy.ToyRule):
    """Doubles its gradients each time it is asked for diagnostics."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.register_buffer("size", torch.ones(()))

    def diagnostics(self) -> dict[str, float]:
        return {"size": float(self.get_buffer("size").mul_(2))}

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        answer = super().differentiate(model, batch)
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(self.get_buffer("size"))
        return answer


# -------------------------------------------------------------------- optimizers


LR = "Option('lr', float, 0.05, 'Learning rate.'),"


class FineOptimizer(toy.ToyOptimizer):
    """Does all that is asked."""

    declared = LR

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr, latent_clip=1.0)


class Halves(FineOptimizer):
    """Leaves 0.5 in a binary weight of a convolution."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        loss = super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            if parameter.dim() == 4:
                parameter.data.view(-1)[0] = 0.5
        return loss


class IgnoresReal(FineOptimizer):
    """Updates binary weights alone."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        if group["binary"]:
            super().update(group, parameters, values, grads)


class MakesAllBinary(FineOptimizer):
    """Makes signs of real parameters too."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        loss = super().step(closure)
        for parameter in self.param_groups[1]["params"]:
            parameter.data.copy_(torch.copysign(torch.ones(()), parameter.data))
        return loss


class Deaf(FineOptimizer):
    """Does not return what the closure does."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        return super().step(closure) + 7


class Scattered(FineOptimizer):
    """Keeps its momentum outside `state_dict`."""

    velocity = 0.0

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        self.velocity += float(sum(grad.abs().sum() for grad in grads))
        super().update(group, parameters, values, [grad + self.velocity for grad in grads])


class GoesUp(FineOptimizer):
    """Adds the gradient."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        super().update(group, parameters, values, [-grad for grad in grads])


class Draws(FineOptimizer):
    """Draws weights and leaves them there, also when asked for the deployed ones."""

    def predictive(self, n: int) -> Iterator[None]:
        for _ in range(n or 2):
            self.param_groups[0]["params"][0].data.neg_()
            yield


class Divides(FineOptimizer):
    """Divides by the size of the gradient."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        super().update(group, parameters, values, [grad / grad.norm() for grad in grads])


class Unseeded(FineOptimizer):
    """Draws noise from torch's global generator."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        super().update(group, parameters, values, [g + torch.randn_like(g) for g in grads])


class KeepsAGenerator(FineOptimizer):
    """Adds noise; the generator's state is in its own, under no parameter."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.generator = generator
        state: dict[Any, Any] = self.state
        state["generator"] = generator.get_state()

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        state: dict[Any, Any] = self.state
        self.generator.set_state(state["generator"])
        noise = 1e-3 * torch.rand((), generator=self.generator)
        super().update(group, parameters, values, [grad + noise for grad in grads])
        state["generator"] = self.generator.get_state()


class FinePosterior(FineOptimizer):
    """Flips a fifth of the weights in each draw."""

    provides = ["posterior"]

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.generator = generator

    def draw(self, weight: Tensor) -> Tensor:
        """Return a draw; where the wrong ones go wrong."""
        flipped = torch.rand(weight.shape, generator=self.generator) < 0.2
        return torch.where(flipped.to(weight.device), -weight, weight)

    @torch.no_grad()
    def predictive(self, n: int) -> Iterator[None]:
        parameters = [parameter for parameter in self.learned() if parameter.requires_grad]
        deployed = [parameter.clone() for parameter in parameters]
        try:
            for _ in range(n or 1):
                for parameter, weight in zip(parameters, deployed, strict=True):
                    parameter.copy_(self.draw(weight) if n else weight)
                yield
        finally:
            for parameter, weight in zip(parameters, deployed, strict=True):
                parameter.copy_(weight)


class DrawsMeans(FinePosterior):
    """Draws weights between the signs."""

    def draw(self, weight: Tensor) -> Tensor:
        return 0.9 * super().draw(weight)


class DrawsOneThing(FinePosterior):
    """Draws the deployed weights each time."""

    def draw(self, weight: Tensor) -> Tensor:
        return weight


class DrawsUnseeded(FinePosterior):
    """Draws from a generator of its own."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.generator = torch.Generator().manual_seed(0)


class RestoresAtTheEnd(FinePosterior):
    """Puts the weights back only if it is let to the end."""

    def predictive(self, n: int) -> Iterator[None]:
        parameters = self.param_groups[0]["params"]
        deployed = [parameter.detach().clone() for parameter in parameters]
        for _ in range(n or 1):
            for parameter, weight in zip(parameters, deployed, strict=True):
                parameter.data.copy_(self.draw(weight) if n else weight)
            yield
        for parameter, weight in zip(parameters, deployed, strict=True):
            parameter.data.copy_(weight)


class IgnoresRealLR(FineOptimizer):
    """Has an option for the real parameters' learning rate, and no use for it."""

    declared = LR + "Option('real_lr', float | None, None, 'Learning rate of the others.'),"

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        lr: float = 0.05,
        real_lr: float | None = None,
    ) -> None:
        super().__init__(model, generator=generator, lr=lr)


class ByIndex(FineOptimizer):
    """Learns the later weights of a group faster."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        scaled = [grad * (1 + index) for index, grad in enumerate(grads)]
        super().update(group, parameters, values, scaled)


class KeepsItsAnchors(FineOptimizer):
    """Is held where the last task ended, by anchors outside `state_dict`."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.anchors: dict[Tensor, Tensor] = {}

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        pulls = [v - self.anchors.get(p, v) for p, v in zip(parameters, values, strict=True)]
        super().update(
            group, parameters, values, [g + p for g, p in zip(grads, pulls, strict=True)]
        )

    def task_ended(self, context: TaskContext) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                value = self.state[parameter].get("latent", parameter)
                self.anchors[parameter] = value.detach().clone()


class CountsTasks(FineOptimizer):
    """Learns slower in each task, whose number is an attribute."""

    tasks = 0

    def task_started(self, context: TaskContext) -> None:
        self.tasks += 1

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        super().update(group, parameters, values, [g / max(1, self.tasks) for g in grads])


class CountsSteps(FineOptimizer):
    """Divides by the steps of the task at its end; they are an attribute."""

    steps = 0

    def task_started(self, context: TaskContext) -> None:
        self.steps = 0

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        self.steps += 1
        return super().step(closure)

    def task_ended(self, context: TaskContext) -> None:
        for parameter in self.learned():
            self.state[parameter]["latent"] /= self.steps


class HalvesAtTheEnd(FineOptimizer):
    """Leaves averaged weights when a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        for parameter in self.learned():
            parameter.data.mul_(0.5)


class LeavesItEvaluating(FineOptimizer):
    """Evaluates the model when a task ends, and leaves it so."""

    def task_ended(self, context: TaskContext) -> None:
        context.model.eval()


class Freezes(FineOptimizer):
    """Needs no gradients when a task ends, nor after it."""

    def task_ended(self, context: TaskContext) -> None:
        context.model.requires_grad_(False)


class DrawsAtTheEnd(FineOptimizer):
    """Draws from torch's global generator when a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        torch.rand(())


class LearnsOnce(FineOptimizer):
    """Breaks where a second task begins."""

    started = False

    def task_started(self, context: TaskContext) -> None:
        assert not self.started, "one task is enough"
        self.started = True


class ReturnsNothing(FineOptimizer):
    """Returns no loss."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        super().step(closure)
        return None  # type: ignore[return-value]


class FixesLR(FineOptimizer):
    """Has the learning rate that it was made with."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.lr = lr

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        super().update({**group, "lr": self.lr}, parameters, values, grads)


class FixesBinaryLR(FixesLR):
    """Reads the learning rate of real parameters alone."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        if group["binary"]:
            super().update(group, parameters, values, grads)
        else:
            FineOptimizer.update(self, group, parameters, values, grads)


class ReadsTheFirstLR(FineOptimizer):
    """Reads the learning rate of the first group for all binary weights."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        lr = self.param_groups[0]["lr"] if group["binary"] else group["lr"]
        super().update({**group, "lr": lr}, parameters, values, grads)


class Wraps(Optimizer):
    """Lets another optimizer make the steps, with groups of its own."""

    def __init__(self, model: Model, *, generator: torch.Generator) -> None:
        super().__init__(model, lr=0.05, generator=generator)
        self.inner = FineOptimizer(model, generator=generator)

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        return self.inner.step(closure)


class IgnoresADecay(FineOptimizer):
    """Has an option that does nothing."""

    declared = LR + "Option('decay', float, 0.0, 'Weight decay.', minimum=0),"

    def __init__(
        self, model: Model, *, generator: torch.Generator, lr: float = 0.05, decay: float = 0.0
    ) -> None:
        super().__init__(model, generator=generator, lr=lr)


class SignsAtTheEnd(FineOptimizer):
    """Has the latent weights in the model, and signs only when a task ends."""

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        loss = super().step(closure)
        for parameter in self.learned():
            parameter.data.copy_(self.state[parameter]["latent"])
        return loss

    def task_ended(self, context: TaskContext) -> None:
        for parameter in self.learned():
            parameter.data.copy_(torch.copysign(torch.ones(()), parameter.data))


class KnowsItsParameters(FineOptimizer):
    """Decays what the model had when it was made, frozen or not."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.real = [p for group in self.param_groups[1:] for p in group["params"]]

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        loss = super().step(closure)
        for parameter in self.real:
            parameter.data.mul_(0.99)
        return loss


class TightensAll(FineOptimizer):
    """Shrinks what is behind its weights when a task ends, frozen or not."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.all = self.learned()

    def task_ended(self, context: TaskContext) -> None:
        for parameter in self.all:
            self.state[parameter]["latent"].mul_(0.5)


class FlipsAtTheStart(FineOptimizer):
    """Turns its weights when a task begins, and not what is behind them."""

    @torch.no_grad()
    def task_started(self, context: TaskContext) -> None:
        for parameter in self.learned():
            parameter.neg_()


class AdoptsAnew(FineOptimizer):
    """Gives what is adopted another size."""

    def adopt(self, parameter: Tensor) -> None:
        self.state[parameter]["latent"].copy_(0.01 * parameter)


class LoadsFloats(FineOptimizer):
    """Counts in integers, and in floats since it was loaded."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        for parameter in self.learned():
            self.state[parameter]["count"] = torch.zeros((), dtype=torch.int32)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for parameter in self.learned():
            self.state[parameter]["count"] = self.state[parameter]["count"].float()


class DrawsFrozenOnes(FinePosterior):
    """Draws every weight of its group, frozen or not."""

    def predictive(self, n: int) -> Iterator[None]:
        frozen = [parameter for parameter in self.learned() if not parameter.requires_grad]
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield from super().predictive(n)
        for parameter in frozen:
            parameter.requires_grad_(False)


class KeepsALambda(FineOptimizer):
    """Has an attribute that nothing can copy to another process."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.schedule = lambda step: step


class KnowsItsWeights(FineOptimizer):
    """Keeps numbers by the address of their parameter, which a copy has not."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        self.rates = {id(parameter): 1.0 for parameter in model.parameters()}

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        pairs = zip(parameters, grads, strict=True)
        scaled = [self.rates.get(id(p), 1e-3) * grad for p, grad in pairs]
        super().update(group, parameters, values, scaled)


class HidesItsLatents(FineOptimizer):
    """Writes weights from what it keeps, and shows a copy of that."""

    def latent(self, parameter: Tensor) -> Tensor | None:
        latent = super().latent(parameter)
        return None if latent is None else latent.clone()


class WritesAsItWas(FineOptimizer):
    """Keeps no latent weights behind its own: it says so, and writes them all the same."""

    def latent(self, parameter: Tensor) -> Tensor | None:
        return None


class PreparesItsState(FineOptimizer):
    """Makes state when it is made, and none for what comes later."""

    def __init__(self, model: Model, *, generator: torch.Generator, lr: float = 0.05) -> None:
        super().__init__(model, generator=generator, lr=lr)
        for parameter in model.parameters():
            self.state[parameter]["velocity"] = torch.zeros_like(parameter)

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        pairs = zip(parameters, grads, strict=True)
        moved = [self.state[p]["velocity"].mul_(0.5).add_(grad) for p, grad in pairs]
        super().update(group, parameters, values, moved)


class LooksAway(FineOptimizer):
    """Does not look at what signs hide."""

    def look(self) -> None:
        pass


class CountsOnItsSchedule(FineOptimizer):
    """Fails where a scheduler wrote something into its groups."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        assert "initial_lr" not in group
        super().update(group, parameters, values, grads)


class RoundsItsLatents(FineOptimizer):
    """Divides by what float16 rounds to 0."""

    def update(
        self, group: Group, parameters: list[Tensor], values: list[Tensor], grads: list[Tensor]
    ) -> None:
        scaled = [grad / (grad * 0 + 1e-9) * 1e-9 for grad in grads]
        super().update(group, parameters, values, scaled)


class SaysTensors(FineOptimizer):
    """Has a tensor among its diagnostics."""

    def diagnostics(self) -> dict[str, float]:
        return {"size": torch.ones(3)}  # type: ignore[dict-item]


class ChangesAsItSays(FineOptimizer):
    """Shrinks its latent weights each time it is asked for diagnostics."""

    def diagnostics(self) -> dict[str, float]:
        values = [self.state[parameter]["latent"].mul_(0.9) for parameter in self.learned()]
        return {"size": float(values[0].abs().mean())}


class PeeksAtTheStart(FineOptimizer):
    """Looks at the test data as a task begins."""

    def task_started(self, context: TaskContext) -> None:
        context.task.test.raw(torch.arange(3))


class FitsAtTheEnd(FineOptimizer):
    """Counts the test data as a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        len(context.task.test)


class CountsAllLabels(FineOptimizer):
    """Weighs by labels that are not all of the training part."""

    def task_ended(self, context: TaskContext) -> None:
        share = (context.task.train.labels == 0).float().mean()
        for parameter in self.learned():
            self.state[parameter]["latent"] *= share


class StepsTwice(FineOptimizer):
    """Calls the closure twice from its second step on, though nothing requires that."""

    again = False

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        if self.again:
            closure()
        self.again = True
        return super().step(closure)


class SaysTheLoss(FineOptimizer):
    """Calls a diagnostic as the core does a number of its own."""

    def diagnostics(self) -> dict[str, float]:
        return {"loss": 0.5}


class SaysTheNegative(FineOptimizer):
    """Has the signs of its latent weights wrong."""

    def latent(self, parameter: Tensor) -> Tensor | None:
        latent = super().latent(parameter)
        return None if latent is None else -latent


class Samples(BernoulliOptimizer):
    """Learns lambda at draws of the weights."""

    provides = ["posterior"]
    declared = LR + "Option('test_draws', int, 10, 'Draws per evaluation.', minimum=0),"

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        lr: float = 0.05,
        test_draws: int = 10,
    ) -> None:
        super().__init__(model, generator=generator, lr=lr, test_draws=test_draws)

    def sample(self, group: Group, parameter: Tensor) -> tuple[Tensor, Tensor]:
        rho = self.rho(parameter, 1)
        return torch.where(rho > 0, 1.0, -1.0).to(rho), rho

    def update(
        self, group: Group, parameter: Tensor, weights: Tensor, noise: Tensor, grads: Tensor
    ) -> None:
        value = self.state[parameter]["lambda"]
        value.sub_(grads[0], alpha=group["lr"]).clamp_(-2, 2)
        self.write(parameter)


class Decays(Samples):
    """Pulls lambda to 0 in each step, whatever the learning rate is."""

    def update(
        self, group: Group, parameter: Tensor, weights: Tensor, noise: Tensor, grads: Tensor
    ) -> None:
        self.state[parameter]["lambda"].mul_(0.9)
        super().update(group, parameter, weights, noise, grads)


class AdvancesTheGenerator(Samples):
    """Draws for evaluations as for training, and does not turn the generator back."""

    def predictive(self, n: int) -> Iterator[None]:
        yield from super().predictive(n)
        torch.rand(n, generator=self._generator)


class WearsOut(Samples):
    """Makes the posterior wider with each draw."""

    def draw(self, parameter: Tensor) -> Tensor:
        self.state[parameter]["lambda"].mul_(0.9)
        return super().draw(parameter)


class EvaluatesUnseeded(Samples):
    """Draws for evaluations from torch's global generator."""

    def draw(self, parameter: Tensor) -> Tensor:
        p = torch.sigmoid(2 * self.state[parameter]["lambda"])
        return torch.where(torch.rand_like(p) < p, 1.0, -1.0).to(p)


class FlipsCoins(Samples):
    """Draws either sign as often, whatever the posterior."""

    def draw(self, parameter: Tensor) -> Tensor:
        heads = torch.rand(parameter.shape, generator=self.generator(parameter.device)) < 0.5
        return torch.where(heads, 1.0, -1.0)


class FixesItsDraws(Samples):
    """Draws ten times, whatever the option says."""

    def __init__(self, model: Model, *, test_draws: int = 10, **rest: Any) -> None:
        super().__init__(model, **rest)


# -------------------------------------------------------------------- models


class FineModel(Model):
    """Does all that is asked."""

    def __init__(
        self, *, input_shape: tuple[int, ...], classes: int, generator: torch.Generator
    ) -> None:
        size = torch.Size(input_shape).numel()
        super().__init__(
            [
                nn.Sequential(nn.Flatten(), BinaryLinear(size, 16, generator=generator), Sign()),
                BinaryLinear(16, classes, generator=generator),
            ],
            input_shape,
        )


class Blurred(FineModel):
    """Begins with weights between the signs."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.binary_parameters()["segments.1.weight"].data[0, 0] = 0.5


class Doubles(FineModel):
    """Computes more than its segments."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Idle(FineModel):
    """Has a parameter that does nothing."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.idle = nn.Parameter(torch.zeros(3))


class Peeks(FineModel):
    """Normalises with the test batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class Shapeless(FineModel):
    """Does not say its inputs' shape."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.input_shape = None


class TooWide(FineModel):
    """Has a logit too many."""

    def __init__(
        self, *, input_shape: tuple[int, ...], classes: int, generator: torch.Generator
    ) -> None:
        super().__init__(input_shape=input_shape, classes=classes + 1, generator=generator)


class AlwaysTheSame(FineModel):
    """Does not use the generator."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=torch.Generator().manual_seed(0), **given)


class Elsewhere(FineModel):
    """Draws from torch's global generator."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=torch.default_generator, **given)


class Unsaved(FineModel):
    """Has a random factor that its state does not hold."""

    def __init__(self, *, generator: torch.Generator, **given: Any) -> None:
        super().__init__(generator=generator, **given)
        self.signs = random_signs((given["classes"],), generator)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.signs


class ClampsItsInput(FineModel):
    """Clamps its inputs in place, in training alone."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.insert(0, _Clamp())


class ClampsAsAWhole(FineModel):
    """Clamps its inputs in place, in training alone, in a method of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp_(-2, 2) if self.training else x)


class _Clamp(nn.Module):
    """Clamps in place, in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp_(-3, 3) if self.training else x.clamp(-3, 3)


class PartlyReal(FineModel):
    """Has a real layer among its binary ones, without saying so."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.append(nn.Linear(given["classes"], given["classes"]))
        nn.init.eye_(self.segments[-1].get_parameter("weight"))


class PartlyDrawn(FineModel):
    """Draws its first layer alone."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.get_parameter("segments.1.weight").data.fill_(1)


class Centres(FineModel):
    """Subtracts a running average of its logits, which is no buffer."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.average = torch.zeros(given["classes"])

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        if self.training:
            self.average = 0.9 * self.average + 0.1 * logits.detach().mean(0)
        return logits - self.average


class FineStatistics(FineModel):
    """Normalises, with statistics per task if it is asked to."""

    declared = """Option('statistics', Literal['running', 'per-task'], 'running', 'At test.',
        requires={'per-task': ('task-ids',)}),"""

    def __init__(self, *, statistics: Statistics = "running", **given: Any) -> None:
        super().__init__(**given)
        self.segments.insert(1, BatchNorm(16, self.used(statistics)))

    def used(self, statistics: Statistics) -> Statistics:
        """Return the statistics to use; where the wrong one goes wrong."""
        return statistics


class Mixes(FineStatistics):
    """Has statistics per task in name alone."""

    def used(self, statistics: Statistics) -> Statistics:
        return "running"


# -------------------------------------------------------------------- streams


class FineStream(TaskStream):
    """The kit's toy task, twice."""

    input_shape, classes = toy.INPUT_SHAPE, toy.CLASSES

    def __init__(self, *, data: object, device: torch.device, seed: int) -> None:
        self.seed, self.task = seed, toy.to(toy.make_task(), device)
        self.digest = sha256(self.task.train.pixels.cpu().numpy().tobytes()).hexdigest()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Task:
        return self.change(replace(self.task, index=range(2)[index]))

    def change(self, task: Task) -> Task:
        """Return the task; where the wrong ones go wrong."""
        return task

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy", "data": self.digest}


def _with(part: Examples, **changes: Any) -> Examples:
    return replace(part, **changes)


class Floats(FineStream):
    """Has data that are no images."""

    def change(self, task: Task) -> Task:
        pixels = task.train.pixels / 255
        train, test = _with(task.train, pixels=pixels), _with(task.test, pixels=pixels)
        return replace(task, train=train, test=test)


class Doubled(FineStream):
    """Has data in double precision."""

    def change(self, task: Task) -> Task:
        return replace(task, train=_with(task.train, pixels=task.train.pixels.double()))


class Endless(FineStream):
    """Begins again after its end."""

    def __getitem__(self, index: int) -> Task:
        return super().__getitem__(index % 2)


class Leaks(FineStream):
    """Trains the second task on a test example."""

    def change(self, task: Task) -> Task:
        rows = torch.cat([task.train.rows, task.test.rows[: task.index]])
        return replace(task, train=_with(task.train, rows=rows))


class LeaksACopy(FineStream):
    """Tests on a copy of the training data."""

    def change(self, task: Task) -> Task:
        train = task.train
        return replace(task, test=_with(train, pixels=train.pixels.clone()))


class LeaksACopyAcross(FineStream):
    """Trains the second task on a copy of the test data."""

    def change(self, task: Task) -> Task:
        if task.index == 0:
            return task
        copy = _with(task.test, pixels=task.test.pixels.clone())
        return replace(task, train=copy, test=task.test)


class LeaksAcross(FineStream):
    """Tests the second task on what the first was trained on."""

    def change(self, task: Task) -> Task:
        if task.index == 0:
            return task
        return replace(task, train=task.test, test=task.train)


class Repeats(FineStream):
    """Validates on training examples."""

    def change(self, task: Task) -> Task:
        return replace(task, validation=task.train)


class Mislabelled(FineStream):
    """Has a class too many."""

    def change(self, task: Task) -> Task:
        return replace(task, train=_with(task.train, labels=task.train.labels + 1))


class OddTypes(FineStream):
    """Has 32-bit labels."""

    def change(self, task: Task) -> Task:
        return replace(task, train=_with(task.train, labels=task.train.labels.int()))


class TellsTheSeed(FineStream):
    """Has the seed in its protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"seed": self.seed}


class NoData(FineStream):
    """Has what JSON does not know in its protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"pixels": self.task.train.pixels}


class SaysNothing(FineStream):
    """Has an empty protocol."""

    def protocol(self) -> dict[str, Any]:
        return {}


class SaysTheSame(FineStream):
    """Has the same protocol whatever its data are."""

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy", "tasks": len(self)}


class NumbersAllZero(FineStream):
    """Calls each task the first."""

    def change(self, task: Task) -> Task:
        return replace(task, index=0)


class Miscounts(FineStream):
    """Has a task more than it says, for who iterates."""

    def __iter__(self) -> Iterator[Task]:
        yield from super().__iter__()
        yield replace(self.task, index=len(self))


class ShowsAnotherShape(FineStream):
    """Has inputs of no task that no model of its takes."""

    def out_of_distribution(self) -> Examples:
        test = self.task.test
        return replace(test, pixels=test.pixels[..., 1:])


class KnowsTheUnknown(FineStream):
    """Has inputs of no task that are a task's."""

    def out_of_distribution(self) -> Examples:
        return self.task.test


class FineShare(FineStream):
    """Can leave out some of the training data."""

    declared = "Option('share', float, 1.0, 'Part of the data.', above=0, maximum=1),"

    def __init__(self, *, share: float = 1.0, **given: Any) -> None:
        super().__init__(**given)
        self.share = share

    def change(self, task: Task) -> Task:
        rows = task.train.rows[: int(self.share * len(task.train))]
        return replace(task, train=_with(task.train, rows=rows))

    def protocol(self) -> dict[str, Any]:
        return {**super().protocol(), "share": self.share}


class HidesAShare(FineShare):
    """Leaves out training data without a word in the protocol."""

    def protocol(self) -> dict[str, Any]:
        return {"scenario": "toy"}


class HidesANumber(FineStream):
    """Has as many tasks as it is told, without a word in the protocol."""

    declared = "Option('tasks', int, 2, 'Number of tasks.', minimum=1),"

    def __init__(self, *, tasks: int = 2, **given: Any) -> None:
        super().__init__(**given)
        self.tasks = tasks

    def __len__(self) -> int:
        return self.tasks

    def __getitem__(self, index: int) -> Task:
        return self.change(replace(self.task, index=range(self.tasks)[index]))


class HidesALateSwitch(FineStream):
    """Inverts the images of its last task without a word in the protocol."""

    declared = "Option('invert', bool, False, 'Whether to invert.'),"

    def __init__(self, *, invert: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.invert = invert

    def change(self, task: Task) -> Task:
        if not self.invert or task.index == 0:
            return task
        return replace(task, train=_with(task.train, pixels=~task.train.pixels))


class HidesAScale(FineStream):
    """Normalises otherwise without a word in the protocol."""

    declared = "Option('std', float, 74.0, 'Of pixels.', above=0),"

    def __init__(self, *, std: float = 74.0, **given: Any) -> None:
        super().__init__(**given)
        self.std = torch.full((1, 1, 1), std)

    def change(self, task: Task) -> Task:
        return replace(task, train=_with(task.train, std=self.std))


class HidesAnUnknown(FineStream):
    """Has other inputs of no task without a word in the protocol."""

    declared = "Option('unknown', bool, False, 'Whether there are any.'),"

    def __init__(self, *, unknown: bool = False, **given: Any) -> None:
        super().__init__(**given)
        self.unknown = unknown

    def out_of_distribution(self) -> Examples | None:
        test = self.task.test
        return _with(test, pixels=~test.pixels) if self.unknown else None


class _SumTask(Task):
    """Adds the losses of a batch up."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="sum")


class AddsLossesUp(FineStream):
    """Has tasks whose loss is no mean."""

    def change(self, task: Task) -> Task:
        return _SumTask(task.index, task.name, task.train, task.test)


class HidesASwitch(FineStream):
    """Inverts the images without a word in the protocol."""

    declared = "Option('invert', bool, False, 'Whether to invert.'),"

    def __init__(self, *, invert: bool = False, **given: Any) -> None:
        super().__init__(**given)
        if invert:
            self.task.train.pixels.bitwise_not_()


class HidesAChoice(FineStream):
    """Inverts the images without a word in the protocol, under another name."""

    declared = "Option('images', Literal['as-is', 'inverted'], 'as-is', 'Which.'),"

    def __init__(self, *, images: str = "as-is", **given: Any) -> None:
        super().__init__(**given)
        if images == "inverted":
            self.task.train.pixels.bitwise_not_()


class Shuffles(FineStream):
    """Is in another order each time it is looked at."""

    def change(self, task: Task) -> Task:
        rows = task.train.rows[torch.randperm(len(task.train))]
        return replace(task, train=_with(task.train, rows=rows))


class TellsTasks(FineStream):
    """Gives task identities without saying so."""

    gives_task_ids = True


class MasksUntold(FineStream):
    """Chooses among some classes, though nobody is told the task."""

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.bool))


class MasksByNumber(FineStream):
    """Has a mask of integers, which `~` does not negate."""

    def change(self, task: Task) -> Task:
        return replace(task, classes=torch.ones(self.classes, dtype=torch.int64))


class Underlabelled(FineStream):
    """Has labels below zero."""

    def change(self, task: Task) -> Task:
        return replace(task, test=_with(task.test, labels=task.test.labels - 1))


class CountsCalls(FineStream):
    """Brightens images by how often it was asked for some."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.calls = 0

    def change(self, task: Task) -> Task:
        return replace(task, train=_with(task.train, augment=self.brighten))

    def brighten(self, images: Tensor, _: torch.Generator) -> Tensor:
        self.calls += 1
        return images.clamp(max=255 - self.calls) + self.calls


# -------------------------------------------------------------------- the tests

RIGHT = [
    (Kind.RULE, Fine),
    (Kind.OPTIMIZER, FineOptimizer),
    (Kind.MODEL, FineModel),
    (Kind.STREAM, FineStream),
    (Kind.OPTIMIZER, KeepsAGenerator),
    (Kind.OPTIMIZER, FinePosterior),
    (Kind.OPTIMIZER, Samples),
    (Kind.MODEL, FineStatistics),
    (Kind.STREAM, Floats),
    (Kind.STREAM, FineShare),
]
WRONG = [
    (Kind.RULE, Undocumented, "test_its_class_loads_and_is_documented"),
    (Kind.RULE, FineModel, "test_its_class_loads_and_is_documented"),
    (Kind.RULE, Accumulates, "test_the_closure_overwrites_gradients"),
    (Kind.RULE, LeavesOut, "test_gradients_are_finite_and_fit_their_parameters"),
    (Kind.RULE, Remembers, "test_the_closure_evaluates_at_the_weights_as_they_are"),
    (Kind.RULE, Wavers, "test_a_reevaluable_closure_repeats_itself"),
    (Kind.RULE, KeepsTheGraph, "test_the_closure_returns_the_loss_and_keeps_the_logits"),
    (Kind.RULE, Meddles, "test_the_weights_are_left_to_the_optimizer"),
    (Kind.RULE, Climbs, "test_the_loss_falls_on_separable_data"),
    (Kind.RULE, DrawsAnywhere, "test_the_global_state_is_left_alone"),
    (Kind.RULE, DrawsAnywhere, "test_the_same_seed_gives_the_same"),
    (Kind.RULE, SetsTheDtype, "test_the_global_state_is_left_alone"),
    (Kind.RULE, SetsAFlag, "test_the_global_state_is_left_alone"),
    (Kind.RULE, Forgets, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.RULE, Usual, "test_the_loss_is_the_batchs_own"),
    (Kind.RULE, UsualWithin, "test_the_loss_is_the_batchs_own"),
    (Kind.RULE, Sums, "test_gradients_are_those_of_the_batch_mean"),
    (Kind.RULE, Zeroes, "test_no_gradient_is_all_zero"),
    (Kind.RULE, TriesOut, "test_attaching_leaves_the_model_alone"),
    (Kind.RULE, PutsInTraining, "test_attaching_leaves_the_model_alone"),
    (Kind.RULE, LooksTwice, "test_running_averages_see_a_batch_once"),
    (Kind.RULE, Replays, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.RULE, Optional, "test_its_options_are_its_constructors_keywords"),
    (Kind.RULE, LearnsTheFirstDraw, "test_draws_at_once_are_those_one_by_one"),
    (Kind.RULE, ScalesDraws, "test_draws_at_once_are_those_one_by_one"),
    (Kind.RULE, ClampsTheBatch, "test_the_batch_is_left_as_it_is"),
    (Kind.RULE, CountsOnFullBatches, "test_a_last_batch_of_another_size_is_learned_from"),
    (Kind.RULE, FreezesNothing, "test_a_frozen_parameter_does_no_harm"),
    (Kind.RULE, LearnsAsItSays, "test_its_diagnostics_change_nothing"),
    (Kind.OPTIMIZER, Halves, "test_binary_weights_are_exactly_signs_after_every_step"),
    (Kind.OPTIMIZER, IgnoresReal, "test_real_parameters_are_trained_and_stay_real"),
    (Kind.OPTIMIZER, MakesAllBinary, "test_real_parameters_are_trained_and_stay_real"),
    (Kind.OPTIMIZER, Deaf, "test_a_step_calls_the_closure_and_returns_a_loss"),
    (Kind.OPTIMIZER, Scattered, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.OPTIMIZER, GoesUp, "test_it_finds_the_best_of_all_weights"),
    (Kind.OPTIMIZER, Draws, "test_the_deployed_weights_are_what_predictive_of_zero_shows"),
    (Kind.OPTIMIZER, Draws, "test_drawn_weights_are_put_back"),
    (Kind.OPTIMIZER, DrawsMeans, "test_drawn_weights_are_signs_and_differ"),
    (Kind.OPTIMIZER, DrawsOneThing, "test_drawn_weights_are_signs_and_differ"),
    (Kind.OPTIMIZER, DrawsUnseeded, "test_draws_come_from_the_seed"),
    (Kind.OPTIMIZER, RestoresAtTheEnd, "test_a_draw_that_is_cut_short_is_put_back"),
    (Kind.OPTIMIZER, IgnoresRealLR, "test_real_lr_is_the_real_parameters_own"),
    (Kind.OPTIMIZER, Divides, "test_gradients_of_zero_do_no_harm"),
    (Kind.OPTIMIZER, Unseeded, "test_the_same_seed_gives_the_same"),
    (Kind.OPTIMIZER, Unseeded, "test_the_global_state_is_left_alone"),
    (Kind.OPTIMIZER, ByIndex, "test_the_order_of_parameters_does_not_matter"),
    (Kind.OPTIMIZER, KeepsItsAnchors, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.OPTIMIZER, CountsTasks, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.OPTIMIZER, CountsSteps, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.OPTIMIZER, HalvesAtTheEnd, "test_a_tasks_end_leaves_the_model_fit_to_go_on"),
    (Kind.OPTIMIZER, LeavesItEvaluating, "test_a_tasks_end_leaves_the_model_fit_to_go_on"),
    (Kind.OPTIMIZER, Freezes, "test_a_tasks_end_leaves_the_model_fit_to_go_on"),
    (Kind.OPTIMIZER, DrawsAtTheEnd, "test_the_global_state_is_left_alone"),
    (Kind.OPTIMIZER, LearnsOnce, "test_a_tasks_end_leaves_the_model_fit_to_go_on"),
    (Kind.OPTIMIZER, AdvancesTheGenerator, "test_evaluation_changes_no_state"),
    (Kind.OPTIMIZER, WearsOut, "test_evaluation_changes_no_state"),
    (Kind.OPTIMIZER, EvaluatesUnseeded, "test_the_global_state_is_left_alone"),
    (Kind.OPTIMIZER, FixesItsDraws, "test_test_draws_is_what_the_option_says"),
    (Kind.OPTIMIZER, ReadsTheFirstLR, "test_a_parted_group_has_an_lr_of_its_own"),
    (Kind.OPTIMIZER, FixesLR, "test_the_lr_of_every_group_is_read_at_each_step"),
    (Kind.OPTIMIZER, FixesBinaryLR, "test_the_lr_of_every_group_is_read_at_each_step"),
    (Kind.OPTIMIZER, Wraps, "test_the_lr_of_every_group_is_read_at_each_step"),
    (Kind.OPTIMIZER, IgnoresADecay, "test_no_option_that_is_a_number_is_ignored"),
    (Kind.OPTIMIZER, PeeksAtTheStart, "test_nothing_is_learned_from_the_test_part"),
    (Kind.OPTIMIZER, FitsAtTheEnd, "test_nothing_is_learned_from_the_test_part"),
    (Kind.OPTIMIZER, CountsAllLabels, "test_nothing_is_learned_from_the_test_part"),
    (Kind.OPTIMIZER, StepsTwice, "test_a_step_calls_the_closure_and_returns_a_loss"),
    (Kind.OPTIMIZER, FlipsCoins, "test_draws_follow_what_was_learned"),
    (Kind.OPTIMIZER, ChangesAsItSays, "test_its_diagnostics_change_nothing"),
    (Kind.OPTIMIZER, SaysTensors, "test_its_diagnostics_are_numbers_with_names_of_their_own"),
    (Kind.OPTIMIZER, SaysTheLoss, "test_its_diagnostics_are_numbers_with_names_of_their_own"),
    (Kind.OPTIMIZER, SaysTheNegative, "test_what_it_keeps_behind_a_weight_has_its_shape_and_sign"),
    (Kind.OPTIMIZER, SignsAtTheEnd, "test_binary_weights_are_exactly_signs_after_every_step"),
    (Kind.OPTIMIZER, SignsAtTheEnd, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.OPTIMIZER, KnowsItsParameters, "test_a_frozen_parameter_is_left_alone"),
    (Kind.OPTIMIZER, TightensAll, "test_a_frozen_parameter_is_left_alone"),
    (Kind.OPTIMIZER, FlipsAtTheStart, "test_what_it_keeps_behind_a_weight_has_its_shape_and_sign"),
    (Kind.OPTIMIZER, AdoptsAnew, "test_weights_that_nobody_wrote_are_adopted_without_a_change"),
    (Kind.OPTIMIZER, LoadsFloats, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.OPTIMIZER, DrawsFrozenOnes, "test_a_frozen_parameter_is_left_alone"),
    (Kind.OPTIMIZER, KeepsALambda, "test_copies_go_on_as_the_original"),
    (Kind.OPTIMIZER, KnowsItsWeights, "test_copies_go_on_as_the_original"),
    (Kind.OPTIMIZER, HidesItsLatents, "test_weights_that_are_loaded_are_learned_from"),
    (Kind.OPTIMIZER, WritesAsItWas, "test_weights_that_are_loaded_are_learned_from"),
    (Kind.OPTIMIZER, PreparesItsState, "test_a_group_of_new_real_parameters_is_learned"),
    (Kind.OPTIMIZER, LooksAway, "test_what_signs_hide_is_noticed"),
    (Kind.OPTIMIZER, LooksAway, "test_what_goes_round_torchs_count_of_writes_is_refused"),
    (Kind.OPTIMIZER, CountsOnItsSchedule, "test_torchs_schedulers_work_or_are_refused"),
    (Kind.OPTIMIZER, RoundsItsLatents, "test_it_learns_in_half_precision_or_refuses"),
    (Kind.MODEL, Blurred, "test_its_binary_weights_are_exactly_signs"),
    (Kind.MODEL, Doubles, "test_its_segments_compose_to_it"),
    (Kind.MODEL, ClampsItsInput, "test_its_segments_compose_to_it"),
    (Kind.MODEL, ClampsAsAWhole, "test_every_parameter_gets_a_gradient"),
    (Kind.MODEL, Idle, "test_every_parameter_gets_a_gradient"),
    (Kind.MODEL, Peeks, "test_at_test_an_example_is_judged_by_itself"),
    (Kind.MODEL, Shapeless, "test_it_knows_the_shape_of_an_input"),
    (Kind.MODEL, TooWide, "test_logits_have_a_row_per_example_and_a_column_per_class"),
    (Kind.MODEL, AlwaysTheSame, "test_another_seed_gives_other_weights"),
    (Kind.MODEL, PartlyReal, "test_its_real_weights_are_named"),
    (Kind.MODEL, PartlyDrawn, "test_every_binary_weight_is_drawn"),
    (Kind.MODEL, Mixes, "test_a_task_keeps_what_was_measured_in_it"),
    (Kind.MODEL, Elsewhere, "test_the_global_state_is_left_alone"),
    (Kind.MODEL, Unsaved, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.MODEL, Centres, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.STREAM, CountsCalls, "test_an_interrupted_run_goes_on_bit_for_bit"),
    (Kind.STREAM, Endless, "test_tasks_are_numbered_and_end"),
    (Kind.STREAM, Leaks, "test_no_example_is_in_two_parts_of_a_task"),
    (Kind.STREAM, LeaksAcross, "test_no_test_example_is_learned_from_in_any_task"),
    (Kind.STREAM, LeaksACopy, "test_no_test_data_is_a_copy_of_what_is_learned_from"),
    (Kind.STREAM, LeaksACopyAcross, "test_no_test_data_is_a_copy_of_what_is_learned_from"),
    (Kind.STREAM, HidesAShare, "test_an_option_that_changes_the_data_changes_the_protocol"),
    (Kind.STREAM, HidesANumber, "test_an_option_that_changes_the_data_changes_the_protocol"),
    (Kind.STREAM, HidesASwitch, "test_an_option_that_changes_the_data_changes_the_protocol"),
    (Kind.STREAM, HidesAChoice, "test_an_option_that_changes_the_data_changes_the_protocol"),
    (Kind.STREAM, HidesALateSwitch, "test_an_option_that_changes_the_data_changes_the_protocol"),
    (Kind.STREAM, HidesAnUnknown, "test_an_option_that_changes_the_data_changes_the_protocol"),
    (Kind.STREAM, HidesAScale, "test_an_option_that_changes_the_data_changes_the_protocol"),
    (Kind.STREAM, AddsLossesUp, "test_the_loss_is_the_mean_of_the_batch"),
    (Kind.STREAM, Doubled, "test_batches_have_the_conventional_shapes"),
    (Kind.STREAM, Underlabelled, "test_labels_are_classes"),
    (Kind.STREAM, MasksByNumber, "test_labels_are_classes"),
    (Kind.STREAM, MasksUntold, "test_task_ids_are_given_exactly_where_declared"),
    (Kind.STREAM, Repeats, "test_no_example_is_in_two_parts_of_a_task"),
    (Kind.STREAM, Mislabelled, "test_labels_are_classes"),
    (Kind.STREAM, OddTypes, "test_batches_have_the_conventional_shapes"),
    (Kind.STREAM, TellsTheSeed, "test_the_protocol_is_data_and_does_not_hold_the_seed"),
    (Kind.STREAM, NoData, "test_the_protocol_is_data_and_does_not_hold_the_seed"),
    (Kind.STREAM, SaysNothing, "test_the_protocol_is_data_and_does_not_hold_the_seed"),
    (Kind.STREAM, SaysTheSame, "test_the_protocol_names_the_data_by_a_digest"),
    (Kind.STREAM, NumbersAllZero, "test_tasks_are_numbered_and_end"),
    (Kind.STREAM, Miscounts, "test_a_run_accepts_its_tasks"),
    (Kind.STREAM, ShowsAnotherShape, "test_a_run_accepts_its_tasks"),
    (Kind.STREAM, KnowsTheUnknown, "test_a_run_accepts_its_tasks"),
    (Kind.STREAM, LeaksACopy, "test_a_run_accepts_its_tasks"),
    (Kind.STREAM, Shuffles, "test_a_task_is_the_same_at_every_call"),
    (Kind.STREAM, Shuffles, "test_the_global_state_is_left_alone"),
    (Kind.STREAM, TellsTasks, "test_task_ids_are_given_exactly_where_declared"),
]


@pytest.mark.parametrize(("kind", "made"), RIGHT)
def test_a_component_that_is_right_passes_every_check(
    make_plugin: MakePlugin, kind: Kind, made: type
) -> None:
    assert not failures(make_plugin, kind, made)


@pytest.mark.parametrize(("kind", "made", "check"), WRONG, ids=lambda v: getattr(v, "__name__", v))
def test_a_component_that_is_wrong_fails_the_check_for_it(
    make_plugin: MakePlugin, kind: Kind, made: type, check: str
) -> None:
    assert check in failures(make_plugin, kind, made, only=check)


@pytest.mark.parametrize(
    ("fields", "check", "message"),
    [
        ({"source": " "}, "test_it_says_what_it_is_and_where_it_comes_from", "say which paper"),
        ({"summary": ""}, "test_it_says_what_it_is_and_where_it_comes_from", "summary is empty"),
        ({"top": "import torch"}, "test_the_entry_module_is_data_alone", "imports torch"),
        ({"top": "import os; os.chdir('/')"}, "test_the_entry_module_is_data_alone", "changes the"),
        ({"provides": ["posterior"]}, "test_its_capabilities_are_those_of_its_kind", "an? optimiz"),
        ({"made": "acme_none:Thing"}, "test_its_class_loads_and_is_documented", "does not load"),
    ],
    ids=["source", "summary", "torch", "folder", "capability", "target"],
)
def test_a_declaration_that_is_wrong_fails_the_check_for_it(
    make_plugin: MakePlugin, fields: dict[str, Any], check: str, message: str
) -> None:
    failed = failures(make_plugin, Kind.RULE, **{"made": Fine, "only": check, **fields})
    assert check in failed
    assert re.search(message, failed[check])


@pytest.mark.parametrize(
    ("made", "options", "fine"),
    [
        (Optional, "Option('strength', float, 1.0, 'How much.'),", True),
        (Indirect, "Option('strength', float, 1.0, 'How much.'),", True),
        (Optional, "Option('strength', float, 2.0, 'How much.'),", False),
        (Indirect, "Option('strength', float, 2.0, 'How much.'),", False),
        (Optional, "Option('strenght', float, 1.0, 'How much.'),", False),
        (Fine, "Option('strength', float, 1.0, 'How much.'),", False),
        (Indirect, "", True),
    ],
)
def test_options_are_compared_with_the_constructor_and_its_bases(
    make_plugin: MakePlugin, made: type, options: str, fine: bool
) -> None:
    check = "test_its_options_are_its_constructors_keywords"
    assert bool(failures(make_plugin, Kind.RULE, made, options=options, only=check)) is not fine


@pytest.mark.parametrize(
    ("kind", "made", "check", "excuse"),
    [
        (Kind.RULE, Usual, "test_the_loss_is_the_batchs_own", {"own_objective": True}),
        (Kind.RULE, Sums, "test_gradients_are_those_of_the_batch_mean", {"own_objective": True}),
        (
            Kind.MODEL,
            PartlyReal,
            "test_its_real_weights_are_named",
            {"real": {"segments.2.weight": "the last layer stays real"}},
        ),
        (
            Kind.OPTIMIZER,
            IgnoresADecay,
            "test_no_option_that_is_a_number_is_ignored",
            {"without_effect": {"decay": "kept for old configurations"}},
        ),
    ],
)
def test_a_contract_can_excuse_what_is_meant_so(
    make_plugin: MakePlugin, kind: Kind, made: type, check: str, excuse: dict[str, Any]
) -> None:
    assert not failures(make_plugin, kind, made, only=check, attributes=excuse)


@pytest.mark.parametrize(
    ("kind", "made", "check", "attribute", "name"),
    [
        (Kind.MODEL, FineModel, "test_its_real_weights_are_named", "real", "segments.9.weight"),
        (
            Kind.OPTIMIZER,
            FineOptimizer,
            "test_no_option_that_is_a_number_is_ignored",
            "without_effect",
            "lr",
        ),
    ],
)
def test_an_excuse_for_nothing_is_refused(
    make_plugin: MakePlugin, kind: Kind, made: type, check: str, attribute: str, name: str
) -> None:
    excuse = {attribute: {name: "gone"}}
    assert name in failures(make_plugin, kind, made, only=check, attributes=excuse)[check]


def test_sizes_may_shrink_in_every_step_whatever_was_loaded(make_plugin: MakePlugin) -> None:
    check = "test_weights_that_are_loaded_are_learned_from"
    assert not failures(make_plugin, Kind.OPTIMIZER, Decays, only=check)


def test_a_step_that_returns_no_loss_is_told_so(make_plugin: MakePlugin) -> None:
    check = "test_a_step_calls_the_closure_and_returns_a_loss"
    failed = failures(make_plugin, Kind.OPTIMIZER, ReturnsNothing, only=check)
    assert "must return the loss as a tensor; it returned None" in failed[check]


def test_a_default_outside_its_own_bounds_is_found(make_plugin: MakePlugin) -> None:
    options = "Option('strength', float, 1.0, 'How much.', minimum=2),"
    check = "test_its_defaults_are_within_their_own_bounds"
    assert failures(make_plugin, Kind.RULE, Optional, options=options, only=check)


PLUGIN_TEST = """
    from bnnlab.testing import LearningRuleContract

    class TestDFA(LearningRuleContract):
        name = "dfa"
        xfail = {"%s": "on purpose"}
"""
CHECK = "test_the_closure_overwrites_gradients"


def test_an_expected_failure_that_passes_is_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PLUGIN_TEST % CHECK)
    result = pytester.runpytest_inprocess("-k", "overwrites or finite")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*on purpose*"])


def test_an_expected_failure_is_expected(pytester: pytest.Pytester) -> None:
    broken = f"        def {CHECK}(self): assert False\n"
    pytester.makepyfile(PLUGIN_TEST % CHECK + broken)
    pytester.runpytest_inprocess("-k", "overwrites or finite").assert_outcomes(passed=1, xfailed=1)


def test_an_expected_failure_of_no_check_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PLUGIN_TEST % "test_nothing")
    result = pytester.runpytest_inprocess()
    result.stderr.fnmatch_lines(["*TestDFA.xfail: no check is called 'test_nothing'*"])


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        ('nam = "dfa"', '*TestDFA: say which component it checks: name = "..."*'),
        ('name = "dfa"; wait = 3', "*TestDFA.wait is not known: do you mean 'waits'?*"),
        ('name = "dfa"; fall_to = 0.9', "*TestDFA.fall_to is not known: do you mean 'falls_to'?*"),
    ],
)
def test_a_contract_that_is_not_what_it_seems_is_refused(
    pytester: pytest.Pytester, contract: str, message: str
) -> None:
    head = "from bnnlab.testing import LearningRuleContract\nclass TestDFA(LearningRuleContract):\n"
    pytester.makepyfile(f"{head}    {contract}\n    size = 3\n")
    pytester.runpytest_inprocess("--collect-only").stderr.fnmatch_lines([message])


def test_what_is_not_refused_is_told_in_words(make_plugin: MakePlugin) -> None:
    check = "test_what_signs_hide_is_noticed"
    said = failures(make_plugin, Kind.OPTIMIZER, LooksAway, only=check)[check]
    assert "a gradient of nan with a loss of 0.0 is not refused by look()" in said


def test_a_plugin_made_for_a_test_is_gone_after_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        import pytest

        @pytest.mark.parametrize("version", ["1.0", "2.0"])
        def test_versions(make_plugin, version):
            from bnnlab import PluginHost

            assert "acme" not in sys.modules
            make_plugin("acme", f"version = {version!r}", version=version)
            (plugin,) = [p for p in PluginHost().plugins if p.distribution == "acme"]
            assert plugin.version == version == sys.modules["acme"].version
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_importing_the_kit_loads_neither_torch_nor_pytest(pytester: pytest.Pytester) -> None:
    code = "import sys, bnnlab.testing; sys.exit('torch' in sys.modules or 'pytest' in sys.modules)"
    assert pytester.runpython_c(code).ret == 0
    code = "import sys, bnnlab.testing.pytest_plugin; sys.exit('torch' in sys.modules)"
    assert pytester.runpython_c(code).ret == 0
    code = "import bnnlab.testing; bnnlab.testing.Nothing"
    assert "no attribute 'Nothing'" in pytester.runpython_c(code).stderr.str()
