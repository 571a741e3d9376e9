"""A module that gives other outputs on some path, or does not fit, is refused as it was."""

import copy
import functools
import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab import Model, Sign, UsageError, binarize, cut
from bnnlab.interfaces.model import segment_shapes

pytestmark = pytest.mark.usefixtures("seeded")


class Other(nn.Module):
    """Computes in another way on one path."""

    def __init__(self, way: Callable[[], bool]) -> None:
        super().__init__()
        self.one, self.two, self.way = nn.Linear(4, 4), nn.Linear(4, 2), way

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.one.weight) if self.way() else self.one(x)
        y: Tensor = self.two(x)
        return y


WAYS = {
    "torch.no_grad": lambda: not torch.is_grad_enabled() and not torch.is_inference_mode_enabled(),
    "torch.inference_mode": torch.is_inference_mode_enabled,
}


@pytest.mark.parametrize("path", WAYS)
def test_another_result_on_a_path_is_refused_and_nothing_is_changed(path: str) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), Other(WAYS[path]))
    state, twin = copy.deepcopy(net.state_dict()), copy.deepcopy(net)
    with pytest.raises(UsageError, match=rf"outputs under {path}.*beginning at '2' \(Other\)"):
        binarize(net, "all", activations="sign", input_shape=(4,))
    assert [type(part) for part in net.modules()] == [type(part) for part in twin.modules()]
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    with pytest.raises(UsageError, match=rf"outputs under {path}"):
        cut(net, (4,))
    assert net[1].inplace


class Copying(Other):
    """Runs a copy of a part, too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(copy.deepcopy(self.one)(x))


def test_the_first_part_that_differs_is_named_where_a_copy_of_a_part_runs() -> None:
    with pytest.raises(UsageError, match=r"other outputs under torch\.no_grad.*beginning at '1'"):
        cut(nn.Sequential(nn.Linear(4, 4), Copying(WAYS["torch.no_grad"])), (4,))


def wrapped(method: Any) -> Any:
    @functools.wraps(method)
    def call(*args: Any) -> Any:
        return method(*args)

    return call


class Dropping(nn.Module):
    """Asks whether it is training where its forward does not show it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.layer(x))

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, self.training)


class Within(Dropping):
    def forward(self, x: Tensor) -> Tensor:
        return sum(F.dropout(y, 0.5, self.training) for y in [self.layer(x)])  # type: ignore[return-value]


class Wrapped(Dropping):
    @wrapped
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.layer(x), 0.5, self.training)


class Replaced(nn.Sequential):
    """Has a forward of its own put on itself, which asks in a function."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 2), nn.Tanh())
        self.forward = lambda x: helper(self, self[0](x))  # type: ignore[method-assign]


def helper(module: nn.Module, x: Tensor) -> Tensor:
    return F.dropout(x, 0.5, module.training)


def scripted() -> nn.Module:
    script: nn.Module = torch.jit.script(nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)))
    return script


@pytest.mark.parametrize("make", [Dropping, Within, Wrapped, Replaced, scripted])
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_what_asks_anywhere_whether_it_is_training_may_differ_then(
    make: Callable[[], nn.Module],
) -> None:
    model = binarize(
        nn.Sequential(nn.Linear(4, 4), make(), nn.Linear(2, 2)), "all", input_shape=(4,)
    )
    assert len(model.segments) == (1 if make is Replaced else 3)


def test_a_forward_that_was_put_on_a_module_is_the_one_that_counts() -> None:
    net = Replaced().eval()
    x = torch.randn(2, 4)
    (segment,) = cut(net)
    assert torch.equal(segment(x), net[0](x))


def test_a_train_of_its_own_that_makes_other_outputs_is_refused() -> None:
    class Merging(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.factor = nn.Linear(4, 2), 1

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(x) * self.factor
            return y

        def train(self, mode: bool = True) -> nn.Module:
            self.factor = 1 if mode else 2
            return super().train(mode)

    with pytest.raises(UsageError, match="other outputs in training mode"):
        binarize(nn.Sequential(nn.Linear(4, 4), Merging()), "all", input_shape=(4,))


def test_a_module_that_changes_its_inputs_is_refused() -> None:
    class Centred(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input.sub_(1))

    for convert in (lambda net: cut(net, (4,)), lambda net: binarize(net, "all", input_shape=(4,))):
        with pytest.raises(UsageError, match="changes its inputs in place"):
            convert(nn.Sequential(Centred(4, 4), nn.Linear(4, 2)))


class Fixed(dict[str, int]):
    """Cannot be changed, as configurations of others."""

    def clear(self) -> None:
        raise NotImplementedError


class Touching(nn.Module):
    """Draws from every generator and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(4), nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.latest = x
        y: Tensor = self.layer(self.norm(x)) + torch.rand(2) + random.random()
        return y * float(numpy.random.rand()) / self.calls


def test_the_check_leaves_the_module_and_the_generators_as_they_were() -> None:
    net = nn.Sequential(nn.Linear(4, 4), Touching())
    net[0].eval()
    net[0].config = Fixed(a=1)
    net[0].bias.grad = torch.ones(4)
    names = [list(vars(part)) for part in net.modules()]
    states = random.getstate(), str(numpy.random.get_state()), torch.get_rng_state()
    model = binarize(net, "all", input_shape=(4,))
    assert random.getstate() == states[0]
    assert str(numpy.random.get_state()) == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert [part.training for part in net.modules()] == [True, False, True, True, True]
    left = [[name for name in vars(part) if name != "fixed_scale"] for part in net.modules()]
    assert left == names
    assert net[0].bias.grad.eq(1).all()
    assert net[1].calls == 0
    assert net[1].norm.num_batches_tracked == 0
    assert model.conversion is not None
    assert model.conversion.checked
    assert segment_shapes(model, (4,))[-1] == (2,)
    assert net[1].calls == 0
    assert not hasattr(net[1], "latest")
    assert torch.equal(torch.get_rng_state(), states[2])


class Several(nn.Module):
    def __init__(self, answer: Callable[[Tensor], Any], sequence: bool = False) -> None:
        super().__init__()
        self.layer, self.answer, self.sequence = nn.Linear(4, 4), answer, sequence

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.layer(x))


@pytest.mark.parametrize(
    "convert", [lambda net: binarize(net, "all"), cut], ids=["binarize", "cut"]
)
@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Several(lambda y: (y, y)), "Several returns a tuple, and a model must return one tensor"),
        (Several(lambda y: {"logits": y}), "Several returns a dict"),
        (nn.Linear(2, 3).state_dict(), "torch.nn.Module is needed, and this is a OrderedDict"),
        (nn.Bilinear(2, 3, 4), r"Bilinear takes \(input1, input2\), and a model must take one"),
        (nn.Sequential(nn.Linear(2, 2), nn.LazyLinear(3)), r"'1\.weight' has no values yet: run"),
    ],
)
def test_several_inputs_or_outputs_and_lazy_layers_are_refused_in_words(
    net: nn.Module, message: str, convert: Callable[[nn.Module], Any]
) -> None:
    with pytest.raises(UsageError, match=message):
        convert(net)


def test_a_model_refuses_several_inputs_and_several_outputs() -> None:
    with pytest.raises(UsageError, match=r"Bilinear takes \(input1, input2\)"):
        Model([nn.Bilinear(2, 3, 4)])
    with pytest.raises(UsageError, match="LSTM returns a tuple, and a model must return one"):
        Model([nn.LSTM(4, 2)])(torch.randn(3, 5, 4))
    with pytest.raises(UsageError, match=r"LSTM returns a tuple in evaluation mode"):
        cut(nn.LSTM(4, 2), (5, 4))


def test_an_input_of_another_shape_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"cannot take inputs \(B, 5\).*in input_shape"):
        binarize(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "all", input_shape=(5,))


@pytest.mark.parametrize("shape", [4, (-4,), "4", (0,), (2.5,)])
def test_what_is_no_shape_is_refused_in_words(shape: Any) -> None:
    for make in (lambda: binarize(nn.Linear(4, 2), "all", input_shape=shape),
                 lambda: cut(nn.Linear(4, 2), shape),
                 lambda: Model([nn.Linear(4, 2)], shape)):  # fmt: skip
        with pytest.raises(UsageError, match="write the shape of one input"):
            make()


def test_no_activation_to_replace_is_refused() -> None:
    with pytest.raises(ValueError, match="no activation module of torch"):
        binarize(nn.Sequential(nn.Linear(4, 2)), "all", activations="sign")
    with pytest.raises(ValueError, match=r"'0' \(Leaky\) has a class or a forward of its own"):
        binarize(nn.Sequential(Leaky(), nn.Linear(4, 2)), "all", activations="sign")


class Leaky(nn.ReLU):
    pass


def test_rounding_that_a_sign_enlarges_is_not_taken_for_a_difference() -> None:
    class Edge(nn.Module):
        """Its sign is that of rounding, on one path and in float32 alone."""

        def forward(self, x: Tensor) -> Tensor:
            noise = 1e-7 if torch.is_grad_enabled() or x.dtype == torch.float64 else -1e-7
            return x * 0 + noise

    net = nn.Sequential(nn.Linear(4, 4), Edge(), Sign(), nn.Linear(4, 2))
    assert len(binarize(net, "all", input_shape=(4,)).binary_parameters()) == 2


def test_a_hook_that_writes_a_binary_weight_is_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].register_forward_pre_hook(lambda layer, _: layer.weight.data.clamp_(-0.1, 0.1))
    before = net[0].weight.clone()
    with pytest.raises(UsageError, match="running the module changes the weight of '1'"):
        binarize(net, "all", input_shape=(4,))
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 2)).to("meta"), "meta device"),
        (lambda: nn.Sequential(torch.jit.script(nn.Linear(4, 2))), "no linear or convolutional"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_layers_without_values_and_of_torchscript_are_named(
    net: Callable[[], nn.Module], message: str
) -> None:
    for shape in (None, (4,)):
        with pytest.raises((UsageError, ValueError), match=message):
            binarize(net(), "all", input_shape=shape)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused_by_name(value: float) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    net[2].weight.data[1, 2] = value
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UsageError, match="weight of '2' is not finite"):
        binarize(net, "all")
    assert type(net[0]) is nn.Linear
    assert torch.equal(net[0].weight, before["0.weight"])


def test_what_weights_of_0_become_is_said(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 2))
    nn.init.zeros_(net[2].weight)
    net[0].weight.data[0] = -torch.zeros(4)
    binarize(net, "all")
    assert net[0].weight[0].eq(-1).all()
    assert net[2].weight.eq(1).all()
    assert (
        "0 becomes +1, and -0 becomes -1: 25% of the weights of '0', 100% of the weights of '2'"
        in caplog.text
    )
    assert "'3'" not in caplog.text


class Adding(nn.Module):
    """Is nothing but rounding where gradients are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 5)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.norm(x))
        return y if torch.is_grad_enabled() else y + 1e-3


def test_outputs_that_are_not_finite_are_said_to_compare_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Log(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(-1 - input.abs()).mul(0).sub(1).log()

    binarize(
        nn.Sequential(nn.Linear(4, 4), Log(4, 4)), lambda name, _: name == "0", input_shape=(4,)
    )
    assert "no finite number for probe inputs: nothing can be compared" in caplog.text


def test_what_is_more_than_rounding_is_still_refused() -> None:
    with pytest.raises(UsageError, match=r"other outputs under torch\.no_grad"):
        binarize(Adding(), "all", input_shape=(24,))
