import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from bnnlab.registry.components import Kind
from bnnlab_vision.datasets import SOURCES
from bnnlab_vision.plugin import bnnlab_components

COMPONENTS = {component.name: component for component in bnnlab_components()}

NAMES = [*(name for name in SOURCES if "emnist" not in name), "emnist", "image-folder"]
WAYS = ("", "permuted-", "rotated-", "split-", "chunked-")


def test_there_are_five_streams_for_each_data_set_and_for_folders_and_some_more() -> None:
    expected = {f"{way}{name}" for way in WAYS for name in NAMES}
    expected |= {f"{way}features" for way in WAYS if way != "rotated-"}
    assert {*expected, "sequence", "imgnet-5"} == set(COMPONENTS)
    assert len(bnnlab_components()) == len(COMPONENTS)
    assert all(component.kind is Kind.STREAM for component in COMPONENTS.values())


def test_the_help_of_sequence_names_every_data_set() -> None:
    (datasets,) = (each for each in COMPONENTS["sequence"].options if each.name == "datasets")
    assert datasets.help.endswith(f"from: {', '.join(SOURCES)}.")


def test_only_streams_of_several_tasks_announce_boundaries() -> None:
    silent = {name for name, each in COMPONENTS.items() if "boundaries" not in each.provides}
    assert silent == {*NAMES, "features"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("permuted-digits", {"task_ids": True}),
        ("rotated-digits", {"task_ids": True}),
        ("split-digits", {"incremental": "task"}),
        ("sequence", {"task_ids": True, "datasets": ["digits"]}),
    ],
)
def test_task_ids_are_declared_exactly_where_they_are_given(
    name: str, options: dict[str, object], tmp_path: Path
) -> None:
    component = COMPONENTS[name]
    module, _, cls = component.target.partition(":")
    for chosen, gives in (({}, False), (options, True)):
        if name == "sequence":
            chosen = {"datasets": ["digits"], **chosen}
        stream = getattr(import_module(module), cls)(
            data=tmp_path, device=torch.device("cpu"), seed=0, **component.preset, **chosen
        )
        assert stream.gives_task_ids is gives
        assert ("task-ids" in component.capabilities(chosen)[0]) is gives


def test_listing_the_components_imports_no_torch_and_no_numpy() -> None:
    code = (
        "import sys; from bnnlab_vision.plugin import bnnlab_components; bnnlab_components();"
        "print(*{'torch', 'numpy', 'torchvision', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_code_in_the_readme_runs() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    blocks = readme.split("```python\n")[1:]
    assert blocks
    for block in blocks:
        exec(block.split("```")[0], {})
