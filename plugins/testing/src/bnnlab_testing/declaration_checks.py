"""What a component's declaration owes, and its class owes the declaration."""

import ast
import inspect
import os
import sys
from collections import ChainMap
from difflib import get_close_matches
from functools import cache
from textwrap import dedent
from typing import Any

import pytest

from bnnlab.errors import UsageError
from bnnlab.registry.components import CAPABILITIES
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.options import check_values
from bnnlab.registry.signatures import SignatureOptions, entries, options_of
from bnnlab.registry.source import FOREIGN, UnreadableError, read_class
from bnnlab.settings.layers import choose
from bnnlab_testing import fresh
from bnnlab_testing.asserting import refused
from bnnlab_testing.claim_checks import assert_claims_can_be_measured
from bnnlab_testing.component_contract import ComponentContract

_ENTRY = """
import sys
from bnnlab.guards.ambient import Keeper
from bnnlab.registry.discovery import find_plugins
keeper = Keeper()
with keeper.first_sight():
    for found in find_plugins():
        if (found.distribution, found.name) == (sys.argv[1], sys.argv[2]):
            module = found.entry_point.load()
            getattr(module, "bnnlab_components", list)()
keeper.put_back()
done = ["imports torch"] * ("torch" in sys.modules) + [f"changes {it}" for it in keeper.changed]
sys.exit(print(*done, sep=", ", file=sys.stderr) or 42 if done else 0)
"""

_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class DeclarationChecks(ComponentContract):
    """The part of every contract that is about the declaration."""

    def test_the_entry_module_is_data_alone(self) -> None:
        """It is imported at every start: it imports no torch, and changes nothing others share."""
        assert_entry_is_data(self.plugin)

    def test_its_claims_can_be_measured(self) -> None:
        """The cards in its plugin's claims.toml read, and the settings of both budgets fit."""
        assert_claims_can_be_measured(self.host, self.plugin)

    def test_it_says_what_it_is_and_where_it_comes_from(self) -> None:
        """A summary of one line, the paper or data set, and a sentence for every option."""
        assert self.component.summary.strip(), "the summary is empty"
        assert "\n" not in self.component.summary, "the summary has more than one line"
        assert self.component.source.strip(), "say which paper or data set it comes from: source="
        for option in self.component.options:
            assert option.help.strip(), (
                f"option {option.name} has no help: write what it means under Args: in the "
                f"docstring of {self.component.target}"
            )

    def test_its_capabilities_are_those_of_its_kind(self) -> None:
        """What the core's table gives to one kind is provided by that kind alone."""
        provided = [(name, str(self.kind)) for name in self.component.provides]
        for option in self.component.options:
            said = (*option.provides.values(), *option.withholds.values())
            provided += [(name, self.kind) for names in said for name in names]
            if part := option.part:
                provided += [(name, self.kind) for name in part.passes]
                provided += [(name, part.kind) for name in (*part.needs, *part.refuses)]
        for name, kind in provided:
            owner = CAPABILITIES.get(name, kind).partition(":")[0]
            assert owner == kind, f"{name!r} is provided by a {owner}, not {kind}"

    def test_its_defaults_are_within_their_own_bounds(self) -> None:
        """Every default, and every value worth trying, has the type and is in the range."""
        _, faults = check_values(self.component.options, {})
        assert not faults, "\n".join(faults)
        for option in self.component.options:
            for value in option.search or ():
                _, faults = check_values([option], {option.name: value})
                assert not faults, f"worth trying, but refused: {faults[0]}"
            if bounds := option.search_range:
                assert bounds[0] < bounds[1], f"{option.name}: no range goes from {bounds}"

    def test_its_class_loads_and_is_documented(self) -> None:
        """The target exists, derives from the interface of its kind and has its own docstring."""
        made, base = self.host.load(self.plugin, self.component), self.base
        assert isinstance(made, type), f"{self.component.target} is no class"
        public = f"{base.__module__.partition('.')[0]}.{base.__name__}"
        assert issubclass(made, base), f"{made.__name__} must derive from {public}"
        assert (vars(made).get("__doc__") or "").strip(), f"{made.__name__} has no docstring"

    def test_no_method_is_nearly_one_of_its_interface(self) -> None:
        """A misspelt method is never called: `epoch_end` for `epoch_ended`."""
        made = self.host.load(self.plugin, self.component)
        cores, own = set[str](), set[str]()
        for each in made.__mro__:
            names = cores if each.__module__.startswith("bnnlab.") else own
            is_foreign = each.__module__.partition(".")[0] in FOREIGN
            names |= set() if is_foreign else {name for name in vars(each) if name[0] != "_"}
        for name in own - cores:
            near = get_close_matches(name, cores - own, 1, cutoff=0.85)
            assert not near, (
                f"{made.__name__}.{name}() is never called by bnnlab; is it {near[0]}()? If not, "
                "give it a name that differs more"
            )

    def test_its_options_are_its_constructors_keywords(self) -> None:
        """Names and defaults are the constructor's, or its bases' through `**options`."""
        made = self.host.load(self.plugin, self.component)
        own, *inherited = [keywords for _, keywords in _constructors(made)]
        declared = {option.name: option.default for option in self.component.options}
        taken = dict(ChainMap(own, *inherited))
        for name, default in declared.items():
            assert name in taken, (
                f"option {name!r} is declared, but {made.__name__} has no such one"
            )
            effective = taken[name]
            assert _same(effective, default), f"{name}: declared {default!r}, really {effective!r}"
        others = own.keys() - declared.keys() - self.given - self.component.preset.keys()
        assert not others, (
            f"keywords of {made.__name__} that are no options: {', '.join(sorted(others))}. "
            "Annotate each with int, float, bool, str, None, list[...], Literal[...], a union of "
            "them, or Annotated[Maker | str, Part(KIND)] for a component, or fix its value by "
            "`preset`; if options are declared, declare it too"
        )
        doc = inspect.cleandoc(vars(made).get("__doc__") or "")
        explained = entries(doc.replace("\nAttributes:\n", "\nAlso:\n"))
        rest = inspect.signature(made.__init__).parameters.keys()
        ghosts = explained.keys() - taken.keys() - rest
        assert not ghosts, (
            f"the docstring of {made.__name__} explains what its constructor does not take: "
            f"{', '.join(sorted(ghosts))}. Correct the name, or remove the entry"
        )

    def test_its_options_are_read_without_importing_it(self) -> None:
        """The source file says what Python says of the class, if the options are not declared."""
        if not isinstance(self.component.options, SignatureOptions):
            pytest.skip("its options are declared")
        fixed = self.component.options.fixed
        made = self.host.load(self.plugin, self.component)
        try:
            read = options_of(read_class(self.component.target), fixed)
        except UnreadableError as error:
            raise AssertionError(
                f"its options are not plain in its source ({error}), so that `bnn info` has to "
                "import it; if that is right, say why in `xfail`"
            ) from error
        assert read == options_of(made, fixed), "its source says other options"

    def test_its_constructor_reads_every_option(self) -> None:
        """An option that the constructor takes and never reads would have no effect."""
        made = self.host.load(self.plugin, self.component)
        declared = {option.name for option in self.component.options} - self.without_effect.keys()
        for constructor, keywords in _constructors(made):
            read = _names_in(constructor)
            unread = [] if read is None else sorted(declared & keywords.keys() - read)
            assert not unread, (
                f"{constructor.__qualname__} does not read {', '.join(unread)}; if that is right, "
                "say why in `without_effect`"
            )

    def test_an_unknown_option_is_refused_by_name(self) -> None:
        """A misspelt option never passes in silence."""
        with refused(UsageError, "no_such_option", "an unknown option is not refused"):
            choose(self.host, self.kind, self.name, {"no_such_option": 1})


def assert_entry_is_data(plugin: Plugin) -> None:
    """Check that the import of a plugin's entry module imports no torch, and changes nothing."""
    path = os.pathsep.join(filter(None, sys.path))
    code, said = _import_entry(plugin.distribution, plugin.name, path)
    assert code != 42, f"the entry module of {plugin.name} {said}"
    assert code == 0, said


@cache
def _import_entry(distribution: str, entry: str, _path: str) -> tuple[int, str]:
    """Import a plugin's entry module in a fresh interpreter; return its exit code and errors."""
    done = fresh.run(_ENTRY, distribution, entry)
    return done.returncode, done.stderr


def _constructors(made: type) -> list[tuple[Any, dict[str, Any]]]:
    """Return the constructor, and those that its `**kwargs` lead to: (name -> default) of each."""
    found: list[tuple[Any, dict[str, Any]]] = []
    for base in made.__mro__:
        if "__init__" not in vars(base):
            continue
        constructor = vars(base)["__init__"]
        parameters = list(inspect.signature(constructor).parameters.values())[1:]
        keywords = {p.name: p.default for p in parameters if p.kind not in _STARRED}
        found.append((constructor, keywords))
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return found


def _names_in(function: Any) -> set[str] | None:
    """Return the names that a function reads; None if its source is not there."""
    try:
        tree = ast.parse(dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return None
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


def _same(effective: Any, declared: Any) -> bool:
    """Compare defaults; a tuple in the signature stands for a list, and no default for any."""
    if effective is inspect.Parameter.empty:
        return True
    if isinstance(declared, list) and isinstance(effective, list | tuple):
        return declared == list(effective)
    return bool(effective == declared) and isinstance(effective, bool) == isinstance(declared, bool)
