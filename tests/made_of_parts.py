"""Components that are made of components, and a plugin that offers them."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from bnnlab import (
    Batch,
    FilePath,
    LearningRule,
    Maker,
    Model,
    Optimizer,
    OptimizerAround,
    Part,
    Positive,
    Probe,
    Search,
)

PLUGIN = """
from bnnlab import Component, Kind, When, hookimpl

def made(kind, name, of, **more):
    return Component(Kind(kind), name, f"made_of_parts:{of}", "A thing.", "Nobody, 2020", **more)

@hookimpl
def bnnlab_components():
    plain = frozenset({"gradients"})
    return [
        made("optimizer", "around", "Around", requires=plain),
        made("optimizer", "endless", "Endless", requires=plain),
        made("rule", "outer", "Outer"),
        made("rule", "inner", "Inner", provides=plain, when=(
            When("form", "at-draws", provides={"reevaluable"}),
            When("form", "taught", requires={"task-ids"}),
        )),
        made("rule", "bare", "Inner"),
        made("rule", "odd", "Inner", provides=plain | {"x-acme-parts:odd"}),
        made("rule", "picky", "Picky", provides=plain, when=(
            When("form", "narrow", withholds={"any-loss"}),
        )),
        made("probe", "watch", "Watch"),
    ]
"""


class Around(OptimizerAround):
    """Multiplies gradients.

    Args:
        factor: Of the gradients.
        note: A file that it is given.
        base: Makes the steps.
    """

    def __init__(
        self,
        model: Model,
        *,
        generator: torch.Generator,
        factor: Annotated[Positive, Search(0.1, 10.0)] = 1.0,
        note: FilePath = "",
        base: Annotated[Maker | str, Part("optimizer", passes=("latent-weights",))] = "sgd",
    ) -> None:
        made = self.make_base(base, model, generator)
        super().__init__(model, made, settings={"factor": factor})

    def make_base(self, base: Maker | str, model: Model, generator: torch.Generator) -> Optimizer:
        """Make the base."""
        made: Optimizer = Maker.of("optimizer", base)(model, generator=generator)
        return made

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        def changed() -> Tensor:
            loss = closure()
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(group["factor"])
            return loss

        return self.base.step(changed)


class Endless(Around):
    """Its base is its own kind."""

    def __init__(
        self,
        model: Model,
        *,
        base: Annotated[Maker | str, Part("optimizer")] = "endless",
        **rest: Any,
    ) -> None:
        super().__init__(model, base=base, **rest)


class Inner(LearningRule):
    """Autograd.

    Args:
        form: How.
    """

    def __init__(self, form: Literal["plain", "at-draws", "taught"] = "plain") -> None:
        super().__init__()
        self.form = form

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        torch.autograd.backward(loss)
        return loss, logits


class Outer(LearningRule):
    """Lets another rule do it.

    Args:
        base: Does it.
    """

    def __init__(
        self,
        *,
        base: Annotated[
            Maker | str,
            Part("rule", passes=("gradients", "reevaluable", "x-*"), needs=("gradients",)),
        ] = "inner",
    ) -> None:
        super().__init__()
        self.base = Maker.of("rule", base)()

    def attach(self, model: Model, generator: torch.Generator) -> None:
        self.base.attach(model, generator)

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.base.differentiate(model, batch)
        return found


class Picky(Outer):
    """Takes no rule that may be called again.

    Args:
        form: How.
        base: Does it.
    """

    def __init__(
        self,
        *,
        form: Literal["wide", "narrow"] = "wide",
        base: Annotated[
            Maker | str, Part("rule", passes=("any-loss",), refuses=("reevaluable",))
        ] = "inner",
    ) -> None:
        super().__init__(base=base)


class Watch(Probe):
    """Says of which form a rule is.

    Args:
        base: The rule.
    """

    def __init__(self, *, base: Annotated[Maker | str, Part("rule")] = "inner") -> None:
        self.base = Maker.of("rule", base)()

    def measures(self) -> dict[str, Any]:
        return {"watched": self.base.form}
