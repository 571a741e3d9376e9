"""Which components fit together: every capability one requires, another must provide."""

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bnnlab.errors import UsageError, refuse
from bnnlab.registry.components import PARTS, Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.changing import changed
from bnnlab.settings.layers import fill
from bnnlab.settings.run import TRACKING, Choice, RunConfig
from bnnlab.settings.terms import faults, later, unfit
from bnnlab.settings.text import written

log = logging.getLogger(__name__)

_NEAREST = 5  # alternatives in a message

Choices = Mapping[Kind, Choice]
Offers = Mapping[Kind, Sequence[Choice]]
"""All components of each kind, with their defaults."""


@dataclass(frozen=True)
class Verdict:
    """Whether four components fit, and the settings of their run.

    Attributes:
        reasons: One line per unmet requirement; empty if they fit.
        alternatives: Changes of one option or of one component, as a shell reads them, with which
            all else that was said is accepted, as `--optimizer adam`; of a kind, the most similar
            name first. Those that need options to be left out come last, and name them.
        faults: What is wrong between the settings, a sentence each.
        later: What is checked only when a run begins, since it depends on what is made then.
    """

    reasons: tuple[str, ...]
    alternatives: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    later: tuple[str, ...] = ()

    @property
    def compatible(self) -> bool:
        """Whether every requirement is met, and the settings go together."""
        return not (self.reasons or self.faults)

    def nearest(self) -> str:
        """Return the first alternatives as one text, and how to see the others, or that none is."""
        if not self.alternatives:
            return "no change of one option or of one component"
        text = " or ".join(self.alternatives[:_NEAREST])
        left = len(self.alternatives) - _NEAREST
        return f"{text} ({left} more: `bnn check --json` with these settings)" if left > 0 else text

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as the commands print it in JSON."""
        return {"compatible": self.compatible, **vars(self)}


def unmet(choices: Choices) -> tuple[str, ...]:
    """Return a line for each requirement that nothing meets.

    What a component requires, another one of the run provides, of another kind. So it is with the
    components that it is made of. What it needs of these, they provide themselves.
    """
    provided = {kind: choice.capabilities()[0] for kind, choice in choices.items()}
    lines = []
    for top, choice in choices.items():
        for place, each in choice.within(top):
            who, kind = str(each) if each is choice else _part(place, each), each.component.kind
            offered = {name for other, its in provided.items() if other != kind for name in its}
            lines += [
                f"{who} requires {name!r}{_culprit(place, each, name)}{_taken(choices, kind, name)}"
                for name in sorted(each.capabilities()[1] - offered)
            ]
            for option, part, its in each.marked():
                what, has = _part(f"{place}.{option}", its), its.capabilities()[0]
                lines += [
                    f"{what} does not provide {name!r}, which {who} needs"
                    for name in sorted({*part.needs} - has)
                ]
                lines += [
                    f"{what} provides {name!r}, which {who} refuses"
                    for name in sorted({*part.refuses} & has)
                ]
    return tuple(lines)


def _part(place: str, choice: Choice) -> str:
    return f"{place}={choice.component.name}"


def _culprit(place: str, choice: Choice, capability: str) -> str:
    for option in choice.component.capability_options():
        value = choice.named[option.name]
        if not isinstance(value, list) and capability in option.requires.get(value, ()):
            return f" (because of {place}.{option.name}={written(value)})"
    return ""


def _taken(choices: Choices, kind: Kind, capability: str) -> str:
    """Say which values that are no defaults keep the other kinds from providing a capability."""
    taken = [
        f"{place}.{option.name}={written(value)}"
        for top, choice in choices.items()
        for place, each in choice.within(top)
        if each.component.kind != kind
        for option in each.component.capability_options()
        if (value := each.named[option.name]) != option.default
        if capability in option.provides.get(option.default, ())
        or capability in option.withholds.get(value, ())
    ]
    return f", which {' and '.join(taken)} does not provide" if taken else ""


def check(host: PluginHost, config: RunConfig) -> Verdict:
    """Judge a run by its settings, before anything is made.

    If its components do not fit, look for changes with which they do.
    """
    reasons = _reasons(config, config.choices)
    others = _alternatives(host, config) if reasons else ()
    return Verdict(reasons, others, faults(config), tuple(map(str, later(config))))


def _reasons(config: RunConfig, choices: Choices) -> tuple[str, ...]:
    return (*unmet(choices), *unfit(config, choices))


def _alternatives(host: PluginHost, config: RunConfig) -> tuple[str, ...]:
    found: dict[bool, list[str]] = {False: [], True: []}
    for flag, change in _changes(_offers(host), config.choices):
        outcomes = changed(host, config, change)
        left = next((left for left, its in outcomes if not _reasons(config, its)), None)
        if left is not None:
            text = f"{flag} without {' '.join(map(_set, left))}" if left else flag
            found[bool(left)].append(text)
    return (*found[False], *found[True])


def _changes(offers: Offers, choices: Choices) -> Iterator[tuple[str, str]]:
    """Yield changes of one option and of one component: as a flag, and as written after `--set`."""
    for kind in PARTS:
        for said, _ in _variants(offers, kind, choices[kind]):
            yield _set(said), said
    for kind, choice in choices.items():
        for other in _nearest(offers, choice):
            name = other.component.name
            yield f"--{kind} {shlex.quote(name)}", f"{kind}={name}"


def _set(said: str) -> str:
    return f"--set {shlex.quote(said)}"


def _offers(host: PluginHost) -> Offers:
    return {kind: [*_by_default(host, kind)] for kind in PARTS}


def _by_default(host: PluginHost, kind: Kind) -> Iterator[Choice]:
    """Yield all components of a kind with their defaults; the log names what cannot be used."""
    for plugin, component in host.components(kind):
        try:
            yield fill(host, plugin, component)
        except UsageError as error:
            log.warning("%s of %s is left out: %s", component, plugin.distribution, error)


def _nearest(offers: Offers, choice: Choice) -> list[Choice]:
    """Return the other components of a kind, the most similar name first."""
    own, every = choice.component.name, offers[choice.component.kind]
    others = {each.component.name: each for each in every if each.component.name != own}
    return [others[name] for name in get_close_matches(own, others, n=len(others) + 1, cutoff=0)]


def _variants(offers: Offers, place: str, choice: Choice) -> Iterator[tuple[str, Choice]]:
    """Yield a component with another value of an option, and what sets it; so for its parts."""
    for option in choice.component.capability_options():
        for value in dict.fromkeys([option.default, *option.values_with_capabilities]):
            if not option.part and value != choice.options[option.name]:
                said = f"{place}.{option.name}={written(value)}"
                yield said, choice.having(option.name, value)
    for name, part in choice.parts.items():
        inner = f"{place}.{name}"
        for said, other in _variants(offers, inner, part):
            yield said, choice.having(name, other)
        for other in _nearest(offers, part):
            yield _part(inner, other), choice.having(name, other)


def require(host: PluginHost, config: RunConfig, why: str = "") -> None:
    """Refuse a run whose components or settings do not fit, or that a tracker cannot show.

    Raises:
        UsageError: With all that is wrong, `why` there are more requirements than those declared,
            and what would fit.
    """
    if config.trackers:
        check_trackers = host.library(TRACKING, "bnnlab_tracking.checking:check")
        if config.out is None:
            raise UsageError(
                "track: a tracker reads the files of a run, and out is none. Set out, the folder "
                'that runs are written to: --out runs, or out="runs" in Python.'
            )
        check_trackers(host, config.trackers.values())
    verdict = check(host, config)
    told = [*verdict.faults]
    if verdict.reasons:
        reasons = "; ".join(verdict.reasons) + (f", since {why}" if why else "")
        told.append(
            f"these components do not fit together: {reasons}. What would fit: {verdict.nearest()}"
        )
    refuse(told, {})


def matrix(host: PluginHost, model: Choice, stream: Choice) -> list[tuple[Choice, Choice, Verdict]]:
    """Judge every (rule, optimizer) with default options.

    The alternatives are other options of the model and the stream.
    """
    found, offers = [], _offers(host)
    for rule in offers[Kind.RULE]:
        for optimizer in offers[Kind.OPTIMIZER]:
            choices = {
                Kind.RULE: rule,
                Kind.OPTIMIZER: optimizer,
                Kind.MODEL: model,
                Kind.STREAM: stream,
            }
            reasons = unmet(choices)
            others = [
                _set(said)
                for kind in (Kind.MODEL, Kind.STREAM)
                for said, other in _variants(offers, kind, choices[kind])
                if reasons and not unmet({**choices, kind: other})
            ]
            found.append((rule, optimizer, Verdict(reasons, tuple(others))))
    return found
