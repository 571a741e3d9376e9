"""The space that is searched."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from optuna.trial import BaseTrial

from bnnlab.settings.text import written


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included: any, only whole ones, or those of a step.

    With `log`, they are drawn on a log scale.
    """

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    def __str__(self) -> str:
        scale = ", log" if self.log else f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{scale}{', whole' if self.whole else ''}"

    def points(self) -> list[Any]:
        """Return all its numbers; none if they cannot be counted."""
        step = self.step or int(self.whole)
        count = int((self.high - self.low) / step + 1e-9) + 1 if step else 0
        return [self.low + step * place for place in range(count)]

    def of(self, trial: BaseTrial, name: str) -> Any:
        """Return a trial's number, drawn if the trial has none yet."""
        if self.whole:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(name, low, high, log=self.log, step=step)
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Values:
    """Values to choose from, without an order."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ", ".join(map(written, self.values))

    def labels(self) -> dict[Any, Any]:
        """Return the values by what stands for them in the study, which has no lists."""
        simple = (bool, int, float, str)
        return {it if isinstance(it, simple) else written(it): it for it in self.values}

    def points(self) -> list[Any]:
        """Return all of them, as the study has them."""
        return [*self.labels()]

    def of(self, trial: BaseTrial, name: str) -> Any:
        """Return a trial's value, drawn if the trial has none yet."""
        return self.labels()[trial.suggest_categorical(name, self.points())]


@dataclass(frozen=True)
class Dimension:
    """One setting that is searched.

    Attributes:
        name: In the study: `epochs`, `optimizer.lr`; `optimizer:meta.lr` where several optimizers
            are tried.
        key: Where it is in the settings of a run: `("optimizer", "lr")`.
        what: Its values.
        only: The component that it belongs to where several are tried; else None.
    """

    name: str
    key: tuple[str, ...]
    what: Range | Values
    only: str | None = None


@dataclass(frozen=True)
class Space:
    """All that is searched, in the order in which it is drawn: components before their options."""

    dimensions: tuple[Dimension, ...]

    def settings(self, trial: BaseTrial) -> dict[str, Any]:
        """Return the settings of a trial, nested as in a run file; draw what it does not have yet.

        An option of one component alone is drawn if this component was.
        """
        found: dict[str, Any] = {}
        for each in self.dimensions:
            *kind, last = each.key
            if each.only is None or found[kind[0]]["name"] == each.only:
                table = found.setdefault(kind[0], {}) if kind else found
                table[last] = each.what.of(trial, each.name)
        return found

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Return the settings of all choices of components, without options."""
        chosen = [each for each in self.dimensions if each.key[1:] == ("name",)]
        for names in product(*(each.what.points() for each in chosen)):
            yield {it.key[0]: {"name": name} for it, name in zip(chosen, names, strict=True)}
