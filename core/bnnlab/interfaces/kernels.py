"""Compiled loops in the place of torch's operations: what an optimizer says of itself, and they."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import Tensor

from bnnlab.errors import UsageError


@dataclass(frozen=True)
class Functions:
    """What formulas are made of, beside sums, products and quotients.

    Attributes:
        number: Makes a constant, in the type of the arrays.
        exp: The exponential function.
        sqrt: The square root.
        sign: -1 or +1, as the sign bit says: deployed weights are written so. -0 gives -1.
        logit: log(u / (1 - u)).
        normal: The Gaussian quantile of a u in (0, 1).
        where: `where(condition, a, b)` is a where the condition is true, else b.
        clip: `clip(x, low, high)` is x within these bounds; of NaN, NaN.
        part: Decorates a function that the functions of formulas call.
    """

    number: Callable[[float], Any]
    exp: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    sign: Callable[[Any], Any]
    logit: Callable[[Any], Any]
    normal: Callable[[Any], Any]
    where: Callable[[Any, Any, Any], Any]
    clip: Callable[[Any, Any, Any], Any]
    part: Callable[[Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class Formulas:
    """An optimizer's equations for one weight, as functions of numbers that return numbers.

    The same functions take arrays of NumPy: write no branches. `c` are the numbers that
    `Optimizer.numbers` returns. `state` is the weight, and what is kept for it.

    Attributes:
        states: What is kept for each weight: keys of what `Optimizer.formula_state` returns.
        learn: `learn(c, state, sums)` returns the next state. The sums are those of the terms of
            all draws; where nothing is drawn, the gradient of the batch-mean loss alone.
        draw: `draw(c, state, u)` returns a weight draw, and what `terms` needs of it, such as its
            noise: what `SummedDraws.draws` returns. u is uniform in (0, 1). None: the step learns
            at the deployed weights.
        keeps_noise: Whether `terms` needs something else of a draw than the weight itself.
        terms: `terms(noise, g)` returns what a draw gives, a tuple, g being the gradient of the
            batch-mean loss there.
        count: How many terms there are.
        counts_steps: Whether the numbers c differ from step to step, whatever the settings are.
    """

    states: tuple[str, ...]
    learn: Callable[..., tuple[Any, ...]]
    draw: Callable[..., tuple[Any, Any]] | None = None
    keeps_noise: bool = False
    terms: Callable[..., tuple[Any, ...]] | None = None
    count: int = 1
    counts_steps: bool = False


MakeFormulas = Callable[[Functions], Formulas]
"""Makes formulas of functions: a function of a module, so that what was compiled is found again."""


WholeSteps = Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]]
"""Makes N steps, each of one example, in one call.

It gets inputs `(N, ...)`, targets `(N,)` and the task, and returns the losses `(N,)` and the logits
`(N, K)` of the steps. The learning rates of all are those that the optimizer's groups have.
"""


class Kernels(ABC):
    """Loops of one optimizer's formulas, in the place of its own operations."""

    @abstractmethod
    def begin(self, optimizer: Any) -> None:
        """Begin a step, with new noise."""

    @abstractmethod
    def draws(
        self, optimizer: Any, group: dict[str, Any], parameter: Tensor, count: int
    ) -> tuple[Tensor, Tensor]:
        """Do what `SummedDraws.draws` does; a further call in a step gives further draws."""

    @abstractmethod
    def add(
        self, optimizer: Any, parameter: Tensor, noise: Tensor, grads: Tensor, is_first: bool
    ) -> list[Tensor]:
        """Return the terms of these draws, added to the sums of earlier ones unless `is_first`."""

    @abstractmethod
    def learn(
        self,
        optimizer: Any,
        group: dict[str, Any],
        parameter: Tensor,
        sums: Sequence[Tensor],
    ) -> None:
        """Update a learned parameter, and write its deployed weight."""

    @abstractmethod
    def whole_steps(self, run: Any) -> WholeSteps | str:
        """Return what makes whole steps of one example each, or why nothing can, in words.

        Args:
            run: The run whose optimizer has these kernels.
        """


class Compilable:
    """What every optimizer has for compiled loops.

    Attributes:
        formulas: The equations of a step for one weight; None: there are none, or not with the
            options that it has. The optimizer uses `kernels` wherever it has formulas. A subclass
            that changes a method says them again.
        kernels: The compiled loops that its steps use; None: torch's operations.
    """

    formulas: MakeFormulas | None = None
    kernels: Kernels | None = None

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if isinstance(vars(cls).get("formulas"), FunctionType):  # which would be a method
            cls.formulas = staticmethod(vars(cls)["formulas"])

    def numbers(
        self,
        group: dict[str, Any],  # noqa: ARG002
        parameter: Tensor,  # noqa: ARG002
        ahead: int = 1,  # noqa: ARG002
    ) -> Sequence[float]:
        """Return the numbers c of the `formulas` in a step.

        Args:
            group: The parameter group, with its settings.
            parameter: The learned parameter.
            ahead: Which step: 1 is the next one, 2 that after it; 0, within a step, is this one,
                which is counted.

        Raises:
            UsageError: If a subclass has formulas, and does not say this.
        """
        raise UsageError(
            f"{type(self).__name__} has formulas: write numbers(), which returns what they need"
        )

    def formula_state(self, parameter: Tensor) -> Mapping[str, Tensor]:
        """Return what formulas find for a parameter by their `states`, also what a step makes."""
        found: Mapping[str, Tensor] = self.state[parameter]  # type: ignore[attr-defined]
        return found

    def count_steps(self, steps: int) -> None:
        """Hear that compiled loops have made whole steps; by default nothing counts them."""
