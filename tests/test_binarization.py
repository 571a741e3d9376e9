"""Any torch module becomes a model with binary weights."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from bnnlab import BinaryConv2d, BinaryLinear, Sign, binarize


def net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, padding="valid"),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6 * 3 * 3, 12),
            nn.Tanh(),
            nn.Linear(12, 10),
        )


X = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_inner_keeps_the_first_and_the_last_weight_layer_real() -> None:
    model = binarize(net())
    kinds = [type(part) for part in model.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    assert kinds == [nn.Conv2d, BinaryConv2d, BinaryLinear, nn.Linear]


def test_all_keeps_none() -> None:
    assert len(binarize(net(), "all").binary_parameters()) == 4


def test_a_function_chooses_by_name_and_layer() -> None:
    asked = []

    def policy(name: str, layer: nn.Module) -> bool:
        asked.append(name)
        return isinstance(layer, nn.Linear)

    model = binarize(net(), policy)
    assert asked == ["0", "2", "5", "7"]
    layers = [type(p) for p in model.modules() if isinstance(p, nn.Linear | nn.Conv2d)]
    assert layers == [nn.Conv2d, nn.Conv2d, BinaryLinear, BinaryLinear]


def test_signs_are_those_of_the_real_weights_and_biases_and_geometry_are_kept() -> None:
    original = net()
    model = binarize(copy.deepcopy(original), "all", scale="none")
    found = [p for p in model.modules() if isinstance(p, BinaryLinear | BinaryConv2d)]
    wanted = [p for p in original if isinstance(p, nn.Linear | nn.Conv2d)]
    for binary, real in zip(found, wanted, strict=True):
        assert torch.equal(binary.weight, torch.where(real.weight >= 0, 1.0, -1.0))
        assert (binary.bias is None) == (real.bias is None)
        if real.bias is not None:
            assert binary.bias is not None
            assert torch.equal(binary.bias, real.bias)
        if isinstance(real, nn.Conv2d):
            assert isinstance(binary, BinaryConv2d)
            for name in ("stride", "padding", "dilation", "groups"):
                assert getattr(binary, name) == getattr(real, name)


def test_the_result_is_the_module_with_signs_for_weights() -> None:
    """The other route: a copy whose real weights are overwritten with scaled signs."""
    original = net()
    twin = copy.deepcopy(original)
    model = binarize(original, "all")
    with torch.no_grad():
        for part in twin:
            if isinstance(part, nn.Linear | nn.Conv2d):
                fan_in = part.weight[0].numel()
                part.weight.copy_(torch.where(part.weight >= 0, 1.0, -1.0) / fan_in**0.5)
    torch.testing.assert_close(model(X), twin(X))


def test_a_sequential_becomes_one_segment_per_weight_layer_with_what_follows_it() -> None:
    model = binarize(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2),
                                   nn.ReLU()), "all", input_shape=(2, 2))  # fmt: skip
    names = [[type(part).__name__ for part in segment] for segment in model.segments]  # type: ignore[union-attr]
    assert names == [["Flatten", "BinaryLinear", "ReLU"], ["BinaryLinear", "ReLU"]]
    assert model.input_shape == (2, 2)


def test_the_segments_compose_to_the_module() -> None:
    original = net()
    model = binarize(original)
    assert len(model.segments) == 4
    assert torch.equal(model(X), original(X)), "the module itself was changed in place"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.inner(x)
        return y


def test_nested_modules_are_reached_and_a_skip_connection_stays_inside_its_segment() -> None:
    model = binarize(nn.Sequential(nn.Linear(4, 6), Block(), Block(), nn.Linear(6, 2)))
    assert list(model.binary_parameters()) == [
        "segments.1.1.inner.0.weight",
        "segments.1.1.inner.2.weight",
        "segments.2.2.inner.0.weight",
        "segments.2.2.inner.2.weight",
    ]
    assert len(model.segments) == 4
    assert model(torch.ones(3, 4)).shape == (3, 2)


def test_a_residual_block_is_one_segment() -> None:
    assert len(binarize(Block(), "all").segments) == 1


def test_a_single_layer_is_replaced_itself() -> None:
    model = binarize(nn.Linear(4, 2), "all")
    assert isinstance(model.segments[0], BinaryLinear)


def test_activations_become_signs_on_demand_only() -> None:
    signs = binarize(net(), activations="sign", surrogate="polynomial")
    found = [part for part in signs.modules() if isinstance(part, Sign)]
    assert [part.surrogate for part in found] == ["polynomial"] * 3
    assert not any(isinstance(part, nn.ReLU | nn.Tanh) for part in signs.modules())
    assert not any(isinstance(part, Sign) for part in binarize(net()).modules())


@pytest.mark.parametrize("scale", ["none", "fan-in", "learned"])
def test_the_scale_is_that_of_every_binary_layer(scale: str) -> None:
    model = binarize(net(), scale=scale)  # type: ignore[arg-type]
    layers = [p for p in model.modules() if isinstance(p, BinaryLinear | BinaryConv2d)]
    for layer in layers:
        fan_in = layer.weight[0].numel()
        value = layer.fixed_scale if layer.scale is None else layer.scale[0].item()
        assert value == pytest.approx(1 if scale == "none" else fan_in**-0.5)
        assert (layer.scale is not None) == (scale == "learned")


def test_dtype_is_kept() -> None:
    assert all(p.dtype == torch.float64 for p in binarize(net().double()).parameters())


def test_the_global_generator_is_untouched() -> None:
    module = net()
    before = torch.get_rng_state()
    binarize(module, "all")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "module", [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), nn.ReLU(), nn.Linear(3, 3)]
)
def test_nothing_to_binarise_is_refused_with_a_way_out(module: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"no weight layer to binarise: (0 of nn|.*policy='all')"):
        binarize(module)


def test_an_unknown_policy_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"'outer'.*'inner', 'all' or a function"):
        binarize(net(), "outer")  # type: ignore[arg-type]


def test_unknown_activations_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="activations 'signs': choose 'keep' or 'sign'"):
        binarize(nn.Sequential(nn.Linear(2, 2)), "all", activations="signs")  # type: ignore[arg-type]


def test_a_resnet_trains_after_binarize() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = binarize(resnet18(num_classes=10), input_shape=(3, 32, 32))
    binary = model.binary_parameters()
    assert len(binary) == 19  # 20 convolutions and 1 linear layer, less the first and the last
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(model(x), torch.tensor([1, 2])).backward()
    for name, parameter in binary.items():
        assert parameter.abs().eq(1).all(), name
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), name
    assert sum(bool(p.grad is not None and p.grad.any()) for p in binary.values()) > 10
