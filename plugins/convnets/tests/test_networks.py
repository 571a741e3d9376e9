"""What all models share, and the shapes, sizes and layers of each."""

from collections.abc import Callable
from functools import cache
from itertools import cycle
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops import StochasticDepth

import bnnlab
from bnnlab import BatchNorm, BinaryConv2d, BinaryLinear, Model, Sign, UsageError
from bnnlab.interfaces.signs import sign
from bnnlab_convnets.mixer import mlp_mixer
from bnnlab_convnets.network import Network
from bnnlab_convnets.vgg import vgg, vgg_binaryconnect
from bnnlab_convnets.zoo import Torchvision, zoo_network
from bnnlab_testing.equations import draws

SMALL: dict[str, dict[str, Any]] = {
    "vgg-binaryconnect": {"width": 0.1},
    "vgg16": {"width": 0.1},
    "resnet18": {},
    "mobilenet_v2": {"width": 0.2},
    "mobilenet_v3_small": {"width": 0.2},
    "mlp-mixer": {"dim": 32, "depth": 2},
}
LARGE = {"resnet18", "mobilenet_v2"}  # residual blocks are in `mobilenet_v3_small`, too
NAMES = [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in SMALL]
HOST = bnnlab.PluginHost()
WEIGHTS = (nn.Linear, nn.Conv2d)
BINARY = (BinaryLinear, BinaryConv2d)


def make(name: str, shape: tuple[int, ...] = (3, 32, 32), **options: Any) -> Model:
    given = {"input_shape": shape, "classes": 10, **SMALL.get(name, {}), **options}
    model: Model = bnnlab.create("model", f"bnnlab-convnets/{name}", host=HOST, **given)
    return model


@cache
def real(name: str) -> Model:
    """Return a model with real activations and ends, for colour images: tests change nothing."""
    recalibrated = {} if name == "mlp-mixer" else {"statistics": "recalibrated"}
    return make(name, (3, 64, 64), activations="real", keep="first-and-last", **recalibrated)


@cache
def binary(name: str) -> Model:
    """Return a model that is binary throughout, for small grey images: tests change nothing."""
    return make(name, (1, 28, 28), activations="binary", keep="none", surrogate="identity")


def kinds(model: nn.Module, *types: type) -> list[Any]:
    return [part for part in model.modules() if isinstance(part, types)]


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# ------------------------------------------------------------- images


@pytest.mark.parametrize("made", [real, binary])
@pytest.mark.parametrize("name", NAMES)
def test_images_become_logits(name: str, made: Callable[[str], Model]) -> None:
    model = made(name)
    with torch.no_grad():
        logits = model(torch.randn(2, *model.input_shape, generator=draws()))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    assert logits.std() > 0
    assert len(model.segments) > 5


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_the_stem_keeps_the_size_of_small_images_alone(name: str) -> None:
    factor = 4 if name == "resnet18" else 2
    for side, reached in ((63, 63), (64, 64 // factor)):
        sizes: list[torch.Size] = []
        with torch.device("meta"):
            network = zoo_network(name, (1, side, side), 10)
            kinds(network, nn.Conv2d)[1].register_forward_pre_hook(
                lambda _, given, sizes=sizes: sizes.append(given[0].shape[2:])
            )
            network(torch.zeros(2, 1, side, side))
        assert sizes == [(reached, reached)]


@pytest.mark.parametrize(
    ("shape", "grid", "units"),
    [((1, 28, 28), 1, 512), ((3, 63, 80), 1, 512), ((3, 64, 64), 2, 4096),
     ((3, 224, 224), 7, 4096), ((3, 512, 512), 7, 4096)],
)  # fmt: skip
def test_vgg_fits_its_linear_layers_to_the_images(
    shape: tuple[int, ...], grid: int, units: int
) -> None:
    with torch.device("meta"):
        network = vgg(shape, 10, 16, width=1)
        assert network(torch.zeros(2, *shape)).shape == (2, 10)
    linear = kinds(network, nn.Linear)
    expected = [(512 * grid**2, units), (units, units), (units, 10)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == expected


@pytest.mark.parametrize("shape", [(3, 7, 7), (3, 32, 7), (784,), (32, 32)])
@pytest.mark.parametrize("name", ["vgg16", "resnet18", "mlp-mixer", "torchvision"])
def test_what_is_no_image_or_too_small_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"images \(C, H, W\) of at least 8x8 pixels"):
        make(name, shape)


def test_torchvision_says_itself_which_images_a_network_cannot_take() -> None:
    with pytest.raises(UsageError, match=r"\(1, 28, 28\): .*Output size is too small; use images"):
        make("torchvision:densenet121", (1, 28, 28))
    with pytest.raises(UsageError, match="indivisible by patch size!; use images of another"):
        make("torchvision:vit_b_16", (1, 28, 28))


# ------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "vit_b_16", "densenet121"],
)
def test_a_network_of_torchvision_has_as_many_parameters_as_there(name: str) -> None:
    published = get_model_weights(name).DEFAULT.meta["num_params"]
    with torch.device("meta"):
        assert size(zoo_network(name, (3, 224, 224), 1000)) == published


@pytest.mark.parametrize("depth", [16, 19])
def test_vgg_has_as_many_parameters_as_torchvisions_and_two_normalisations(depth: Any) -> None:
    published = get_model_weights(f"vgg{depth}_bn").DEFAULT.meta["num_params"]
    with torch.device("meta"):
        network = vgg((3, 224, 224), 1000, depth, width=1)
    assert size(network) == published + 4 * 4096


@pytest.mark.parametrize(("classes", "published"), [(10, 14_022_016), (100, 14_114_176)])
def test_the_binaryconnect_vgg_has_as_many_parameters_as_the_papers(
    classes: int, published: int
) -> None:
    with torch.device("meta"):
        assert size(vgg_binaryconnect((3, 32, 32), classes, width=1)) == published


def test_the_binaryconnect_vgg_has_the_papers_layers() -> None:
    layers = vgg_binaryconnect((3, 32, 32), 10, width=1 / 32)
    letters = "".join(type(layer).__name__[0] for layer in layers)
    # convolution, max pooling, batch normalisation, ReLU, average pooling, flattening, linear
    assert letters == "CBRCMBR" * 3 + "AF" + "LBRLBR" + "LB"
    images = layers[:-8](torch.randn(2, 3, 32, 32, generator=draws()))
    assert images.shape == (2, 8192 // 32)


def test_networks_have_as_many_parameters_as_those_of_crulis_and_others() -> None:
    shape, expansions = (3, 224, 224), (4.0, 0.5)
    with torch.device("meta"):
        assert size(mlp_mixer(shape, 10, 16, 512, 12, expansions, False)) == 7_279_098
        assert size(zoo_network("mobilenet_v2", shape, 10)) == 2_236_682


# Mixer-S/16 and Mixer-B/16 of the paper's table 1: 18 and 59 million parameters.
@pytest.mark.parametrize(("dim", "depth", "published"), [(512, 8, 18), (768, 12, 59)])
def test_the_mixer_has_as_many_parameters_as_the_papers(
    dim: int, depth: int, published: int
) -> None:
    expansions = (dim / 2 / 196, 4.0)
    with torch.device("meta"):
        network = mlp_mixer((3, 224, 224), 1000, 16, dim, depth, expansions, False)
    assert size(network) // 10**6 == published


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_a_real_model_computes_what_torchvisions_does(name: str) -> None:
    as_there = {"weights": "real", "activations": "real"}
    model = Torchvision(
        input_shape=(3, 64, 64), classes=10, generator=draws(1), architecture=name, **as_there
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=draws(1))))
        reference = get_model(name, num_classes=10)
    first = next(part for part in reference.modules() if isinstance(part, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(next(model.parameters()))
        for part in kinds(reference, nn.Dropout):
            part.p = 0.0
        x = torch.randn(4, 3, 64, 64, generator=draws(2))
        torch.testing.assert_close(model(x), reference(x))
        torch.testing.assert_close(model.eval()(x), reference.eval()(x))


# ------------------------------------------------------------- what becomes binary


@pytest.mark.parametrize("name", NAMES)
def test_keep_says_which_weights_stay_real(name: str) -> None:
    for model, count in ((real(name), 2), (binary(name), 0)):
        layers = kinds(model, *WEIGHTS)
        kept = [number for number, layer in enumerate(layers) if not isinstance(layer, BINARY)]
        assert kept == ([0, len(layers) - 1] if count else [])
    real_model = make(name, weights="real", scale="none")
    assert not real_model.binary_parameters()
    assert not kinds(real_model, *BINARY)


@pytest.mark.parametrize("name", NAMES)
def test_activations_are_all_signs_or_none_is(name: str) -> None:
    plain = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU)
    others, signs = kinds(real(name), *plain, Sign), kinds(binary(name), *plain, Sign)
    assert not [part for part in others if isinstance(part, Sign)]
    assert {getattr(part, "surrogate", part) for part in signs} == {"identity"}
    assert len(signs) >= len(others) > 0  # a block of a ResNet uses one ReLU again


@pytest.mark.parametrize("name", NAMES)
def test_all_normalisation_over_batches_is_ours_and_dropout_is_gone(name: str) -> None:
    model = real(name)
    assert not kinds(model, nn.modules.batchnorm._BatchNorm, nn.Dropout, StochasticDepth)
    assert {norm.statistics for norm in kinds(model, BatchNorm)} <= {"recalibrated"}
    assert bool(kinds(model, BatchNorm)) != bool(kinds(model, nn.LayerNorm))


def test_normalisation_keeps_its_settings() -> None:
    found = {(n.eps, n.momentum) for n in kinds(make("mobilenet_v3_small"), BatchNorm)}
    assert found == {(0.001, 0.01)}
    momenta = [norm.momentum for norm in kinds(make("vgg-binaryconnect"), BatchNorm)]
    assert momenta == [0.2] * 6 + [0.1] * 3
    assert all(norm.gamma is None for norm in kinds(make("vgg-binaryconnect"), BatchNorm))


@pytest.mark.parametrize("scale", ["none", "fan-in", "learned"])
def test_the_scale_reaches_the_binary_layers(scale: str) -> None:
    for layer in kinds(make("vgg16", scale=scale), *BINARY):
        fan_in = layer.weight[0].numel() ** -0.5
        assert (layer.scale is None) == (scale != "learned")
        assert layer.fixed_scale == (fan_in if scale == "fan-in" else 1)


class Borrowed(nn.Module):
    """Reads the weights of one layer, and calls the one that was made first last."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.read, self.act = nn.Linear(8, 10), nn.Linear(8, 8), nn.ReLU()
        self.first, self.middle = nn.Conv2d(1, 8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.act(self.first(x).flatten(1)))
        return self.last(x @ self.read.weight)


def test_first_and_last_go_by_the_calls_and_weights_that_are_only_read_stay_real() -> None:
    names: Any = {"first-and-last": {"middle"}, "none": {"first", "middle", "last"}}
    for keep, expected in names.items():
        network = Borrowed()
        Network(lambda n=network: n, input_shape=(1, 8, 8), generator=draws(), keep=keep)
        assert {name for name, part in network.named_children() if isinstance(part, BINARY)} == (
            expected
        )


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("googlenet", {}, "activations of GoogLeNet are functions.*'real'"),
        ("resnet19", {}, "no 'resnet19'. Did you mean 'resnet1"),
        ("resnet18", {"width": 0.5}, "width is for MobileNets; resnet18"),
        ("squeezenet1_1", {"remove_skips": True}, "squeezenet1_1 has others"),
    ],
)
def test_what_a_network_cannot_do_is_refused(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make(f"torchvision:{name}", **options)


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_signs_come_after_pooling_and_real_activations_before(name: str) -> None:
    def order(model: Model) -> str:
        parts = model.segments[0 if name == "resnet18" else 1]
        return "".join(type(part).__name__[0] for part in parts)

    # weight, pooling, normalisation, sign
    assert order(make(name, (3, 64, 64), activations="binary")) in ("CMBS", "BMBS")
    assert order(real(name)) in ("CBRM", "BBRM")


# ------------------------------------------------------------- shortcuts


def silence(network: nn.Module) -> None:
    """Let the branch of every block that has an identity shortcut return 0."""
    for block in network.modules():
        shortcut = getattr(block, "use_res_connect", getattr(block, "downsample", 0) is None)
        if shortcut:
            norm = kinds(block, nn.BatchNorm2d)[-1]
            nn.init.zeros_(norm.weight)
            nn.init.zeros_(norm.bias)


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "mobilenet_v2", "mobilenet_v3_small"),
        pytest.param("resnet50", marks=pytest.mark.slow),
    ],
)
def test_without_shortcuts_silent_blocks_let_nothing_through(name: str) -> None:
    x = torch.randn(2, 3, 32, 32, generator=draws())
    for removed in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            with_shortcuts = zoo_network(name, (3, 32, 32), 10).eval()
        silence(with_shortcuts)
        network = with_shortcuts
        if removed:
            network = zoo_network(name, (3, 32, 32), 10, remove_skips=True).eval()
            network.load_state_dict(renamed(with_shortcuts, network))
        one, other = network(x)
        assert torch.equal(one, other) == removed


def renamed(network: nn.Module, chain: nn.Module) -> dict[str, Tensor]:
    """Return a network's state without its shortcuts, under the names of its chain."""
    values = [v for name, v in network.state_dict().items() if "downsample" not in name]
    return dict(zip(chain.state_dict(), values, strict=True))


def test_blocks_without_shortcuts_are_cut_at_every_layer() -> None:
    for name in ("resnet18", "mobilenet_v2", "mlp-mixer"):
        model = make(name, remove_skips=True)
        assert len(model.segments) == len(kinds(model, *WEIGHTS))
        assert len(model.segments) > len(real(name).segments)


# ------------------------------------------------------------- learning


@pytest.mark.rounding
@pytest.mark.parametrize("name", NAMES)
def test_backpropagation_passes_every_sign(name: str) -> None:
    """At the start, a good part of what every sign sees lies where its surrogate is 1."""
    model = binary(name)
    shares: list[float] = []

    def look(_: nn.Module, inputs: tuple[Tensor]) -> None:
        shares.append(inputs[0].abs().le(1).float().mean().item())

    hooks = [part.register_forward_pre_hook(look) for part in kinds(model, Sign)]
    with torch.no_grad():
        model(torch.randn(16, *model.input_shape, generator=draws()))
    for hook in hooks:
        hook.remove()
    assert min(shares) > 0.4


@torch.no_grad()
def follow_surrogates(model: Model, x: Tensor) -> None:
    """Let each sign, from here on, move from its value for `x` as its surrogate gradient says."""
    seen: list[Tensor] = []
    signs = kinds(model, Sign)
    hooks = [s.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for s in signs]
    model(x)
    for hook in hooks:
        hook.remove()
    starts = cycle(seen)  # by call: a block of a ResNet calls one sign twice

    def move(_: nn.Module, given: tuple[Tensor], signs: Tensor) -> Tensor:
        start = next(starts)
        return sign(start) + given[0].clamp(-1, 1) - start.clamp(-1, 1)

    for part in signs:
        part.register_forward_hook(move)


LEARNING = [
    ("vgg-binaryconnect", {"activations": "binary"}),
    ("vgg16", {"activations": "real"}),
    pytest.param("mobilenet_v2", {"activations": "real"}, marks=pytest.mark.slow),
    ("mobilenet_v3_small", {"activations": "real"}),
    ("mlp-mixer", {}),
    pytest.param("resnet18", {}, marks=pytest.mark.slow),
    pytest.param("resnet50", {"activations": "real"}, marks=pytest.mark.slow),
]


@pytest.mark.rounding
@pytest.mark.parametrize(("name", "options"), LEARNING)
def test_a_small_step_lowers_the_loss_as_the_gradient_says(
    name: str, options: dict[str, Any]
) -> None:
    """In float64, with a step of the same length in every parameter."""
    model = make(name, (3, 8, 8), **options).double()
    generator = draws()
    with torch.no_grad():  # no two sums are equal, or pooling would have several derivatives
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise)
    x, targets = torch.randn(16, 3, 8, 8, generator=generator).double(), torch.arange(16) % 10
    bnnlab.create("rule", "bnnlab-backprop/bp", model).closure(model, (x, targets))()
    grads = [cast(Tensor, parameter.grad) for parameter in model.parameters()]
    # A bias before normalisation has no effect, and a gradient of 0 but for rounding.
    directions = [grad / grad.norm().clamp_min(1e-9) for grad in grads]
    slope = sum(float((g * d).sum()) for g, d in zip(grads, directions, strict=True))

    follow_surrogates(model, x)

    @torch.no_grad()
    def loss_after(step: float) -> float:
        for parameter, direction in zip(model.parameters(), directions, strict=True):
            parameter.add_(direction, alpha=step)
        return float(nn.functional.cross_entropy(model(x), targets))

    step = 1e-6 / slope
    lower, higher = loss_after(-step), loss_after(2 * step)
    assert (higher - lower) / (2 * step) == pytest.approx(slope, rel=1e-4)
