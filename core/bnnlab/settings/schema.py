"""A JSON schema of run files, with which editors complete and check them."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from bnnlab.registry.components import PARTS, Component, Kind, Option
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import KINDS, PROBE_HELP, RUN_OPTIONS

Schema = dict[str, Any]

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "above": "exclusiveMinimum",
    "below": "exclusiveMaximum",
}
_RECIPE: Schema = {
    "description": "Only in a recipe: what it is.",
    "type": "object",
    "properties": {"title": {"type": "string"}, "reproduces": {"type": "string"}},
}


def run_schema(host: PluginHost) -> Schema:
    """Return the schema (draft 7) of a run file for the components of these plugins."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A run of bnnlab",
        "type": "object",
        "properties": {
            **{str(kind): _kind(host, kind) for kind in PARTS},
            **{option.name: _option(option) for option in RUN_OPTIONS},
            "probe": _probes(host),
            "recipe": _RECIPE,
        },
        "additionalProperties": False,
    }


def _kind(host: PluginHost, kind: Kind) -> Schema:
    """Describe a component's name, or a table with it and options; it may be named elsewhere."""
    named = [form for found in host.components(kind) for form in _component(*found)]
    nameless = {"type": "object", "not": {"required": ["name"]}}
    return {"description": KINDS[kind], "anyOf": [*named, nameless]}


def _probes(host: PluginHost) -> Schema:
    """Describe the names of probes, or a table of options per probe."""
    tables = {
        name: {
            "description": component.summary,
            "type": "object",
            "properties": {option.name: _option(option) for option in component.options},
            "additionalProperties": False,
        }
        for plugin, component in host.components(Kind.PROBE)
        for name in (component.name, f"{plugin.distribution}/{component.name}")
    }
    names = {"type": "array", "items": {"enum": list(tables)}}
    table = {"type": "object", "properties": tables, "additionalProperties": False}
    return {"description": PROBE_HELP, "anyOf": [names, table]}


def _component(plugin: Plugin, component: Component) -> tuple[Schema, Schema]:
    """Describe the name of a component, and a table of its name and options."""
    names = [component.name, f"{plugin.distribution}/{component.name}"]
    name: Schema = {"enum": names}
    if component.argument is not None:
        name = {"anyOf": [name, *({"type": "string", "pattern": f"^{each}:"} for each in names)]}
    name["description"] = component.summary
    options = {option.name: _option(option) for option in component.options}
    return name, {
        "type": "object",
        "properties": {"name": name, **options},
        "required": ["name"],
        "additionalProperties": False,
    }


def _option(option: Option) -> Schema:
    bounds = {
        word: bound
        for name, word in _BOUNDS.items()
        if (bound := getattr(option, name)) is not None
    }
    default = "none" if option.default is None else option.default
    return {"description": option.help, "default": default, **_type(option.type, bounds)}


def _type(kind: Any, bounds: Mapping[str, float]) -> Schema:
    """Describe an option's type as run files write it: `none` for None."""
    if kind in (None, NoneType):
        return {"const": "none"}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) in (Union, UnionType):
        return {"anyOf": [_type(part, bounds) for part in get_args(kind)]}
    if get_origin(kind) is list:
        return {"type": "array", "items": _type(get_args(kind)[0], bounds)}
    return {"type": _TYPES[kind], **(bounds if kind in (int, float) else {})}
