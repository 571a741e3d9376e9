"""Values of each layer, gradient descent and a scale's schedule, as in Laydevant et al."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from bop_paper import FORMS, Paper, PaperAdam, PaperDescent, Staircase, compare
from torch import Tensor, nn

from bnnlab import BinaryLinear, Model
from bnnlab.errors import UsageError
from bnnlab_bop.optimizer import Bop
from bnnlab_testing.equations import float64, make_closure, make_model

LISTS: dict[str, Any] = {
    "gamma": [0.1, 0.01, 0.03],
    "threshold": [1e-4, 3e-5, 2e-4],
    "real_lr": [0.003, 0.002, 0.001],
    "scale_lr": [0.01, 0.0, 0.02],
    "scale_lr_decay": 0.5,
    "scale_lr_decay_steps": 15,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("real_optimizer", ["adam", "sgd"])
def test_25_steps_agree_with_the_equations_with_values_of_its_own_for_each_layer(
    form: str, real_optimizer: str
) -> None:
    one, two, three = make_model().double().segments
    model = Model([one, nn.Identity(), two, three], (1, 8, 8))  # nothing to learn: no layer
    optimizer = Bop(model, form=form, real_optimizer=real_optimizer, **LISTS)
    binary, papers = model.binary_parameters(), dict[str, Paper | Staircase]()
    real = PaperAdam if real_optimizer == "adam" else PaperDescent
    for name, parameter in model.named_parameters():
        layer, w = {"0": 0, "2": 1, "3": 2}[name.split(".")[1]], float64(parameter)
        if name in binary:
            gamma, tau = LISTS["gamma"][layer], LISTS["threshold"][layer]
            papers[name] = Paper(w, gamma, tau, 1.0, 1)
        elif name.endswith(".scale"):
            papers[name] = real(w, LISTS["scale_lr"][layer], 0.5, 15)
        else:
            papers[name] = real(w, LISTS["real_lr"][layer])
    assert sum(name.endswith(".scale") for name in papers) == 2
    compare(model, optimizer, papers, 1e-9)


@pytest.mark.parametrize("real_optimizer", ["adam", "sgd"])
def test_one_value_is_the_same_for_all_layers(real_optimizer: str) -> None:
    """Bit for bit, and with the flips; it parts no group."""
    ends = []
    for times in (None, 3):
        values = {"gamma": 0.01, "threshold": 1e-5, "real_lr": 0.003, "scale_lr": 0.002}
        options = {key: value if times is None else [value] * 3 for key, value in values.items()}
        model = make_model()
        optimizer = Bop(model, real_optimizer=real_optimizer, scale_lr_decay=0.5, **options)
        assert len(optimizer.param_groups) == 3 * (times or 1)
        for step in range(5):
            optimizer.step(make_closure(model, step))
        ends.append((list(model.parameters()), optimizer.diagnostics()))
    assert all(map(torch.equal, ends[0][0], ends[1][0]))
    assert ends[0][1] == ends[1][1]
    assert ends[0][1]["flips_per_weight"] > 0


def test_one_value_for_all_makes_two_groups() -> None:
    weights, rest = Bop(make_model(), gamma=0.5, real_lr=0.25).param_groups
    assert (weights["lr"], len(weights["params"])) == (0.5, 3)
    assert (rest["lr"], len(rest["params"])) == (0.25, 6)


def test_lists_part_the_groups_in_order() -> None:
    """Weights, then the rest, then scaling factors; the second layer has none of these."""
    model = make_model()
    groups = Bop(model, **LISTS).param_groups
    assert [group["learned"] for group in groups] == [True] * 3 + [False] * 6
    rates = [rate for option in ("gamma", "real_lr", "scale_lr") for rate in LISTS[option]]
    assert [group["lr"] for group in groups] == rates
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert [[names[each] for each in group["params"]] for group in groups] == [
        ["segments.0.0.weight"],
        ["segments.1.0.weight"],
        ["segments.2.weight"],
        ["segments.0.0.bias", "segments.0.2.weight", "segments.0.2.bias"],
        ["segments.1.0.bias"],
        [],
        ["segments.0.0.scale"],
        [],
        ["segments.2.scale"],
    ]


@pytest.mark.parametrize("option", ["gamma", "threshold", "real_lr", "scale_lr"])
@pytest.mark.parametrize("length", [0, 2, 4])
def test_a_list_of_another_length_is_refused(option: str, length: int) -> None:
    with pytest.raises(UsageError, match=rf"optimizer\.{option}: {length} values.* for 3 layers"):
        Bop(make_model(), **{option: [0.1] * length})


def test_a_parameter_that_layers_share_is_the_first_ones() -> None:
    layer = BinaryLinear(4, 4, bias=True)
    model = Model([layer, nn.Sequential(layer, nn.LayerNorm(4))])
    first, second, *real = Bop(model, gamma=[0.1, 0.2], real_lr=[0.3, 0.4]).param_groups
    assert (len(first["params"]), len(second["params"])) == (1, 0)
    assert [len(group["params"]) for group in real] == [1, 2]


def test_a_layer_without_binary_weights_only_has_real_ones_to_learn() -> None:
    draws = torch.Generator().manual_seed(2)
    model = Model([nn.Linear(8, 6), BinaryLinear(6, 3, generator=draws)])
    optimizer = Bop(model, gamma=[1.0, 0.5], threshold=[9.0, 0.0])
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def closure() -> Tensor:
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        return torch.zeros(())

    optimizer.step(closure)
    linear, bias, binary = model.parameters()
    assert torch.allclose(linear, before[0] - 0.01)
    assert torch.allclose(bias, before[1] - 0.01)
    assert binary.eq(-1).all()
    share = float(before[2].eq(1).double().mean())
    assert share > 0
    assert optimizer.diagnostics() == {"flips_per_weight": share}


class Scaled(nn.Module):
    """It has a `scale`, in the shape of a binary layer's, and no binary weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))


def test_scaling_factors_are_found_by_their_owners() -> None:
    layer = BinaryLinear(4, 4, bias=True, scale="learned")
    model = Model([nn.Sequential(layer, Scaled())])
    _, rest, scales = Bop(model, scale_lr=0.5).param_groups
    assert [id(each) for each in scales["params"]] == [id(layer.scale)]
    assert len(rest["params"]) == 2


@pytest.mark.parametrize("real_optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("scale_lr", "moves"), [(None, True), (0.25, True), (0.0, False)])
def test_scaling_factors_learn_with_the_rest_unless_they_have_a_rate_of_their_own(
    real_optimizer: str, scale_lr: float | None, moves: bool
) -> None:
    """At the same rate it makes no difference; at 0 they are fixed."""
    models = [make_model() for _ in range(2)]
    usual = Bop(models[0], real_optimizer=real_optimizer, real_lr=0.25)
    own = Bop(models[1], real_optimizer=real_optimizer, real_lr=0.25, scale_lr=scale_lr)
    usual.step(make_closure(models[0], 0))
    own.step(make_closure(models[1], 0))
    for (name, one), two, start in zip(
        models[0].named_parameters(), models[1].parameters(), make_model().parameters(), strict=True
    ):
        wanted = one if moves or not name.endswith("scale") else start
        assert torch.equal(two, wanted), name


@pytest.mark.parametrize("scale_lr", [0.1, [0.0, 0.1]])
def test_a_rate_for_scaling_factors_that_are_not_there_is_refused(
    scale_lr: float | list[float],
) -> None:
    with pytest.raises(UsageError, match=r"optimizer\.scale_lr.*no scaling factors"):
        Bop(Model([BinaryLinear(4, 4), nn.LayerNorm(4)]), scale_lr=scale_lr)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("real_optimizer", ["adam", "sgd"])
def test_values_of_each_layer_go_on_from_a_state_dict_between_two_decays(
    form: str, real_optimizer: str
) -> None:
    """Saved after 3 steps, with a decay after every 4; rates and counts are the saved ones."""

    def make(model: Model, scale_lr: list[float]) -> Bop:
        options = {**LISTS, "scale_lr": scale_lr, "scale_lr_decay_steps": 4}
        return Bop(model, form=form, real_optimizer=real_optimizer, **options)

    model, again = make_model(), make_model()
    optimizer, resumed = make(model, LISTS["scale_lr"]), make(again, [0.3, 0.3, 0.3])
    for step in range(3):
        optimizer.step(make_closure(model, step))
    again.load_state_dict(deepcopy(model.state_dict()))
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    for step in range(3, 9):
        optimizer.step(make_closure(model, step))
        resumed.step(make_closure(again, step))
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    assert optimizer.diagnostics() == resumed.diagnostics()
    assert [group["lr"] for group in resumed.param_groups[6:]] == [0.0025, 0.0, 0.005]
