"""What a model is made of: its segments as a table, its conversion, what plugins say of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bnnlab.cli.console import print_out, print_table
from bnnlab.engine import building
from bnnlab.errors import UsageError
from bnnlab.interfaces.conversion import Conversion
from bnnlab.nn.summary import Counts, Segment, summarise
from bnnlab.registry.components import Section
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import Choice


@dataclass(frozen=True)
class Anatomy:
    """What a model is made of.

    Attributes:
        shape: Of one input, `C,H,W`.
        segments: In order.
        conversion: Of a converted model.
        sections: What plugins say, each with the plugin's name.
    """

    shape: str
    segments: Sequence[Segment]
    conversion: Conversion | None
    sections: Sequence[tuple[str, Section]]

    def document(self) -> dict[str, Any]:
        """Return it in JSON types."""
        return {
            "segments": [
                {"contents": row.contents, "output": list(row.output), **vars(row.counts)}
                for row in self.segments
            ],
            "conversion": None if self.conversion is None else asdict(self.conversion),
            "sections": [{"plugin": who, **asdict(section)} for who, section in self.sections],
        }

    def show(self) -> None:
        """Print it."""
        _print_segments(self.segments, self.shape)
        if self.conversion is not None:
            _print_part("Converted from a real network", str(self.conversion).splitlines())
        for _, section in self.sections:
            _print_part(section.title, section.lines)


def take_apart(
    host: PluginHost, choice: Choice, shape: str, classes: int, tokens: int | None
) -> Anatomy:
    """Build a model for inputs of shape `C,H,W`, and say what it is made of.

    With `tokens`, inputs are so many token ids, of shape `T`.

    Raises:
        UsageError: If the text is not a shape, or the model cannot be built for it.
    """
    input_shape = _shape(shape)
    try:
        model = building.make_model(
            host, choice, input_shape=input_shape, classes=classes, tokens=tokens, seed=0
        )
    except UsageError as error:
        raise UsageError(f"cannot build the model for --input {shape}: {error}") from error
    return Anatomy(shape, summarise(model), model.conversion, host.sections(model))


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UsageError(f"--input {text!r} is not a shape. Example for one input: 1,28,28")
    return shape


def _print_part(title: str, lines: Sequence[str]) -> None:
    print_out()
    print_out(f"{title}:")
    for each in lines:
        print_out(each, indent=2)


def _print_segments(rows: Sequence[Segment], shape: str) -> None:
    """Print the segments of a model in a table, with totals."""
    print_out()
    print_out(f"Segments for --input {shape}, with multiply-accumulates (MACs) per example:")
    total = sum((row.counts for row in rows), Counts())
    heads = ("", "contents", "output", "1-bit", "real", "1-bit MACs", "other MACs")
    lines = [
        (str(number), row.contents, "x".join(map(str, row.output)), *_cells(row.counts))
        for number, row in enumerate(rows, start=1)
    ]
    print_table(heads, [*lines, ("", "all", "", *_cells(total))], numbers=4)
    print_out(
        f"{100 * total.share:.1f} % of the parameters are binary: "
        f"{_short(total.bytes_packed)}B packed, {_short(total.bytes_unpacked)}B at float32"
    )


def _cells(counts: Counts) -> list[str]:
    return [_short(each) for each in vars(counts).values()]


def _short(number: int) -> str:
    """Return a number with three digits and a unit: 139 M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} "
