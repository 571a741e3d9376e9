"""The built wheels are what the checkout is, in an environment that holds nothing else of ours."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
import tomli
import wheels
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECTS = [*ROOT.glob("plugins/*/pyproject.toml"), ROOT / "runtime" / "pyproject.toml"]


def installed(project):
    """Return whether a plugin is installed here; a heavy one may not be."""
    name = tomli.loads(project.read_text())["project"]["name"]
    return any(each.name == name for each in distributions())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages: all that is installed here but ours, and our wheels."""
    built = tmp_path_factory.mktemp("wheels")
    sources = [ROOT, *(each.parent for each in sorted(PROJECTS) if installed(each))]
    made = wheels.build(sources, built)
    site = tmp_path_factory.mktemp("site")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "bnnlab" not in package.name:
            (site / package.name).symlink_to(package)
    assert len(made) == len(sources)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--no-deps", "--target", str(site), *map(str, made)], check=True)
    return site


def bnn(site, *words):
    """Run `bnn` with `site` as its only packages: -S keeps those of this environment out."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "bnnlab.cli", *words],
        cwd=site.parent,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheels_list_what_the_checkout_lists(site):
    from_wheels = bnn(site, "list-plugins", "--json")
    here = subprocess.run(
        [sys.executable, "-m", "bnnlab.cli", "list-plugins", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert from_wheels.stdout == here.stdout
    assert {plugin["status"] for plugin in json.loads(here.stdout)["plugins"]} == {"ok"}


def test_the_wheels_bring_recipes_types_test_classes_and_the_registry(site):
    recipes = json.loads(bnn(site, "list-recipes", "--json").stdout)["recipes"]
    assert "dfa/permuted-mnist" in [recipe["name"] for recipe in recipes]
    assert (site / "bnnlab" / "registry.toml").read_text() == (ROOT / "registry.toml").read_text()
    for package in ("bnnlab", "bnnlab_dfa", "bnnlab_vision"):
        assert (site / package / "py.typed").exists()
    assert (site / "bnnlab_dfa" / "contracts.py").exists()


def test_the_cores_wheel_is_the_core_alone(site):
    (info,) = site.glob("bnnlab-*.dist-info")
    files = (info / "RECORD").read_text().splitlines()
    assert {file.partition("/")[0] for file in files} <= {"bnnlab", info.name, "..", "bin"}
    required = {Requirement(line) for line in Distribution.at(info).requires}
    always = {each.name for each in required if each.marker is None}
    assert not {"matplotlib", "scikit-learn", "torchvision", "pytest"} & always


def test_the_core_alone_says_what_is_missing_and_how_to_get_it(site, tmp_path):
    for path in site.glob("bnnlab_*"):
        shutil.move(path, tmp_path)
    try:
        assert bnn(site, "list-plugins").stdout.startswith("No plugin is installed.")
        assert "Commands of plugins" not in bnn(site, "--help").stdout
        for words, plugin in (
            ("run", "dfa"),
            ("run --rule bp", "backprop"),
            ("plot accuracy RUN", "plots"),
        ):
            missed = bnn(site, *words.split())
            assert (missed.returncode, missed.stdout) == (2, "")
            command = missed.stderr.partition("bnn install ")[2].partition("`")[0]
            assert plugin in command.split()
            assert command.endswith("--find-links DIR")
    finally:
        for path in tmp_path.glob("bnnlab_*"):
            shutil.move(path, site)


def test_an_uninstalled_plugin_is_missed_by_name_and_the_rest_works(site, tmp_path):
    for path in site.glob("bnnlab_dfa*"):
        shutil.move(path, tmp_path)
    try:
        missed = bnn(site, "run", "--rule", "dfa")
        assert missed.returncode == 2
        assert "bnn install dfa --find-links DIR`" in missed.stderr
        assert bnn(site, "matrix").returncode == 0
        words = "run --rule bp --epochs 1 --out none --quiet --stream digits"
        assert bnn(site, *words.split()).returncode == 0
    finally:
        for path in tmp_path.glob("bnnlab_dfa*"):
            shutil.move(path, site)
