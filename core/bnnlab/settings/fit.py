"""Which components fit together: every capability one requires, another must provide."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import TRACKING, Choice, RunConfig
from bnnlab.settings.text import written

log = logging.getLogger(__name__)

_NEAREST = 5  # alternatives in a message


@dataclass(frozen=True)
class Verdict:
    """Whether four components fit.

    Attributes:
        reasons: One line per unmet requirement; empty if they fit.
        alternatives: Changes of one option or of one component that would fit, as
            `--optimizer adam`; of a kind, the most similar name first.
    """

    reasons: tuple[str, ...]
    alternatives: tuple[str, ...] = ()

    @property
    def compatible(self) -> bool:
        """Whether every requirement is met."""
        return not self.reasons

    def nearest(self) -> str:
        """Return the first alternatives as one text, and how to see the others; may be empty."""
        text = " or ".join(self.alternatives[:_NEAREST])
        left = len(self.alternatives) - _NEAREST
        return f"{text} ({left} more: `bnn check --json` with these settings)" if left > 0 else text

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as the commands print it in JSON."""
        return {"compatible": self.compatible, **vars(self)}


def unmet(choices: Mapping[Kind, Choice]) -> tuple[str, ...]:
    """Return a line for each requirement that no other component meets."""
    abilities = {
        kind: choice.component.capabilities(choice.options) for kind, choice in choices.items()
    }
    lines = []
    for kind, (_, requires) in abilities.items():
        offered = {
            name
            for other, (provides, _) in abilities.items()
            if other is not kind
            for name in provides
        }
        lines += [
            f"{choices[kind]} requires {name!r}{_culprit(choices[kind], name)}"
            for name in sorted(requires - offered)
        ]
    return tuple(lines)


def _culprit(choice: Choice, capability: str) -> str:
    for option in choice.component.capability_options():
        value = choice.options[option.name]
        if not isinstance(value, list) and capability in option.requires.get(value, ()):
            return f" (because of {choice.component.kind}.{option.name}={written(value)})"
    return ""


def check(host: PluginHost, choices: Mapping[Kind, Choice]) -> Verdict:
    """Judge four components; if they do not fit, look for the nearest that do."""
    reasons = unmet(choices)
    return Verdict(reasons, tuple(_alternatives(host, choices)) if reasons else ())


def _alternatives(host: PluginHost, choices: Mapping[Kind, Choice]) -> list[str]:
    """Return single changes that fit: first of an option's value, then of a component."""
    found = _other_options(choices, tuple(choices))
    for kind, choice in choices.items():
        fitting = (
            other.component.name
            for other in _by_default(host, kind)
            if not unmet({**choices, kind: other})
        )
        own, names = choice.component.name, list(fitting)
        nearest = get_close_matches(own, names, n=len(names) + 1, cutoff=0)
        found += [f"--{kind} {name}" for name in nearest if name != own]
    return found


def _by_default(host: PluginHost, kind: Kind) -> list[Choice]:
    """Return all components of a kind, with the defaults of options that change what fits."""
    found = []
    for plugin, component in host.components(kind):
        try:
            options = {each.name: each.default for each in component.capability_options()}
        except UsageError as error:
            log.warning("%s of %s is left out: %s", component, plugin.distribution, error)
        else:
            found.append(Choice(plugin, component, options))
    return found


def _other_options(choices: Mapping[Kind, Choice], kinds: tuple[Kind, ...]) -> list[str]:
    """Return changes of a single option, of a component of these kinds, that fit."""
    found = []
    for kind in kinds:
        choice = choices[kind]
        for option in choice.component.capability_options():
            for value in dict.fromkeys([option.default, *option.requires, *option.provides]):
                if value == choice.options[option.name]:
                    continue
                options = {**choice.options, option.name: value}
                if not unmet({**choices, kind: replace(choice, options=options)}):
                    found.append(f"--set {kind}.{option.name}={written(value)}")
    return found


def require(host: PluginHost, config: RunConfig, why: str = "") -> None:
    """Refuse a run whose components do not fit, or whose trackers would see nothing.

    Args:
        host: All plugins.
        config: Of the run.
        why: What was found that makes a component require what it requires.

    Raises:
        UsageError: With every unmet requirement and what would fit.
    """
    if config.trackers:
        host.library(TRACKING, "bnnlab_tracking.plugin:bnnlab_run_started")
        if config.out is None:
            raise UsageError(
                "track: a tracker reads the files of a run, and out is none. Set out, the folder "
                'that runs are written to: --out runs, or out="runs" in Python.'
            )
    verdict = check(host, config.choices)
    if verdict.compatible:
        return
    advice = f" What would fit: {verdict.nearest()}" if verdict.alternatives else ""
    reasons = "; ".join(verdict.reasons) + (f", since {why}" if why else "")
    raise UsageError(f"these components do not fit together: {reasons}.{advice}")


def matrix(host: PluginHost, model: Choice, stream: Choice) -> list[tuple[Choice, Choice, Verdict]]:
    """Judge every (rule, optimizer) with default options.

    The alternatives are other options of the model and the stream.
    """
    found = []
    optimizers = _by_default(host, Kind.OPTIMIZER)
    for rule in _by_default(host, Kind.RULE):
        for optimizer in optimizers:
            choices = {
                Kind.RULE: rule,
                Kind.OPTIMIZER: optimizer,
                Kind.MODEL: model,
                Kind.STREAM: stream,
            }
            reasons = unmet(choices)
            others = _other_options(choices, (Kind.MODEL, Kind.STREAM)) if reasons else []
            found.append((rule, optimizer, Verdict(reasons, tuple(others))))
    return found
