"""The space that is searched, as plain data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from bnnlab.settings.text import written


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included.

    Attributes:
        low: The least.
        high: The largest.
        log: Whether they are drawn on a log scale.
        step: Their distance; None for any number, or any whole number.
        whole: Whether they are whole numbers.
    """

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    def __str__(self) -> str:
        scale = ", log" if self.log else f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{scale}{', whole' if self.whole else ''}"

    def points(self) -> list[float] | None:
        """Return all its numbers; None if they are not counted out by a step."""
        if not self.whole and self.step is None:
            return None
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        return [self.low + step * place for place in range(count)]


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
    """All that is searched: components first, then their options.

    Attributes:
        dimensions: In the order in which they are drawn.
    """

    dimensions: tuple[Dimension, ...]

    def settings(self, draw: Callable[[Dimension], Any]) -> dict[str, Any]:
        """Return the settings of a trial, nested as in a run file.

        Args:
            draw: Returns the value of a dimension. It is asked for an option only if the option's
                component was drawn.
        """
        found: dict[str, Any] = {}
        for each in self.dimensions:
            if each.only is None or found[each.key[0]]["name"] == each.only:
                *tables, last = each.key
                place = found
                for table in tables:
                    place = place.setdefault(table, {})
                place[last] = draw(each)
        return found

    @property
    def components(self) -> list[Dimension]:
        """Those that choose a component."""
        return [each for each in self.dimensions if each.key[1:] == ("name",)]

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Return the settings of all choices of components, without options."""
        choices = [
            [(each.key[0], value) for value in each.what.values]
            for each in self.components
            if isinstance(each.what, Values)
        ]
        for chosen in product(*choices):
            yield {kind: {"name": name} for kind, name in chosen}
