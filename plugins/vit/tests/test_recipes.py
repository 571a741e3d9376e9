"""The published commands: three nets, four coefficients, at their size and in small."""

import pytest

import bnnlab
from bnnlab import Kind, PluginHost
from bnnlab.registry.recipes import find_recipe
from bnnlab.settings.fit import check
from bnnlab.settings.layers import resolve

HOST = PluginHost()
SIZES = {"imgnet-5": ((3, 224, 224), 200), "cifar10-5": ((3, 32, 32), 10)}


@pytest.mark.parametrize("incremental", ["class", "task"])
@pytest.mark.parametrize("m", [0, 0.5, 1.0, 1.35, "auto"])
@pytest.mark.parametrize("net", ["vit", "hybrid", "bvit"])
@pytest.mark.parametrize("size", SIZES)
def test_each_command_fits_together(size: str, net: str, m: float | str, incremental: str) -> None:
    said = {"optimizer": {"m": m}, "stream": {"incremental": incremental}}
    config = resolve(HOST, [find_recipe(HOST, f"vit/{size}-{net}").settings, said])
    assert check(HOST, config).compatible
    assert config.choices[Kind.MODEL].component.name == net
    assert config.choices[Kind.OPTIMIZER].options["m"] == m


@pytest.mark.parametrize(
    ("net", "count", "binary"),
    [
        ("vit", 29_249_480, 0),  # as many as the published network has
        ("hybrid", 29_264_840, 4 * 8 * 768**2),  # and a scale per output of the binary layers
        ("bvit", 29_277_128, 4 * 12 * 768**2),
    ],
)
def test_the_full_size_is_that_of_the_published_vit(net: str, count: int, binary: int) -> None:
    shape, classes = SIZES["imgnet-5"]
    options = find_recipe(HOST, f"vit/imgnet-5-{net}").settings["model"]
    name, sizes = options["name"], {k: v for k, v in options.items() if k != "name"}
    model = bnnlab.create("model", name, input_shape=shape, classes=classes, **sizes)
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert sum(p.numel() for p in model.binary_parameters().values()) == binary
