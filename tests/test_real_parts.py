"""What becomes binary, and what stays real and is named; which layer is the first and the last."""

import copy
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conversions import Reader, binary, reasons
from torch import Tensor, nn
from torch.nn.utils import (
    parameters_to_vector,
    parametrizations,
    prune,
    spectral_norm,
    vector_to_parameters,
)
from torchvision.models import VisionTransformer

import bnnlab
from bnnlab import UsageError, binarize

pytestmark = [
    pytest.mark.usefixtures("seeded"),
    pytest.mark.filterwarnings("ignore:.*nested.*", "ignore:.*weight_norm.*:FutureWarning"),
]


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.ConvTranspose1d(4, 2, 3, 2)), (2, 6)),
        (nn.Sequential(nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), nn.Conv2d(4, 2, 3)), (2, 4, 4)),
        (nn.Sequential(nn.Conv3d(1, 2, 2), nn.ConvTranspose3d(2, 2, 2)), (1, 3, 3, 3)),
    ],
)
def test_all_reaches_every_kind_of_convolution(net: nn.Sequential, shape: tuple[int, ...]) -> None:
    model = binarize(copy.deepcopy(net), "all", input_shape=shape)
    real = [p for p in model.parameters() if p.ndim > 1 and not bool(p.abs().eq(1).all())]
    assert real == []
    assert reasons(model) == {}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.read(x)[0][:, -1])
        return y


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def replaced() -> nn.Linear:
    layer = nn.Linear(4, 4)
    layer.forward = lambda x: 2 * F.linear(x, layer.weight, layer.bias)  # type: ignore[method-assign]
    return layer


def taken() -> nn.Linear:
    layer = nn.Linear(4, 4)
    layer.scale = 3.0  # type: ignore[assignment]
    return layer


COMPUTED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "weight_norm": (lambda: nn.utils.weight_norm(nn.Linear(4, 4)), "from weight_g, weight_v:"),
    "spectral_norm": (lambda: spectral_norm(nn.Linear(4, 4)), "from weight_orig:"),
    "prune": (lambda: prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5), "pruning"),  # type: ignore[no-untyped-call]
    "parametrize": (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), "a parametrization"),
    "subclass": (lambda: Doubled(4, 4), "a subclass of Linear"),
    "forward": (replaced, "its forward was replaced"),
    "attribute": (taken, "a 'scale' of its own"),
    "complex": (lambda: nn.Sequential(Real(), nn.Linear(4, 4, dtype=torch.complex64), Real(False)),
                "torch.complex64"),
}  # fmt: skip


class Real(nn.Module):
    def __init__(self, to: bool = True) -> None:
        super().__init__()
        self.to_complex = to

    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.complex64) if self.to_complex else x.real


@pytest.mark.parametrize("name", COMPUTED)
def test_a_layer_that_computes_otherwise_stays_real_as_it_was_and_is_named(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, reason = COMPUTED[name]
    odd, x = make().eval(), torch.randn(2, 4)
    with torch.no_grad():
        expected = odd(x)
    model = binarize(nn.Sequential(odd, nn.Linear(4, 2)), "all", input_shape=(4,))
    with torch.no_grad():
        torch.testing.assert_close(odd(x), expected)
    assert binary(model) == ["1"]
    ((where, why),) = reasons(model).items()
    assert where.startswith("0")
    assert re.search(reason, why), why
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert why in warning.getMessage()


def test_all_says_what_it_leaves_real_and_how_much(caplog: pytest.LogCaptureFixture) -> None:
    model = binarize(Recurrent(), "all", input_shape=(5, 4))
    said = str(model.conversion)
    assert said.startswith("16 of 400 weights became binary, in 1 part; these stay real:")
    assert "384 in read (LSTM): no linear or convolutional layer" in said
    assert caplog.records[-1].levelno == logging.WARNING
    assert said in caplog.text


def test_what_a_policy_leaves_real_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model = binarize(net, input_shape=(4,))
    assert reasons(model) == {
        "0": "the policy leaves the first layer real",
        "2": "the policy leaves the last layer real",
    }
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_weight_that_an_embedding_has_stays_real_and_tied() -> None:
    net = Reader(tied=True)
    model = binarize(net, "all", input_shape=(6,))
    assert reasons(model)["head"] == "its weight is 'embed.weight', which stays real"
    assert net.head.weight is net.embed.weight
    assert not bool(net.head.weight.abs().eq(1).all())


def test_weights_in_the_same_memory_stay_real() -> None:
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight = nn.Parameter(one.weight.detach().t())
    model = binarize(nn.Sequential(one, two, nn.Linear(4, 2)), "all")
    assert reasons(model) == {
        "0": "its weight shares its memory with '1.weight', which stays real",
        "1": "its weight shares its memory with '0.weight', which stays real",
    }


def test_weights_beside_each_other_in_one_memory_become_binary() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    vector = parameters_to_vector(net.parameters()).detach()
    vector_to_parameters(vector, net.parameters())
    biases = [part.bias.clone() for part in net]
    assert binary(binarize(net, "all")) == ["0", "1"]
    assert all(torch.equal(part.bias, bias) for part, bias in zip(net, biases, strict=True))


def test_a_layer_that_is_binary_already_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(bnnlab.BinaryLinear(4, 4), nn.Linear(4, 2))
    assert binary(binarize(net, "all", input_shape=(4,))) == ["0", "1"]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    with pytest.raises(ValueError, match="1: it is binary already"):
        binarize(net, "all")


class Tied(nn.Module):
    """An autoencoder whose decoder reads the encoder's weight, in several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.encode, self.mid, self.way = nn.Linear(6, 4), nn.Linear(4, 4), way
        self.alias = self.encode.weight.data

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.encode(x).relu())
        if self.way == "training" and not self.training:
            return x.sign()
        ways = {"parameter": self.encode.weight, "data": self.encode.weight.data}
        return F.linear(x, ways.get(self.way, self.alias).t()).sign()


@pytest.mark.parametrize("way", ["parameter", "data", "alias", "training"])
def test_a_weight_that_other_code_reads_stays_real(way: str) -> None:
    model = binarize(Tied(way), "all", input_shape=(6,))
    assert reasons(model) == {"encode": "its weight is read by others than the layer itself"}


def test_a_layer_that_no_input_reaches_is_named() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare, self.used = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.used(x) if len(x) else self.spare(x)
            return y

    assert reasons(binarize(Spare(), "all", input_shape=(4,))) == {
        "spare": "it is not called at test, though others may read its weight"
    }


def test_a_layer_of_which_a_copy_runs_stays_real_and_is_named() -> None:
    class Copying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.copied, self.used = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.used(copy.deepcopy(self.copied)(x))
            return y

    assert reasons(binarize(Copying(), "all", input_shape=(4,))) == {
        "copied": "it is not called at test, though others may read its weight"
    }


# ------------------------------------------------------------ the order of execution


class HeadFirst(nn.Module):
    """Registers its parts from the last to the first, and has two heads."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 1)
        self.second, self.first = nn.Linear(4, 4), nn.Linear(4, 4)
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x))
        if self.whole and x.sum() > 0:
            x = 2 * x
        return torch.cat([self.left(x), self.right(x)], 1)


@pytest.mark.parametrize("shape", [None, (4,)])
def test_inner_goes_by_the_order_of_execution(shape: Any) -> None:
    assert binary(binarize(HeadFirst(whole=False), input_shape=shape)) == ["second"]


class Auxiliary(nn.Module):
    """Calls a layer in training alone, after the others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mid, self.head, self.aux = (nn.Linear(4, 4) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.first(x))
        y: Tensor = self.head(x)
        return y + self.aux(x) if self.training else y


def test_inner_goes_by_the_order_at_test_and_what_is_called_in_training_alone_stays_real() -> None:
    model = binarize(Auxiliary(), input_shape=(4,))
    assert binary(model) == ["mid"]
    assert reasons(model)["aux"].startswith("it is not called at test")


def test_inner_of_what_cannot_be_recorded_needs_a_probe() -> None:
    with pytest.raises(UsageError, match=r"which layer is called first.*pass input_shape="):
        binarize(HeadFirst(whole=True))
    assert binary(binarize(HeadFirst(whole=True), input_shape=(4,))) == ["left", "second"]


def test_all_of_what_cannot_be_recorded_says_that_nothing_was_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    binarize(HeadFirst(whole=True), "all")
    assert "pass input_shape=(...)" in caplog.text


class ReadingZeros(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)
        nn.init.zeros_(self.a.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.b(self.a(x) + x @ self.a.weight.data)
        return y


def test_a_forward_that_is_called_as_such_is_the_binary_layers() -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.two(self.one.forward(x).to(self.two.weight.dtype))
            return y

    net = Direct()
    model = binarize(net, "all", input_shape=(4,))
    assert binary(model) == ["one", "two"]
    x = torch.randn(3, 4)
    assert torch.equal(model(x), net(x))


def test_a_function_is_warned_of_what_it_chose_in_vain(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(Doubled(4, 4), nn.Linear(4, 2))
    binarize(net, lambda name, _: name == "1")
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    net = nn.Sequential(Doubled(4, 4), nn.Linear(4, 2))
    binarize(net, lambda *_: True)
    assert "4 in 0 (Doubled)" not in caplog.text
    assert "16 in 0 (Doubled): a subclass of Linear may do more" in caplog.text


@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
@pytest.mark.filterwarnings("ignore:.*[Ss]parse:UserWarning")
def test_a_sparse_weight_stays_real_and_a_sparse_buffer_is_no_obstacle(layout: str) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net.register_buffer("graph", getattr(torch.eye(4), layout)())
    net[0].weight = nn.Parameter(getattr(net[0].weight.detach(), layout)())
    model = binarize(net, "all")
    assert binary(model) == ["1"]
    assert layout.removeprefix("to_") in reasons(model)["0"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_that_are_nothing_but_rounding_are_not_compared(dtype: torch.dtype) -> None:
    net = VisionTransformer(16, 8, 2, 2, 24, 32, num_classes=5).to(dtype)  # its head is 0
    model = binarize(net, "all", input_shape=(3, 16, 16))
    assert "heads.head" in binary(model)


def test_that_a_weight_of_zeros_is_read_by_others_is_seen() -> None:
    assert binary(binarize(ReadingZeros(), "all", input_shape=(4,))) == ["b"]
