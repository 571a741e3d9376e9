"""Options as people read them: in `bnn info` and in the documents."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bnnlab.cli.console import line, print_described, print_out
from bnnlab.registry.components import Option
from bnnlab.registry.forms import Form, forms
from bnnlab.registry.options import describe_type
from bnnlab.settings.text import written


class Described(NamedTuple):
    """An option as text.

    Attributes:
        name: With the option that its component is, as `base.lr`.
        takes: Its type, its bounds, and what is worth trying.
        default: As it is typed.
        meaning: Its help, and what comes with its values.
    """

    name: str
    takes: str
    default: str
    meaning: str


def option_rows(options: Iterable[Option], path: str = "") -> list[Described]:
    """Return options as text; their names begin with `path`."""
    return [
        Described(path + each.name, _takes(each), written(each.default) or '""', _meaning(each))
        for each in options
    ]


def type_of(option: Option) -> str:
    """Return the type of an option, or the kind of component that it is."""
    return describe_type(option.type) if option.part is None else option.part.kind


def print_options(options: Sequence[Option], kind: str, path: str = "") -> None:
    """Print the options of a component: its own, then those that it shares with others.

    Args:
        options: All of them.
        kind: What the others are, in a sentence.
        path: What the names begin with.
    """
    if not options:
        print_out("It has no options.")
        print_out()
    for shared, title in ((False, "Options:"), (True, f"Options shared with other {kind}s:")):
        if rows := option_rows((each for each in options if each.shared is shared), path):
            print_out(title)
            print_described(
                [
                    (line((row.name, "bold"), f" = {row.default}"), row.takes, row.meaning)
                    for row in rows
                ]
            )
            print_out()


def _takes(option: Option) -> str:
    bounds = (option.says(name) for name in option.bounds)
    said = [", ".join([_words(option), *bounds])]
    if option.search:
        between = " to " if option.search_range else ", "
        said.append(f"tuned: {between.join(map(written, option.search))}")
    return "; ".join(said)


def _words(option: Option) -> str:
    """Return what an option takes: `float or none`, `max or avg, or a list of these`, `path`."""
    if option.part is not None:
        return option.part.kind
    every = forms(option.type)
    single = tuple(form for form in every if not form.items)
    lists = [form.items for form in every if form.items]
    words = _named(single, option.path)
    if len(words) > 1 and lists == [single]:
        return f"{_either(words)}, or a list of these"
    return _either([*words, *(f"list of {_either(_named(items, option.path))}" for items in lists)])


def _named(each: Iterable[Form], is_path: bool) -> list[str]:
    plain = {bool: ["true", "false"], str: ["path" if is_path else "text"]}
    return [
        word
        for form in each
        for word in [*map(written, form.values)] or plain.get(form.type, [str(form)])
    ]


def _either(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _meaning(option: Option) -> str:
    given = {
        "requires": option.requires,
        "provides": option.provides,
        "does not provide": option.withholds,
    }
    said = [option.help]
    for value in dict.fromkeys(option.values_with_capabilities):
        brings = (f"{word} {', '.join(its[value])}" for word, its in given.items() if value in its)
        said.append(f"{written(value)} {' and '.join(brings)}.")
    if option.part and option.part.needs:
        said.append(f"It must provide {', '.join(option.part.needs)}.")
    if option.part and option.part.refuses:
        said.append(f"It must not provide {', '.join(option.part.refuses)}.")
    if option.part and option.part.passes:
        said.append(f"What it provides of these is passed on: {', '.join(option.part.passes)}.")
    return " ".join(filter(None, said))
