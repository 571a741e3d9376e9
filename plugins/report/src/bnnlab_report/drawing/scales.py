"""From values to places in a drawing, with ticks at round numbers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

Tick = tuple[float, str]
"""Its place, and what stands there."""
Ends = tuple[float, float]
"""What values are never below, and never above."""
MOST = 1e100
"""What is farther from 0 is drawn as this: sums of it stay finite."""
ANYTHING: Ends = (-MOST, MOST)


@dataclass(frozen=True)
class Scale:
    """A line of values between two places of a drawing.

    Attributes:
        low, high: The values at its ends.
        start, end: The places of its ends.
        values: Of its ticks.
    """

    low: float
    high: float
    start: float
    end: float
    values: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """Return the place of a value; of one beyond an end, the end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[Tick]:
        """Places of the ticks, and their numbers."""
        step = min((b - a for a, b in zip(self.values, self.values[1:], strict=False)), default=1)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(self(value), f"{value:.{digits}f}") for value in self.values]


def nice(
    values: Iterable[float], start: float, end: float, most: int = 6, within: Ends = ANYTHING
) -> Scale:
    """Return a scale that holds values, whose ends are round numbers.

    Args:
        values: What it holds.
        start: Place of its lower end.
        end: Place of its upper end.
        most: About how many ticks it has at most.
        within: Values that it does not go beyond, whatever it should hold.
    """
    every = [min(max(value, within[0]), within[1]) for value in values] or [0.0]
    low, high = min(every), max(every)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-300):
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    step = _step((high - low) / most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], start, end, ticks)


def whole(first: int, last: int, start: float, end: float, most: int = 10) -> Scale:
    """Return a scale of whole numbers, with half a step of room at its ends."""
    step = max(1, math.ceil(_step((last - first) / most))) if last > first else 1
    begin = first if step == 1 else math.ceil(first / step) * step
    ticks = tuple(float(value) for value in range(begin, last + 1, step))
    room = 0.5 if last - first < 20 else 0.02 * (last - first)
    return Scale(first - room, last + room, start, end, ticks)


def _step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten that is not below a number."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
