"""A conversion carries everything over, also on the fused paths of torch."""

import copy
import pickle
from typing import Any

import pytest
import torch
from conversions import Reader, binary, encoder
from torch import Tensor, nn

import bnnlab
from bnnlab import Model, Sign, binarize

pytestmark = [
    pytest.mark.usefixtures("seeded"),
    pytest.mark.filterwarnings("ignore:.*nested.*", "ignore:.*weight_norm.*:FutureWarning"),
]


def outputs(module: nn.Module, x: Tensor) -> list[Tensor]:
    module.eval()
    found = [module(x).detach()]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found.append(module(x).clone())
    return found


# ------------------------------------------------------------ torch's fused paths


@pytest.mark.parametrize("more", [{}, {"activation": nn.GELU(), "norm_first": True}])
def test_a_binary_encoder_layer_gives_the_same_outputs_on_every_path(more: Any) -> None:
    net = nn.Sequential(encoder(**more), nn.Flatten(), nn.Linear(40, 3))
    signs = "sign" if more else "keep"
    model = binarize(net, "all", activations=signs, input_shape=(5, 8))
    assert binary(model) == ["0.linear1", "0.linear2", "2"]
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        first, *others = outputs(each, torch.randn(3, 5, 8))
        for other in others:
            torch.testing.assert_close(other, first)


def test_a_binary_encoder_with_masks_takes_token_ids_on_every_path() -> None:
    model = binarize(Reader(), "all", input_shape=(6,))
    ids = torch.randint(1, 9, (4, 6))
    ids[:, 4:] = 0
    first, *others = outputs(model, ids)
    for other in others:
        torch.testing.assert_close(other, first)
    assert bnnlab.interfaces.model.segment_shapes(model, (6,))[-1] == (9,)


def test_a_model_with_a_binary_layer_put_into_an_encoder_by_hand_is_right_too() -> None:
    layer = encoder()
    layer.linear1 = bnnlab.BinaryLinear(8, 12, bias=True)
    first, *others = outputs(Model([layer, nn.Flatten(), nn.Linear(40, 2)]), torch.randn(2, 5, 8))
    for other in others:
        torch.testing.assert_close(other, first)


def test_an_encoder_in_which_nothing_changed_keeps_its_fused_path() -> None:
    net = nn.Sequential(encoder(), nn.Flatten(), nn.Linear(40, 3))
    binarize(net, lambda name, _: name == "2", input_shape=(5, 8))
    assert net[0].activation_relu_or_gelu == 1


# ------------------------------------------------------------ what is carried over


@pytest.mark.parametrize("scale", ["fan-in", "learned"])
def test_what_is_frozen_stays_frozen(scale: Any) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)).requires_grad_(False)
    net[1].bias.requires_grad_()
    model = binarize(net, "all", scale=scale)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["segments.1.0.bias"]


def test_parameters_that_are_shared_stay_shared() -> None:
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight, two.bias = one.weight, one.bias
    net = nn.Sequential(one, two, nn.Linear(4, 2))
    model = binarize(net, "all")
    assert len(model.binary_parameters()) == 3
    assert sum(p.numel() for p in model.parameters()) == 16 + 4 + 8 + 2
    assert one.weight is two.weight


def test_hooks_attributes_buffers_and_modes_of_a_layer_stay_on_it() -> None:
    layer, seen = nn.Linear(4, 4), []
    handles = [
        layer.register_forward_pre_hook(lambda *_: seen.append("before")),
        layer.register_forward_hook(lambda *_, **__: seen.append("after"), with_kwargs=True),
        layer.register_full_backward_hook(lambda *_: seen.append("back")),
        layer.register_state_dict_pre_hook(lambda *_: seen.append("saved")),
    ]
    layer.note = "mine"  # type: ignore[assignment]
    layer.register_buffer("calls", torch.ones(2))
    layer.eval()
    model = binarize(nn.Sequential(layer, nn.Linear(4, 2)), "all", input_shape=(4,))
    found = model.segments[0][0]  # type: ignore[index]
    assert isinstance(found, bnnlab.BinaryLinear)
    assert (found.note, found.training, len(list(found.buffers()))) == ("mine", False, 1)
    seen.clear()
    model(torch.randn(2, 4, requires_grad=True)).sum().backward()
    model.state_dict()
    assert seen == ["before", "after", "back", "saved"]
    for handle in handles:
        handle.remove()
    seen.clear()
    model(torch.randn(2, 4)).sum().backward()
    assert seen == []


def test_a_container_with_hooks_or_a_train_of_its_own_is_kept_whole() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.layer(x))
            return y

        def train(self, mode: bool = True) -> nn.Module:
            super().train(mode)
            self.norm.eval()
            return self

    hooked, seen = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), []
    hooked.register_forward_hook(lambda *_: seen.append(1))
    model = binarize(nn.Sequential(Frozen(), hooked, nn.Linear(4, 2)), "all", input_shape=(4,))
    assert len(model.segments) == 3
    seen.clear()
    model.train()(torch.randn(3, 4))
    assert seen == [1]
    assert not model.get_submodule("segments.0.0.norm").training


def test_a_prelus_weight_goes_and_its_hooks_stay() -> None:
    net, seen = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 2)), []
    net[1].register_forward_hook(lambda *_: seen.append(1))
    model = binarize(net, "all", activations="sign", surrogate="identity")
    model(torch.randn(2, 4)).sum().backward()
    assert seen == [1]
    assert isinstance(net[1], Sign)
    assert all(p.grad is not None for p in model.parameters())
    assert model.conversion is not None
    assert model.conversion.signs == ("1",)


def test_padding_modes_are_carried_over() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"))
    twin = copy.deepcopy(net)
    x = torch.randn(2, 1, 5, 5)
    with torch.no_grad():
        twin[0].weight.copy_(torch.where(twin[0].weight >= 0, 1 / 3, -1 / 3))
    torch.testing.assert_close(binarize(net, "all")(x), twin(x))
