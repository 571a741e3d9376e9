"""What a plugin offers, components and commands, as plain data. Nothing here imports torch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from bnnlab.registry.declaration import Option as Option
from bnnlab.registry.declaration import When
from bnnlab.registry.signatures import SignatureOptions

CAPABILITIES: Mapping[str, str] = {
    "binary-weights": "model: named parameters that are exactly -1 or +1 when deployed",
    "real-weights": "model: every weight is real",
    "segments": "model: a chain of at least two modules whose composition is the network",
    "token-inputs": "model: takes token ids, and is told how many there are, `tokens`",
    "gradients": "rule: the closure leaves the mean loss's gradient, or a surrogate, in .grad",
    "reevaluable": "rule: the closure may be called repeatedly in a step, at other weights",
    "any-loss": "rule: learns from the batch's loss alone, whatever targets and outputs are",
    "class-losses": "rule: takes any loss of a class per input, and learns from the class, too",
    "whole-batch": "rule: the gradient of a batch is not the mean of those of its examples",
    "recalls": "rule: chooses itself what a step learns from: past examples, or another loss",
    "latent-weights": "optimizer: keeps latent weights, and moves them by the gradients given",
    "posterior": "optimizer: weights are a distribution that predictive(n) draws from",
    "boundaries": "stream: the beginning and the end of a task are announced",
    "task-ids": "stream: the task is known at test time",
    "token-ids": "stream: inputs are token ids",
}
"""The core's names, and who provides them; a plugin's own are written `x-<distribution>:<name>`."""

RESERVED = frozenset(
    {"name", "data", "device", "seed", "host", "model", "generator"}
    | {"input_shape", "classes", "tokens"}
)
"""Names with another meaning in constructors, run files and `bnnlab.create`."""


@dataclass(frozen=True)
class Section:
    """What a plugin says of a model.

    Attributes:
        title: One line.
        lines: For people.
        data: The same in JSON types.
    """

    title: str
    lines: Sequence[str]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """A command that a plugin adds: `bnn NAME ...`.

    Attributes:
        name: Lower case, as typed after `bnn`.
        target: `package.module:attribute`, imported when the command is called: a function whose
            parameters typer understands, or a `typer.Typer` for a command with commands below it.
        summary: One line, for `bnn --help`.

    Raises:
        ValueError: On a malformed name or target.
    """

    name: str
    target: str
    summary: str
    kind: ClassVar[str] = "command"

    def __post_init__(self) -> None:
        _check(self.kind, self)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Kind(StrEnum):
    """The kinds of component."""

    MODEL = "model"
    RULE = "rule"
    OPTIMIZER = "optimizer"
    STREAM = "stream"
    PROBE = "probe"
    TRACKER = "track"
    ENGINE = "engine"


PARTS = (Kind.MODEL, Kind.RULE, Kind.OPTIMIZER, Kind.STREAM)
"""What a run has one of each of."""
MANY = (Kind.PROBE, Kind.TRACKER)
"""What a run has any number of. An engine carries runs out, and is no part of one."""


def noun(kind: str) -> str:
    """Return a kind's name in a sentence; the setting of a tracker is a verb."""
    return "tracker" if kind == Kind.TRACKER else kind


@dataclass(frozen=True)
class Component:
    """A model, rule, optimizer, stream, probe, tracker or engine that a plugin offers.

    Attributes:
        kind: The kind of component.
        name: Lower case, as typed on the command line.
        target: `package.module:Class`, imported on first use.
        summary: One line.
        source: The paper (authors, title, venue, year) or data set it comes from.
        options: Declared options; by default the keywords of the constructor.
        when: Capabilities that depend on option values, if no options are declared.
        provides: Capabilities it always has.
        requires: Capabilities that another component of the run must have.
        preset: Keywords of the constructor that this name fixes, e.g. the data set of
            `permuted-mnist`; they are not options.
        argument: Name of the option that `NAME:VALUE` sets, e.g. `torchvision:resnet18`.
        default_model: For a rule: the model of a run that names no model; stronger than the
            registry's default. A rule without one has that of a rule that it is made of.
        state_bytes: For an optimizer: bytes of state per learned weight, at float32 and with the
            default options, in addition to the weight in the model.
        measures: For a probe: unit or range (`0 to 1`, `from 0`, `nats, from 0`) and meaning of
            each of its results by name, and of parts of them by dotted name (`mine.part`).
            bnnlab-studies shows intervals cut at the ends of a range.

    Raises:
        ValueError: On a malformed name or target, an unknown capability, a repeated or reserved
            option name (`RESERVED`), or an argument that is not an option. For options in a
            signature: `UsageError`, when they are read.
    """

    kind: Kind
    name: str
    target: str
    summary: str
    source: str
    options: Sequence[Option] = field(default_factory=SignatureOptions)
    provides: frozenset[str] = frozenset()
    requires: frozenset[str] = frozenset()
    preset: Mapping[str, Any] = field(default_factory=dict)
    argument: str | None = None
    default_model: str | None = None
    state_bytes: int | None = None
    when: tuple[When, ...] = ()
    measures: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", Kind(self.kind))
        _check("component", self)
        if isinstance(self.provides, str) or isinstance(self.requires, str):
            raise ValueError(f"{self}: provides and requires are sets of names, not a name")
        if isinstance(self.options, SignatureOptions):
            fixed = RESERVED | self.preset.keys()
            options = SignatureOptions(self.target, fixed, self.when, self.argument)
            object.__setattr__(self, "options", options)
        else:
            self._check_declared()
        self._expect_known(self._all_capabilities())

    def _check_declared(self) -> None:
        names = [option.name for option in self.options]
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise ValueError(f"{self}: option {repeated.pop()!r} is declared twice")
        taken = sorted(RESERVED & {*names})
        if taken:
            raise ValueError(
                f"{self}: the core reserves the option name {taken[0]!r}; choose another"
            )
        if self.argument is not None and self.argument not in names:
            raise ValueError(f"{self}: argument {self.argument!r} is not one of its options")
        if self.when:
            raise ValueError(f"{self}: a declared Option says itself what it provides and requires")

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    def _all_capabilities(self) -> set[str]:
        found = {*self.provides, *self.requires}
        for when in self.when:
            found |= {*when.provides, *when.requires, *when.withholds}
        for option in () if isinstance(self.options, SignatureOptions) else self.options:
            for given in (option.provides, option.requires, option.withholds):
                found.update(*given.values())
        return found

    def _expect_known(self, capabilities: Iterable[str]) -> None:
        for capability in capabilities:
            if capability not in CAPABILITIES and not capability.startswith("x-"):
                known = ", ".join(CAPABILITIES)
                raise ValueError(
                    f"{self}: unknown capability {capability!r}; the core's are {known}; "
                    f"your own begin with 'x-'"
                )

    def check_parts(self) -> None:
        """Check what the options say that are components themselves; this reads the options.

        Raises:
            ValueError: On a kind of which a run has not one, on an unknown capability, and if this
                component is not made in a run's process.
        """
        for option in self.options:
            if option.part is None:
                continue
            if option.part.kind not in PARTS:
                kinds = ", ".join(PARTS)
                raise ValueError(f"{option.name}: Part({option.part.kind!r}): choose from {kinds}")
            if self.kind not in (*PARTS, Kind.PROBE):
                raise ValueError(f"{option.name}: a {noun(self.kind)} is made of no components")
            part = option.part
            self._expect_known((*part.passes, *part.needs, *part.refuses))

    def capability_options(self) -> list[Option]:
        """Return the options whose values provide or require; without any, no source is read."""
        if isinstance(self.options, SignatureOptions) and not self.when:
            return []
        return [option for option in self.options if option.values_with_capabilities]

    def capabilities(
        self, options: Mapping[str, Any], passed: Iterable[str] = ()
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Return what it (provides, requires) with these values, and what its parts pass on."""
        provides, requires, withheld = {*self.provides, *passed}, {*self.requires}, set[str]()
        for option in self.capability_options():
            value = options.get(option.name, option.default)
            if not isinstance(value, list):
                provides.update(option.provides.get(value, ()))
                requires.update(option.requires.get(value, ()))
                withheld.update(option.withholds.get(value, ()))
        return frozenset(provides - withheld), frozenset(requires)


def _check(what: str, offer: Component | Command) -> None:
    """Raise ValueError on a malformed name or target."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", offer.name):
        raise ValueError(f"{what} name {offer.name!r}: use a-z, 0-9, '.', '_' and '-'")
    if not re.fullmatch(r"[\w.]+:\w+", offer.target):
        raise ValueError(f"{offer}: target {offer.target!r} is not 'package.module:attribute'")
