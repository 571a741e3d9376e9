"""Options are read from signatures and docstrings, without importing what is read."""

import json
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Literal

import pytest

from bnnlab import Above, AtLeast, AtMost, Below, Component, Kind, Option, Search, UsageError, When
from bnnlab.cli import main
from bnnlab.registry.components import RESERVED
from bnnlab.registry.host import PluginHost
from bnnlab.registry.signatures import SignatureOptions, entries, options_of
from bnnlab.registry.source import UnreadableError, read_class
from bnnlab.settings.fit import matrix
from bnnlab.settings.layers import choose
from bnnlab.settings.schema import run_schema
from bnnlab_testing.pytest_plugin import MakePlugin

BASES = '''
"""Importing this fails, so whoever reads it does not import it."""
from abc import ABC
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, Generic
import torch
from torch import nn
from bnnlab import AtLeast
from bnnlab.markers import Positive as Size
from acme_read import bases as away
import acme_read.bases as again

raise RuntimeError

RATE = 2 * 0.05
Form = Literal["a", "b"]

class Root(nn.Module, ABC):
    """What all are.

    Args:
        lr: The rate.
        form: The form, of
            two words.

    Attributes:
        lr: Not this.
    """

    def __init__(self, model, generator, *, lr: Size = RATE, form: Form = "a", extra: bool = True,
                 like: torch.Tensor | None = None):
        pass

class Left(away.Root):
    def __init__(self, left: "int | None" = None, **rest: Any):
        super().__init__(extra=False, **rest)

class Right(again.Root, torch.nn.Module, Generic[TypeVar("T")]):
    """One.

    Args:
        right (int): A list.
    """

    def __init__(self, right: Sequence[Annotated[int, AtLeast(1)]] = (1, 2), **rest: Any):
        super().__init__(**rest)
'''
THING = '''
"""Is imported by nobody."""
from typing import Any
import acme_read.bases
from .bases import Right, Size, RATE as START

class Thing(acme_read.bases.Left, Right):
    """A thing.

    Args:
        size: How large.
        rest: Of the bases.
    """

    def __init__(self, first, /, size: Size = START, bare=3, none=None, data="", **rest: Any):
        super().__init__(**rest)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "acme_read"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError")
    (folder / "bases.py").write_text(BASES)
    (folder / "thing.py").write_text(THING)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_source_that_nobody_can_import_says_its_options(package: Path) -> None:
    assert [*SignatureOptions("acme_read.thing:Thing", frozenset({"data"}))] == [
        Option("size", float, 0.1, "How large.", above=0),
        Option("bare", int, 3, ""),
        Option("left", int | None, None, "", shared=True),
        Option("right", list[int], [1, 2], "A list.", minimum=1, shared=True),
        Option("lr", float, 0.1, "The rate.", above=0, shared=True),
        Option("form", Literal["a", "b"], "a", "The form, of two words.", shared=True),
    ]


def test_the_source_says_of_every_component_what_python_says_of_its_class() -> None:
    host = PluginHost()
    for plugin, component in host.components():
        fixed = RESERVED | component.preset.keys()
        made = host.load(plugin, component)
        found = options_of(read_class(component.target), fixed)
        assert found == options_of(made, fixed), component
        assert {option.name for option in component.options} <= {option.name for option in found}


def test_no_option_is_said_twice() -> None:
    for plugin, component in PluginHost().components():
        assert isinstance(component.options, SignatureOptions), f"{plugin.name} declares options"
        names = {option.name for option in component.options}
        said = [entries(each.__doc__ or "") for each in read_class(component.target).__mro__]
        texts = [(name, own[name]) for own in said for name in names & own.keys()]
        assert len(texts) == len({*texts}), f"{component}: a base class says the same of an option"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("from os import *\nclass Thing:\n    def __init__(self, x: Fine = 1): pass", "Fine"),
        ("def Thing(x: int = 1): pass", "Thing"),
        ("class Thing(type('A', (), {})):\n    pass", "Thing is no plain class"),
        ("@print\nclass Thing:\n    pass", "Thing is no plain class"),
        ("class Thing:\n    def __init__(self, x: int = len('abc' + 1)): pass", "concatenate"),
        (
            "import torch\nclass Thing:\n    def __init__(self, x: float = torch.pi): pass",
            "of x is",
        ),
        ("class Thing(A, B): pass\nclass A: pass\nclass B(A): pass", "method resolution"),
        (
            "X = 1\nX += 1\nclass Thing:\n    def __init__(self, x: int = X): pass",
            "plainly what 'X'",
        ),
        ("if 1:\n    X = 1\nclass Thing:\n    def __init__(self, x: int = X): pass", "'X'"),
        ("X = 1\nclass Thing:\n    X = 2\n    def __init__(self, x: int = X): pass", "of its own"),
        ("class Thing:\n    __init__ = print", "is no plain function"),
        ("class Thing", "expected ':'"),
        ("from acme_none import Thing", "acme_none has no source file"),
    ],
)
def test_what_a_source_does_not_say_plainly_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    (tmp_path / "acme_odd.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnreadableError, match=why):
        options_of(read_class("acme_odd:Thing"))


def test_what_cannot_be_read_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = '''
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import Annotated
        from bnnlab import AtMost

        @dataclass
        class Thing:
            """A thing.

            Attributes:
                size: How large.
            """

            size: Annotated[int, AtMost(3)] = 2
            other: Nowhere = None
    '''
    (tmp_path / "acme_made.py").write_text(dedent(source))
    (tmp_path / "acme_fails.py").write_text("@print\nclass Thing:\n    pass\n1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert [*SignatureOptions("acme_made:Thing")] == [
        Option("size", int, 2, "How large.", maximum=3)
    ]
    with pytest.raises(UsageError, match="acme_fails:Thing: ZeroDiv"):
        len(SignatureOptions("acme_fails:Thing"))


def test_an_option_of_unknown_type_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = "@lambda it: it\nclass Thing:\n    def __init__(self, size: 'Nowhere' = 0.1): pass"
    (tmp_path / "acme_unknown.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"acme_unknown:Thing: size: the type Nowhere cannot"):
        len(SignatureOptions("acme_unknown:Thing"))


@dataclass
class Settings:
    """Of a run.

    Attributes:
        epochs: Passes over the data.
        share: Of the
            data.

            More of it.
    """

    epochs: Annotated[int, AtLeast(0), Search(1, 2, 5), AtLeast(1)] = 1
    share: Annotated[float, Above(0), Below(1)] | list[Annotated[float, AtMost(2)]] = 0.5


def test_a_dataclass_says_its_options_too() -> None:
    assert options_of(Settings) == [
        Option("epochs", int, 1, "Passes over the data.", minimum=1, search=(1, 2, 5)),
        Option(
            "share",
            float | list[float],
            0.5,
            "Of the data. More of it.",
            above=0,
            below=1,
            maximum=2,
        ),
    ]


def test_entries_end_where_the_section_ends() -> None:
    doc = (
        "One.\n\nArgs:\n    a: It: this\n        is a.\n    *rest: More.\n\nRaises:\n    b: Never."
    )
    assert entries(doc) == {"a": "It: this is a."}


def test_capabilities_come_with_values(package: Path) -> None:
    when = (
        When("form", "a", provides={"gradients"}),
        When("form", "b", requires={"segments"}),
    )
    thing = Component(Kind.RULE, "thing", "acme_read.thing:Thing", "A thing.", "x", when=when)
    assert thing.capabilities({}) == ({"gradients"}, frozenset())
    assert thing.capabilities({"form": "b"}) == (frozenset(), {"segments"})


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (When("shape", "a", provides={"gradients"}), "'shape' is not one of its options"),
        (When("form", "c", provides={"gradients"}), "form: 'c' is not 'a' or 'b'"),
    ],
)
def test_capabilities_of_what_there_is_not_are_refused(
    package: Path, when: When, message: str
) -> None:
    thing = Component(Kind.RULE, "thing", "acme_read.thing:Thing", "A thing.", "x", when=(when,))
    with pytest.raises(UsageError, match=message):
        thing.capabilities({})


def test_a_component_that_nobody_can_read_is_left_out_by_name(
    make_plugin: MakePlugin,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = """
        from bnnlab import Component, Kind, When, hookimpl

        @hookimpl
        def bnnlab_components():
            when = (When("at", "a", requires={"segments"}),)
            return [Component(Kind.RULE, "odd", "acme_fails:Thing", "Odd.", "Nobody", when=when)]
    """
    make_plugin("acme-odd", dedent(source), modules={"acme_fails": "@print\nclass Thing: 1 / 0"})
    host = PluginHost()
    model, stream = choose(host, Kind.MODEL, "mlp", {}), choose(host, Kind.STREAM, "digits", {})
    assert all(rule.component.name != "odd" for rule, _, _ in matrix(host, model, stream))
    assert "rule:odd of acme-odd is left out: rule 'odd' of acme-odd 1.0 cannot" in caplog.text
    with pytest.raises(UsageError, match="acme_fails:Thing: ZeroDivisionError"):
        choose(host, Kind.RULE, "odd", {})
    assert "acme-odd" not in json.dumps(run_schema(host))
    assert "'odd' of acme-odd 1.0 cannot be loaded: acme_fails:Thing: ZeroDiv" in caplog.text
    assert main(["doctor", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)["plugins"]
    assert [each["distribution"] for each in said if each["faults"]] == ["acme-odd"]


def test_a_limit_without_its_number_is_named(package: Path) -> None:
    thing = """
        from typing import Annotated
        from bnnlab import Above

        class Thing:
            def __init__(self, size: Annotated[float, Above] = 1.0): pass
    """
    (package / "thing.py").write_text(dedent(thing))
    with pytest.raises(UsageError, match=r"Thing: size: Above needs its number: write Above\("):
        len(SignatureOptions("acme_read.thing:Thing"))


def test_a_keyword_without_a_default_is_named(package: Path) -> None:
    (package / "thing.py").write_text("class Thing:\n    def __init__(self, size: int): pass")
    with pytest.raises(UsageError, match=r"acme_read\.thing:Thing: size has no default"):
        len(SignatureOptions("acme_read.thing:Thing"))
