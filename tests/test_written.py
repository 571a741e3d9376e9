"""Weights that others write or load are learned from, or refused by name."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trained_toys import BINARY, first_weight, go_on, trained

import bnnlab
from bnnlab import BinaryLinear, Model, RunError, TaskContext
from bnnlab_testing import toy
from bnnlab_testing.asserting import flat


def test_weights_that_are_loaded_are_drawn_around_at_once() -> None:
    model, optimizer = trained("bimu")
    for weight in optimizer.learned():
        optimizer.state[weight]["lambda"] = 50 * weight.detach()
    loaded = {name: -value for name, value in model.state_dict().items()}
    model.load_state_dict(loaded)
    for _ in optimizer.predictive(1):
        assert torch.equal(first_weight(model), loaded["segments.0.0.weight"])


def test_a_written_weight_keeps_the_size_behind_it_and_its_moments() -> None:
    model, optimizer = trained("adam")
    weight = first_weight(model)
    size, moment = (optimizer.state[weight][key].clone() for key in ("latent", "m"))
    with torch.no_grad():
        weight.neg_()
    seen = {}

    def closure() -> Tensor:
        seen.update({key: value.clone() for key, value in optimizer.state[weight].items()})
        return torch.zeros(())

    optimizer.step(closure)
    assert torch.equal(seen["latent"], -size)
    assert torch.equal(seen["m"], moment)


@pytest.mark.parametrize("name", ["adam", "bimu"])
@pytest.mark.parametrize("model_first", [True, False])
def test_states_are_loaded_in_any_order(name: str, model_first: bool) -> None:
    model, optimizer = trained(name)
    copied, other = trained(name, steps=1)
    parts = [(copied, model.state_dict()), (other, copy.deepcopy(optimizer.state_dict()))]
    for part, state in parts if model_first else reversed(parts):
        part.load_state_dict(state)
    for both in ((model, optimizer), (copied, other)):
        go_on(*both, steps=3)
    assert flat(optimizer.state_dict()) == flat(other.state_dict())
    assert flat(model.state_dict()) == flat(copied.state_dict())


def test_loaded_state_has_the_types_that_were_saved() -> None:
    kept = {
        "mask": torch.tensor([True, False]),
        "count": torch.tensor(2**24 + 1, dtype=torch.int32),
        "long": torch.tensor([2**53 + 1]),
        "exact": torch.full((2,), 0.1, dtype=torch.float64),
        "name": "warm",
        "nested": {"step": torch.tensor(3), "parts": [torch.tensor([1], dtype=torch.uint8)]},
    }
    (model, optimizer), (_, other) = trained("adam"), trained("adam")
    optimizer.state[first_weight(model)].update(kept)
    saved = optimizer.state_dict()
    other.load_state_dict(saved)
    assert flat(other.state_dict()) == flat(saved)
    loaded = other.state[other.learned()[0]]
    assert torch.equal(loaded["long"], kept["long"])
    loaded["nested"]["parts"].clear()
    assert kept["nested"]["parts"], "what was loaded is part of what was saved"
    model.double()
    optimizer.load_state_dict(saved)
    state = optimizer.state[first_weight(model)]
    assert (state["latent"].dtype, state["mask"].dtype) == (torch.float64, torch.bool)


def test_hooks_before_loading_are_heard() -> None:
    _, optimizer = trained("adam")

    def hook(_: object, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "state": {}}

    optimizer.register_load_state_dict_pre_hook(hook)
    optimizer.load_state_dict(optimizer.state_dict())
    assert not optimizer.state


def test_the_weights_in_the_model_are_the_truth_where_only_state_is_loaded() -> None:
    (model, optimizer), (_, other) = trained("adam"), trained("adam", latent_init=0.5)
    before = first_weight(model).clone()
    optimizer.load_state_dict(copy.deepcopy(other.state_dict()))
    for group in optimizer.param_groups:
        group["lr"] = 1e-9
    go_on(model, optimizer)
    assert torch.equal(first_weight(model), before)


def test_one_weight_that_is_written_past_the_count_of_writes_is_refused_within_50_steps() -> None:
    model, optimizer = trained("ewc")
    first_weight(model).data[0, 0, 0, 0] *= -1
    with pytest.raises(RunError, match=r"segments\.0\.0\.weight was written through `\.data`"):
        go_on(model, optimizer, steps=50)


def test_what_is_wrong_is_reported_at_every_look_until_it_is_mended() -> None:
    model, optimizer = trained("adam")
    first_weight(model).data.neg_()
    for look in (optimizer.look, lambda: go_on(model, optimizer, steps=50), optimizer.look):
        with pytest.raises(RunError, match=r"was written through `\.data`"):
            look()
    model.load_state_dict(model.state_dict())
    optimizer.look()
    model.segments[2][0].bias.data.fill_(math.nan)
    for _ in range(2):
        with pytest.raises(RunError, match=r"segments\.2\.0\.bias is not finite"):
            optimizer.look()
    model.segments[2][0].bias.data.zero_()
    optimizer.look()


def test_a_look_that_fails_for_another_reason_reports_no_write_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, optimizer = trained("adam")
    with monkeypatch.context() as patch:
        patch.setattr(optimizer, "latent", lambda _: torch.zeros(3))
        with pytest.raises(RunError, match=r"latent\(\) of"):
            optimizer.look()
    optimizer.look()


def test_what_is_no_sign_is_blamed_on_who_wrote_it() -> None:
    model, optimizer = trained("adam")
    first_weight(model).data.fill_(0.5)
    with pytest.raises(RunError, match=r"through `\.data`.* and holds more than -1 and \+1"):
        optimizer.look()


@pytest.mark.parametrize("name", sorted({*BINARY} - {"bop"}))
def test_one_weight_that_was_written_through_data_is_seen_by_a_look(name: str) -> None:
    model = toy.make_linear_model((1, 40, 40), 10)
    optimizer = bnnlab.create("optimizer", name, model, seed=0)
    optimizer.look()
    first_weight(model).data[-1, -1] *= -1
    with pytest.raises(RunError, match=r"keeps behind it differ in sign.* through `\.data`"):
        optimizer.look()
    first_weight(model).data[-1, -1] *= -1
    optimizer.look()


def test_a_task_begins_and_ends_with_a_look() -> None:
    model, optimizer = trained("adam")
    context = TaskContext(toy.make_task(1), model, toy.ToyRule(), 20, 1)
    for told in (optimizer.task_started, optimizer.task_ended):
        first_weight(model).data.neg_()
        with pytest.raises(RunError, match=r"through `\.data`"):
            told(context)
        model.load_state_dict(model.state_dict())
        optimizer.look()


def test_data_that_is_put_back_is_nobodys_business() -> None:
    model, optimizer = trained("adam")
    weight = first_weight(model)
    kept, weight.data = weight.data, -weight.data
    weight.data = kept
    go_on(model, optimizer, steps=50)
    optimizer.look()


@pytest.mark.parametrize("change", [Model.double, lambda model: model.to(torch.bfloat16)])
def test_a_model_that_is_converted_is_no_other(change: Callable[[Model], Model]) -> None:
    model, optimizer = trained("bop")
    change(model)
    inputs, targets = next(toy.make_task().train.batches(20))
    batch = inputs.to(first_weight(model).dtype), targets
    optimizer.step(toy.ToyRule().closure(model, batch))
    model.to(memory_format=torch.channels_last)
    optimizer.step(toy.ToyRule().closure(model, batch))
    optimizer.look()


class Prunes(toy.ToyOptimizer):
    """Writes weights when a task ends."""

    def task_ended(self, context: TaskContext) -> None:
        for weight in self.learned():
            weight.data.fill_(1)
            self.state[weight]["latent"].abs_()


def test_what_an_optimizer_writes_when_it_hears_of_a_task_is_its_own() -> None:
    model = toy.make_model()
    optimizer = Prunes(model, generator=torch.Generator(), lr=1e-9)
    toy.train(model, toy.ToyRule(), optimizer, toy.make_task(), steps=2, end=True)
    go_on(model, optimizer)
    optimizer.look()
    assert bool((first_weight(model) == 1).all())


def test_weights_that_are_loaded_before_a_task_begins_are_learned_from() -> None:
    model, optimizer = trained("bimu")
    loaded = {name: -value for name, value in model.state_dict().items()}
    model.load_state_dict(loaded)
    for group in optimizer.param_groups:
        group["lr"] = 1e-9
    toy.train(model, toy.ToyRule(), optimizer, toy.make_task(1), steps=1)
    assert torch.equal(first_weight(model), loaded["segments.0.0.weight"])


@pytest.mark.parametrize("name", ["adam", "bayesbinn"])
def test_a_step_with_a_model_of_other_parameters_is_refused(name: str) -> None:
    model, optimizer = trained(name)
    other = Model([nn.Sequential(*model.segments)])  # no parameter has a name of the first model's
    for one in (copy.deepcopy(model), copy.deepcopy(other)):
        with pytest.raises(RunError, match="another model"):
            go_on(one, optimizer)
    model.segments[2][0].bias = nn.Parameter(torch.zeros(3))
    with pytest.raises(RunError, match=r"segments\.2\.0\.bias is no longer the parameter"):
        go_on(model, optimizer)
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    with pytest.raises(RunError, match="all parameters were replaced"):
        go_on(model, optimizer)


def test_tied_binary_weights_are_learned_once() -> None:
    layers = BinaryLinear(16, 16), BinaryLinear(16, 16)
    layers[1].weight = layers[0].weight
    model = Model(layers, (16,))
    optimizer = bnnlab.create("optimizer", "adam", model)
    assert len(optimizer.learned()) == 1
    batch = torch.randn(8, 16), torch.arange(8)
    optimizer.step(toy.ToyRule().closure(model, batch))
    optimizer.look()
