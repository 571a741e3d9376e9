"""A JSON schema of run files, with which editors complete and check them."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.components import MANY, PARTS, Component, Kind, Option
from bnnlab.registry.discovery import Plugin
from bnnlab.registry.forms import Form, forms
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import KINDS, MANY_HELP, RUN_OPTIONS

log = logging.getLogger(__name__)

Schema = dict[str, Any]

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "above": "exclusiveMinimum",
    "below": "exclusiveMaximum",
}
_RECIPE: Schema = {
    "description": "Of a recipe: what it is. Of a study: its recipe. A run does not read it.",
    "type": ["object", "string"],
    "properties": {
        **{key: {"type": "string"} for key in ("title", "reproduces", "paper", "figure")},
        "short": {"type": "object"},
    },
}

_STUDY = ("sweep", "engine", "tune", "table", "short")
"""What only files of studies have. A run refuses it; their commands check it."""


def run_schema(host: PluginHost) -> Schema:
    """Return the schema (draft 7) of a run file for the components of these plugins."""
    own = _table(
        RUN_OPTIONS,
        **{str(kind): _kind(host, kind) for kind in PARTS},
        **{str(kind): _many(host, kind) for kind in MANY},
        recipe=_RECIPE,
        **{name: {"description": "Of a study: a run refuses it."} for name in _STUDY},
    )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A run of bnnlab",
        **own,
    }


def _kind(host: PluginHost, kind: Kind) -> Schema:
    """Describe a component's name, or a table with it and options; it may be named elsewhere."""
    named = [form for found in _readable(host, kind) for form in _component(*found)]
    nameless = {"type": "object", "not": {"required": ["name"]}}
    return {"description": KINDS[kind], "anyOf": [*named, nameless]}


def _readable(host: PluginHost, kind: Kind) -> Iterator[tuple[Plugin, Component]]:
    """Yield the components of a kind whose options can be read; the log names the others."""
    for plugin, component in host.components(kind):
        try:
            host.options(plugin, component)
        except UsageError as error:
            log.warning("%s. The schema is without it", str(error).rstrip("."))
        else:
            yield plugin, component


def _component(plugin: Plugin, component: Component) -> tuple[Schema, Schema]:
    """Describe the name of a component, and a table of its name and options."""
    name: Schema = {"enum": _spellings(plugin, component)}
    if component.argument is not None:
        with_argument = [{"type": "string", "pattern": f"^{each}:"} for each in name["enum"]]
        name = {"anyOf": [name, *with_argument]}
    name["description"] = component.summary
    return name, {**_table(component.options, name=name), "required": ["name"]}


def _many(host: PluginHost, kind: Kind) -> Schema:
    """Describe a component of a kind, an array of them, or a table of options per name."""
    found = [*_readable(host, kind)]
    one = [form for each in found for form in _component(*each)]
    tables = {
        name: {"description": component.summary, **_table(component.options)}
        for plugin, component in found
        for name in _spellings(plugin, component)
    }
    several: Schema = {"type": "array", "items": {"anyOf": one}}
    return {"description": MANY_HELP[kind], "anyOf": [*one, several, _table((), **tables)]}


def _spellings(plugin: Plugin, component: Component) -> list[str]:
    return [component.name, f"{plugin.distribution}/{component.name}"]


def _table(options: Sequence[Option], **more: Schema) -> Schema:
    """Describe a table of options and of more, which has no other entry."""
    return {
        "type": "object",
        "properties": {**more, **{option.name: _option(option) for option in options}},
        "additionalProperties": False,
    }


def _option(option: Option) -> Schema:
    bounds = {_BOUNDS[name]: bound for name, bound in option.bounds.items()}
    default = "none" if option.default is None else option.default
    about: Schema = {"description": option.help, "default": default}
    if option.part:  # a reference alone would hide what is said beside it
        return {**about, "allOf": [{"$ref": f"#/properties/{option.part.kind}"}]}
    return {**about, **_type(forms(option.type), bounds)}


def _type(ways: Sequence[Form], bounds: Schema) -> Schema:
    """Describe the forms of an option's values as run files write them: `none` for None."""
    every = [_form(each, bounds) for each in ways]
    return every[0] if len(every) == 1 else {"anyOf": every}


def _form(form: Form, bounds: Schema) -> Schema:
    if form.values:
        return {"enum": [*form.values]}
    if form.items:
        return {"type": "array", "items": _type(form.items, bounds)}
    return {"type": _TYPES[form.type], **(bounds if form.type in (int, float) else {})}
