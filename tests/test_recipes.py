"""Recipes that a plugin gets wrong, and plugins that cannot have any."""

from pathlib import Path

import pytest

from bnnlab import PluginHost, UsageError
from bnnlab.registry.recipes import find_recipe, find_recipes
from bnnlab_testing.pytest_plugin import MakePlugin

SOURCE = "from bnnlab import hookimpl\n@hookimpl\ndef bnnlab_components():\n    return []\n"


def names(host: PluginHost) -> list[str]:
    return [recipe.name for recipe in find_recipes(host)]


def test_a_plugin_that_is_one_file_has_no_recipes(make_plugin: MakePlugin, tmp_path: Path) -> None:
    before = names(PluginHost())
    (tmp_path / "site-packages" / "recipes").mkdir()  # nobody's, though it lies beside the file
    (tmp_path / "site-packages" / "recipes" / "x.toml").write_text("epochs = 1")
    make_plugin("acme", SOURCE)
    assert names(PluginHost()) == before
    assert "metaplasticity/permuted-mnist" in before


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"rule = = 1", "Invalid value"),
        (b"recipe = 'x'", "'recipe' must be a table"),
        (b"\xff", "decode"),
    ],
)
def test_a_broken_recipe_is_its_own_fault(
    text: bytes, fault: str, make_plugin: MakePlugin, tmp_path: Path
) -> None:
    recipes = tmp_path / "site-packages" / "acme" / "recipes"
    recipes.mkdir(parents=True)
    (recipes.parent / "__init__.py").write_text(SOURCE)
    (recipes / "good.toml").write_text("epochs = 1\n[recipe]\ntitle = 'A run'\n")
    (recipes / "bad.toml").write_bytes(text)
    make_plugin("acme", SOURCE)
    host = PluginHost()
    assert find_recipe(host, "acme/good").settings == {"epochs": 1}
    assert find_recipe(host, "metaplasticity/permuted-mnist").settings
    (broken,) = (recipe for recipe in find_recipes(host) if recipe.fault)
    assert broken.name == "acme/bad"
    assert fault in broken.fault
    with pytest.raises(UsageError, match="recipe 'acme/bad' is broken: "):
        find_recipe(host, "acme/bad")
