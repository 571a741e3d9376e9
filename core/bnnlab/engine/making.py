"""Make one component of any kind, and the components that it is made of."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bnnlab.errors import BnnlabError, StoppedError, UsageError, explain, place
from bnnlab.guards import ambient
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.probe import Probe
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.stream import TaskStream
from bnnlab.registry.components import Kind
from bnnlab.registry.given import Given
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import shown
from bnnlab.settings.layers import choose
from bnnlab.settings.run import Choice

BASES: dict[Kind, type] = {
    Kind.MODEL: Model,
    Kind.RULE: LearningRule,
    Kind.OPTIMIZER: Optimizer,
    Kind.STREAM: TaskStream,
    Kind.PROBE: Probe,
}


class Maker:
    """Makes a component that another one is made of: from the run's plugins, with its options.

    The constructor of the outer component gets a maker for each option that is a `Part`, and calls
    it with what a component of that kind is made with: `base(model, generator=generator)` for an
    optimizer, `base()` for a rule, which is not attached, `base(input_shape=, classes=,
    generator=)` for a model, `base(data=, device=, seed=)` for a stream.

    Attributes:
        kind: Of what it makes.
        name: The component's name, for messages.
        place: The option that it is the value of, as `optimizer.base`.
    """

    def __init__(self, host: PluginHost, choice: Choice, place: str) -> None:
        self._host, self._choice, self.place = host, choice, place
        self.kind, self.name = choice.component.kind, choice.component.name

    @classmethod
    def of(cls, kind: str, base: "Maker | str", **options: Any) -> "Maker":
        """Return a maker with further options; by a name, it finds the component itself.

        A run gives a maker. A name comes from a caller who makes the outer component by hand: it is
        looked up among all installed plugins.

        Raises:
            UsageError: If there is no such component or option, if an option has another value
                already, or if the maker is of another kind.
        """
        if isinstance(base, str):
            host = PluginHost()
            return cls(host, choose(host, Kind(kind), base, options), kind)
        if not isinstance(base, Maker) or base.kind != kind:
            raise UsageError(f"{shown(base)} is neither the name of a {kind} nor a maker of one")
        return base._having(options) if options else base

    def _having(self, options: dict[str, Any]) -> "Maker":
        before = self._choice
        usual = {option.name: option.default for option in before.component.options}
        given = {**before.settings, **options}
        after = choose(self._host, self.kind, before.name, given, self.place)
        for name in options:
            one, other = before.options[name], after.options[name]
            if one not in (usual[name], other):
                raise UsageError(
                    f"{self.place}.{name} is set twice: to {shown(one)} and to {shown(other)}. "
                    "Leave out one of them."
                )
        return Maker(self._host, after, self.place)

    def __call__(self, *arguments: Any, **given: Any) -> Any:
        """Make the component."""
        return make(self._host, self._choice, *arguments, at=self.place, **given)

    def __repr__(self) -> str:
        return f"<maker of {self._choice}>"


def make(host: PluginHost, choice: Choice, *arguments: Any, at: str = "", **given: Any) -> Any:
    """Make a component, which gets a `Maker` for each component that it is made of.

    Args:
        host: The plugins.
        choice: The component.
        arguments: What the core passes to its kind.
        at: The option that it is the value of, if it is one.
        given: More of `arguments`, by name.

    Raises:
        UsageError: If it is faulty, or fails; it is named.
    """
    made, component = host.load(choice.plugin, choice.component), choice.component
    if not isinstance(component, Given):
        _expect_class(choice, made)
    where = at or component.kind
    makers = {name: Maker(host, it, f"{where}.{name}") for name, it in choice.parts.items()}
    with named(choice, "when it was made"):
        found = made(*arguments, **given, **choice.keywords, **makers)
    base = BASES[component.kind]
    if not isinstance(found, base):
        raise UsageError(f"{choice} makes a {type(found).__name__}, and no bnnlab.{base.__name__}")
    return found


def _expect_class(choice: Choice, made: Any) -> None:
    base, target = BASES[choice.component.kind], choice.component.target
    who = f"{choice} of {choice.plugin.distribution}"
    if not (isinstance(made, type) and issubclass(made, base)):
        name = base.__name__
        raise UsageError(f"{who} is no {name}: {target} must derive from bnnlab.{name}")
    members = {name: getattr(made, name, None) for name in dir(made)}
    missing = [name for name, it in members.items() if getattr(it, "__isabstractmethod__", False)]
    if missing:
        raise UsageError(
            f"{who} has no method {', '.join(missing)}: {target} must define every "
            "abstract method of its base class"
        )


@contextmanager
def named(choice: Choice, when: str) -> Iterator[None]:
    """Turn whatever a component raises into an error that names it, and undo what it leaves."""
    where = f"{choice} of {choice.plugin.distribution}"
    try:
        with ambient.kept(f"{where}, {when},"):
            yield
    except (BnnlabError, StoppedError):
        raise
    except (Exception, SystemExit) as error:
        at = "" if isinstance(error, ValueError) else f" at {place(error)}"  # made for people
        raise UsageError(f"{where} failed {when}{at}: {explain(error)}") from error
