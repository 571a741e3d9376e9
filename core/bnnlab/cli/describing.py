"""Options as people read them: in `bnn info` and in the documents."""

from collections.abc import Iterable

from bnnlab.registry.components import Option
from bnnlab.registry.options import describe_type
from bnnlab.settings.text import written


def option_rows(options: Iterable[Option], path: str = "") -> list[tuple[str, str, str, str]]:
    """Return name, type, default and meaning of each option as text; names begin with `path`."""
    return [
        (
            path + option.name,
            type_of(option),
            written(option.default),
            (option.help + _conditions(option)).lstrip(),
        )
        for option in options
    ]


def type_of(option: Option) -> str:
    """Return the type of an option, or the kind of component that it is."""
    return describe_type(option.type) if option.part is None else option.part.kind


def _conditions(option: Option) -> str:
    said = [", ".join(option.says(name) for name in option.bounds)]
    if option.search:
        between = " to " if option.search_range else ", "
        said.append(f"tuned: {between.join(map(written, option.search))}")
    parts = [f" ({'; '.join(filter(None, said))})"] if any(said) else []
    for word, given in (
        ("requires", option.requires),
        ("provides", option.provides),
        ("does not provide", option.withholds),
    ):
        for value, names in given.items():
            parts.append(f" {written(value)} {word} {', '.join(names)}.")
    if option.part and option.part.needs:
        parts.append(f" It must provide {', '.join(option.part.needs)}.")
    if option.part and option.part.refuses:
        parts.append(f" It must not provide {', '.join(option.part.refuses)}.")
    if option.part and option.part.passes:
        parts.append(f" What it provides of {', '.join(option.part.passes)} is provided.")
    return "".join(parts)
