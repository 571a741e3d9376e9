"""Recipes: run files in the folder `recipes` of a plugin's package."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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
        folder = plugin.data and plugin.data / "recipes"
        for file in folder.iterdir() if folder and folder.is_dir() else ():
            if file.name.endswith(".toml"):
                yield f"{plugin.name}/{file.name.removesuffix('.toml')}", file


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


def recipe_names(host: PluginHost) -> list[str]:
    """Return the names of the recipes of all working plugins; no file is read."""
    return [name for name, _ in _named(host)]


def unknown_recipe(host: PluginHost, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that none of the known recipes has."""
    for each in host.unavailable():
        if name.startswith(f"{each.name}/"):
            return NotInstalledError({f"recipe {name!r}": each.distribution})
    hint = did_you_mean(name, known) or " `bnn list-recipes` lists all."
    return UsageError(f"unknown recipe {name!r}.{hint}")


def find_recipe(host: PluginHost, name: str) -> Recipe:
    """Return the recipe of this name; raise UsageError if there is none, or a faulty file."""
    recipes = dict(_named(host))
    if name not in recipes:
        raise unknown_recipe(host, name, recipes)
    recipe = _read(name, recipes[name])
    if recipe.fault:
        raise UsageError(f"recipe {name!r} is broken: {recipe.fault}")
    return recipe
