"""Recipes: run files in the folder `recipes` of a plugin's package."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from bnnlab.errors import NotInstalledError, UsageError, did_you_mean
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import read_toml


@dataclass(frozen=True)
class Recipe:
    """A run file.

    Attributes:
        name: `plugin/file`, without the ending.
        title: One line, of the table `[recipe]`.
        reproduces: The paper's experiment, or what was measured; of this table, too.
        settings: The rest of the file, a layer of settings.
        fault: Why the file cannot be used, or None.
        paper: The paper whose experiment it is, of this table, too; empty if there is none.
        figure: The figure or table in that paper.
        short: The short form: settings that override those of the file. None: it has none.
    """

    name: str
    title: str
    reproduces: str
    settings: dict[str, Any]
    fault: str | None = None
    paper: str = ""
    figure: str = ""
    short: dict[str, Any] | None = None


def find_recipes(host: PluginHost) -> list[Recipe]:
    """Return the recipes of all working plugins, sorted by name; a faulty file has a `fault`."""
    recipes = [_read(name, file) for name, file in _named(host)]
    return sorted(recipes, key=lambda recipe: recipe.name)


def _named(host: PluginHost) -> Iterator[tuple[str, Traversable]]:
    """Yield the name of each recipe, and its file."""
    for plugin in host.plugins:
        for file in _files(plugin.package) if plugin.package else ():
            yield f"{plugin.name}/{file.name.removesuffix('.toml')}", file


def _files(package: str) -> Iterator[Traversable]:
    if not hasattr(sys.modules[package], "__path__"):
        return  # a plugin that is one file has no folder
    folder = files(package) / "recipes"
    if folder.is_dir():
        yield from (file for file in folder.iterdir() if file.name.endswith(".toml"))


def _read(name: str, file: Traversable) -> Recipe:
    try:
        settings = read_toml(file)
        about = settings.pop("recipe", {})
        if not isinstance(about, dict):
            raise UsageError("'recipe' must be a table, with title and reproduces")
        short = about.pop("short", None)
        if short is not None and not isinstance(short, dict):
            raise UsageError("'recipe.short' must be a table of settings")
    except UsageError as error:
        return Recipe(name, "", "", {}, fault=str(error))
    texts = {key: str(about.get(key, "")) for key in ("title", "reproduces", "paper", "figure")}
    return Recipe(name, settings=settings, short=short, **texts)


def find_recipe(host: PluginHost, name: str) -> Recipe:
    """Return the recipe of this name; raise UsageError if there is none, or a faulty file."""
    recipes = dict(_named(host))
    if name not in recipes:
        whose = [
            each.distribution for each in host.unavailable() if name.startswith(f"{each.name}/")
        ]
        if whose:
            raise NotInstalledError({f"recipe {name!r}": whose[0]})
        hint = did_you_mean(name, recipes) or " `bnn list-recipes` lists all."
        raise UsageError(f"unknown recipe {name!r}.{hint}")
    recipe = _read(name, recipes[name])
    if recipe.fault:
        raise UsageError(f"recipe {name!r} is broken: {recipe.fault}")
    return recipe
