"""The space that is searched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from optuna.trial import BaseTrial

from bnnlab.settings.terms import BEARING
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

    def ends(self) -> list[Any]:
        """Return its lowest and its highest number."""
        return [int(end) if self.whole else end for end in (self.low, self.high)]

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

    def ends(self) -> list[Any]:
        """Return all of them."""
        return [*self.values]

    def of(self, trial: BaseTrial, name: str) -> Any:
        """Return a trial's value, drawn if the trial has none yet."""
        return self.labels()[trial.suggest_categorical(name, self.points())]


Key = tuple[str, ...]
"""Where something is in the settings of a run: `("optimizer", "base", "lr")`."""


@dataclass(frozen=True)
class Dimension:
    """One setting that is searched.

    Attributes:
        key: Where it is: `("optimizer", "lr")`, of the name of a component `("optimizer", "name")`.
        what: Its values.
        only: The components that it belongs to where several are tried: each with its place.
        when: The setting of the run that it belongs to where several values are tried, and those
            with which it does.
    """

    key: Key
    what: Range | Values
    only: tuple[tuple[Key, str], ...] = ()
    when: tuple[str, tuple[Any, ...]] | None = field(default=None, repr=False)

    @property
    def is_name(self) -> bool:
        """Whether it is a component, and none of its options."""
        return self.key[-1] == "name"

    @property
    def name(self) -> str:
        """As the study has it: `epochs`, `optimizer`, `optimizer.lr`.

        Where several optimizers are tried, it is `optimizer:meta.lr`.
        """
        key, only = self.key[:-1] if self.is_name else self.key, dict(self.only)
        told = ((part, only.get(key[:place])) for place, part in enumerate(key, 1))
        return ".".join(f"{part}:{name}" if name else part for part, name in told)

    def belongs(self, settings: Mapping[str, Any]) -> bool:
        """Return whether these settings choose what it belongs to."""
        if self.when and settings[self.when[0]] not in self.when[1]:
            return False
        for place, name in self.only:
            table: Any = settings
            for part in place:
                table = table.get(part, {})
            if table.get("name") != name:
                return False
        return True

    def put(self, settings: dict[str, Any], value: Any) -> None:
        """Write a value into settings, which are nested as in a run file."""
        for part in self.key[:-1]:
            settings = settings.setdefault(part, {})
        settings[self.key[-1]] = value


@dataclass(frozen=True)
class Space:
    """All that is searched, in the order in which it is drawn.

    Components come before their options, and settings before those that belong to their values.
    """

    dimensions: tuple[Dimension, ...]

    def settings(self, trial: BaseTrial) -> dict[str, Any]:
        """Return the settings of a trial, nested as in a run file; draw what it does not have yet.

        What belongs to one component or value alone is drawn if this was.
        """
        found: dict[str, Any] = {}
        for each in self.dimensions:
            if each.belongs(found):
                each.put(found, each.what.of(trial, each.name))
        return found

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Return the settings of all choices of components, without their options.

        With them go the settings of the run that bear on components, or on one another: each with
        all its values, a range with its ends.
        """
        chosen = [each for each in self.dimensions if each.is_name or each.key[0] in BEARING]
        for values in product(*(each.what.ends() for each in chosen)):
            found: dict[str, Any] = {}
            for each, value in zip(chosen, values, strict=True):
                if each.belongs(found):
                    each.put(found, value)
            yield found
