"""Layers of settings become one typed configuration, or a list of what is wrong with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli

from bnnlab.errors import UsageError
from bnnlab.registry.components import PARTS, Component, Kind, Option
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import as_table, read_toml, user_file
from bnnlab.registry.options import check_values, shown

RUN_OPTIONS = (
    Option("epochs", int, 1, "Passes over each task's training data.", minimum=1, below=2**31),
    Option("batch_size", int, 100, "Examples per step.", minimum=1, below=2**31),
    Option("seed", int, 0, "Root of all randomness.", minimum=0, below=2**63),
    Option("device", str, "auto", "'auto', 'cpu', 'cuda', 'cuda:1', 'mps'."),
    Option(
        "uncertainty",
        bool,
        False,
        "Whether calibration and out-of-distribution detection are measured; "
        "with a posterior they always are.",
    ),
    Option(
        "fresh",
        bool,
        False,
        "Whether a fresh model learns each task alone, for plasticity; it doubles the time.",
    ),
    Option(
        "diagnose",
        bool,
        False,
        "Whether the rule's gradient is compared with the exact one, per segment, in every epoch.",
    ),
    Option(
        "precision",
        Literal["float32", "bfloat16"],
        "float32",
        "Of the products in training; with bfloat16 weights and gradients stay float32.",
    ),
    Option(
        "compile",
        bool,
        False,
        "Whether each segment is compiled by torch.compile, which takes up to minutes at first.",
    ),
    Option(
        "checkpoint_minutes",
        float,
        10.0,
        "Minutes between checkpoints within an epoch or an evaluation; 0 for after every step.",
        minimum=0,
    ),
    Option("data", str | None, None, "Folder of the data sets; 'none' for the cache folder."),
    Option("out", str | None, "runs", "Folder that run folders are made in; 'none' for no files."),
    Option("name", str | None, None, "Name of the run's folder; 'none' for one that says what."),
)


@dataclass(frozen=True)
class Choice:
    """A component that was chosen, with all its options."""

    plugin: Plugin
    component: Component
    options: dict[str, Any]

    def __str__(self) -> str:
        return str(self.component)


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run."""

    choices: dict[Kind, Choice]
    epochs: int
    batch_size: int
    seed: int
    device: str
    uncertainty: bool
    fresh: bool
    diagnose: bool
    precision: str
    compile: bool
    checkpoint_minutes: float
    data: str | None
    out: str | None
    name: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as run.toml holds it: enough to repeat the run."""
        own = {option.name: getattr(self, option.name) for option in RUN_OPTIONS}
        tables = {
            str(kind): {
                "name": f"{choice.plugin.distribution}/{choice.component.name}",
                **choice.options,
            }
            for kind, choice in self.choices.items()
        }
        return {key: _toml(value) for key, value in {**own, **tables}.items()}


def _toml(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _toml(inner) for key, inner in value.items()}
    return "none" if value is None else value


Settings = Mapping[str, Any]
"""One layer: run options by name, and per kind a component's name or a table with `name`."""


def resolve(host: PluginHost, layers: Sequence[Settings]) -> RunConfig:
    """Merge layers, weakest first, over the registry's defaults, and check every value.

    A layer's options belong to the component it names; naming another one drops the options that
    weaker layers gave.

    Raises:
        UsageError: With everything that is wrong.
    """
    given = {key: v for layer in (host.index.defaults, *layers) for key, v in layer.items()}
    values, wrong = check_values(RUN_OPTIONS, given, what="setting", others=PARTS)
    faults = [fault + _origin(host, layers, fault) for fault in wrong]
    try:
        choices = resolve_components(host, layers, PARTS)
    except UsageError as error:
        raise UsageError(" ".join([*faults, str(error)])) from error.__cause__
    if faults:
        raise UsageError(" ".join(faults))
    return RunConfig(choices=choices, **values)


def resolve_components(
    host: PluginHost, layers: Sequence[Settings], kinds: Sequence[Kind]
) -> dict[Kind, Choice]:
    """Do `resolve` for the components of some kinds only; return their choices.

    Raises:
        UsageError: With everything that is wrong with these components.
    """
    faults: list[str] = []
    named: dict[Kind, str] = {}
    options: dict[Kind, dict[str, Any]] = {kind: {} for kind in Kind}
    for layer in (_qualified(host, host.index.defaults), _default_model(host, layers), *layers):
        for key, value in layer.items():
            if key not in list(Kind):
                continue
            kind = Kind(key)
            before, table = named.get(kind, ""), as_table(value)
            if table is None:
                faults.append(f"{key}: {shown(value)} is neither a name nor a table with one.")
                continue
            named[kind] = table.get("name", before)
            if not _is_same(before, named[kind]):
                options[kind] = {}
            options[kind].update({k: v for k, v in table.items() if k != "name"})
    choices: dict[Kind, Choice] = {}
    cause: BaseException | None = None
    for kind in kinds:
        if kind not in named:  # the one that is said is of another type: told above
            continue
        try:
            choices[kind] = choose(host, kind, named[kind], options[kind])
        except UsageError as error:
            faults.append(str(error) + _origin(host, layers, kind))
            cause = cause or error.__cause__
    if faults:
        raise UsageError(" ".join(faults)) from cause
    return choices


def _origin(host: PluginHost, layers: Sequence[Settings], fault: str) -> str:
    """Return where a fault's setting comes from if it is the user's registry alone."""
    key = fault.partition(":")[0]
    own = key in host.index.own and not any(key in layer for layer in layers)
    return f" It is said in {user_file()}." if own else ""


def _is_same(one: str, other: str) -> bool:
    """Compare component names, of which each may or may not say its distribution."""
    (one_in, _, one), (other_in, _, other) = one.rpartition("/"), other.rpartition("/")
    return one == other and (not one_in or not other_in or one_in == other_in)


def _qualified(host: PluginHost, defaults: Settings) -> Settings:
    """Name default components `distribution/name`: a namesake that is installed is not meant."""

    def qualify(key: str, value: Any) -> Any:
        table = as_table(value) or {}
        offering = host.index.offering(f"{key}:{table.get('name')}")
        return {**table, "name": f"{offering.distribution}/{table['name']}"} if offering else value

    return {key: qualify(key, value) for key, value in defaults.items()}


def _default_model(host: PluginHost, layers: Sequence[Settings]) -> Settings:
    """Return the model that the rule is used with where none is named, if it says one."""
    rules = [as_table(layer.get(Kind.RULE)) or {} for layer in (host.index.defaults, *layers)]
    said = [table["name"] for table in rules if "name" in table]
    try:
        plugin, rule = host.resolve(Kind.RULE, said[-1].partition(":")[0])
    except UsageError:
        return {}  # `resolve_components` says so
    if rule.default_model is None:
        return {}
    own = f"{Kind.MODEL}:{rule.default_model}" in map(str, plugin.components)
    return {Kind.MODEL: f"{plugin.distribution}/" * own + rule.default_model}


def choose(host: PluginHost, kind: Kind, name: str, given: Mapping[str, Any]) -> Choice:
    """Resolve a component and check its options.

    Args:
        host: The plugins.
        kind: Of the component.
        name: Its name, or `NAME:VALUE` where it takes an argument.
        given: Options by name.

    Raises:
        UsageError: If the name or an option is wrong.
    """
    name, colon, argument = name.partition(":")
    plugin, component = host.resolve(kind, name)
    if colon:
        if component.argument is None:
            raise UsageError(f"{kind} {name!r} takes no argument: leave out ':{argument}'.")
        if given.get(component.argument, argument) != argument:
            raise UsageError(
                f"{kind}.{component.argument} is said twice: {argument!r} by the name and "
                f"{given[component.argument]!r} by the option."
            )
        given = {component.argument: argument, **given}
    options, faults = check_values(component.options, given, f"{kind}.")
    if faults:
        raise UsageError(" ".join(faults))
    return Choice(plugin, component, options)


def parse_value(text: str) -> Any:
    """Return a TOML value, or the text itself if it is not one."""
    try:
        found = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):  # what is no TOML, and numbers and lists beyond reason
        return text
    return found["value"] if len(found) == 1 else text  # a line break begins another key


def read_config(path: Path) -> dict[str, Any]:
    """Read a run file (TOML)."""
    return read_toml(path)
