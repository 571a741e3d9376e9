"""Named run files that plugins ship as package data, in a folder `recipes`."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import tomli

from bnnlab.discovery import Status
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.host import PluginHost


@dataclass(frozen=True)
class Recipe:
    """A run file and what it says of itself in its table `[recipe]`.

    Attributes:
        name: `plugin/file`, without the ending.
        title: One line.
        reproduces: The paper's experiment, or what was measured.
        settings: The rest of the file, a layer of settings.
    """

    name: str
    title: str
    reproduces: str
    settings: dict[str, Any]


def find_recipes(host: PluginHost) -> list[Recipe]:
    """Return the recipes of all working plugins, sorted by name."""
    recipes = []
    for plugin in host.plugins:
        if plugin.status is not Status.OK or not plugin.package:
            continue
        folder = files(plugin.package) / "recipes"
        if not folder.is_dir():
            continue
        for file in folder.iterdir():
            if file.name.endswith(".toml"):
                settings = tomli.loads(file.read_text(encoding="utf-8"))
                about = settings.pop("recipe", {})
                name = f"{plugin.name}/{file.name.removesuffix('.toml')}"
                recipes.append(
                    Recipe(name, about.get("title", ""), about.get("reproduces", ""), settings)
                )
    return sorted(recipes, key=lambda recipe: recipe.name)


def find_recipe(host: PluginHost, name: str) -> Recipe:
    """Return the recipe of this name.

    Raises:
        UsageError: If there is none, with the nearest.
    """
    recipes = {recipe.name: recipe for recipe in find_recipes(host)}
    if name not in recipes:
        hint = did_you_mean(name, recipes) or f" Known: {', '.join(recipes) or 'none'}."
        raise UsageError(f"unknown recipe {name!r}.{hint}")
    return recipes[name]
