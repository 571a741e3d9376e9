"""Recipes that a plugin gets wrong, and plugins that cannot have any."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Bnn

import bnnlab
from bnnlab import PluginHost, UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.recipes import find_recipe, find_recipes
from bnnlab.settings.layers import layers_of_recipe, resolve
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
        (b"[recipe]\nshort = 'x'", "'recipe.short' must be a table"),
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


SHORT = """
rule = "bp"
epochs = 100
[recipe]
title = "A run"
reproduces = "Nothing."
paper = "Doe 2020"
figure = "Table 1"
[recipe.short]
epochs = 2
stream.tasks = 1
[model]
name = "mlp"
hidden = [8]
[stream]
name = "permuted-digits"
tasks = 3
"""


@pytest.fixture
def shortened(make_plugin: MakePlugin, tmp_path: Path) -> str:
    """Return the name of a recipe that has a short form."""
    recipes = tmp_path / "site-packages" / "acme" / "recipes"
    recipes.mkdir(parents=True)
    (recipes.parent / "__init__.py").write_text(SOURCE)
    (recipes / "long.toml").write_text(SHORT)
    make_plugin("acme", SOURCE)
    return "acme/long"


def test_the_short_form_overrides_its_recipe_and_is_overridden(
    shortened: str, tmp_path: Path
) -> None:
    host = PluginHost()
    recipe, short = layers_of_recipe(host, shortened, short=True)
    assert resolve(host, [recipe]).epochs == 100
    config = resolve(host, [recipe, short, {"epochs": 1}])
    assert (config.epochs, config.choices[Kind.STREAM].options["tasks"]) == (1, 1)
    assert config.choices[Kind.MODEL].options["hidden"] == [8]
    result = bnnlab.run(recipe=shortened, short=True, epochs=1, out=str(tmp_path / "runs"))
    assert len(result.accuracy) == 1
    said = json.loads((result.folder / "environment.json").read_text())["settings"]
    assert said == ["the recipe acme/long", "the short form of the recipe acme/long"]


def test_recipes_are_grouped_by_their_papers(
    shortened: str, bnn: Bnn, document: Callable[..., Any]
) -> None:
    groups = document("list-recipes", "--paper")["papers"]
    papers = {each["paper"]: each["recipes"] for each in groups}
    (found,) = papers["Doe 2020"]
    assert (found["name"], found["figure"], found["short"]["epochs"]) == (shortened, "Table 1", 2)
    assert [*papers][-1] == ""  # those of no paper
    assert sum(map(len, papers.values())) == len(document("list-recipes")["recipes"])
    lines = bnn("list-recipes", "--paper").out.splitlines()
    assert lines[lines.index("Doe 2020") + 1] == "    acme/long  (Table 1, has a short form)"
    assert "acme/long  (has a short form)" in bnn("list-recipes").out.splitlines()
