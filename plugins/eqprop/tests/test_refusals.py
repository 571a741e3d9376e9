"""What the relaxing rules and their models refuse, and what the message says."""

import copy
from typing import Any

import pytest
import torch
from eqprop_nets import attached, batch_for, dense, eqprop, gradient, randn, redrawn, run
from torch import nn

import bnnlab
from bnnlab import BatchNorm, Model, RunError, Sign, UsageError
from bnnlab_eqprop.bptt import BackpropagationThroughTime
from bnnlab_eqprop.rule import EquilibriumPropagation
from bnnlab_eqprop.units import MeanOfCopies


@pytest.mark.parametrize("option", ["free_steps", "nudge_steps", "beta"])
def test_a_0_that_would_teach_nothing_is_refused_by_name(option: str) -> None:
    with pytest.raises(UsageError, match=rf"rule\.{option}: 0 must be (at least 1|above 0)"):
        run(optimizer="adam", set={f"rule.{option}": 0})


UNFIT: dict[str, tuple[list[nn.Module], str]] = {
    "signs": ([nn.Linear(4, 6), Sign()], "segment 1 has Sign"),
    "normalisation": ([nn.Linear(4, 6), BatchNorm(6), nn.ReLU()], "segment 1 has BatchNorm"),
    "dropout": ([nn.Linear(4, 6), nn.ReLU(), nn.Dropout()], "segment 1 has Dropout"),
    "two activations": ([nn.Linear(4, 6), nn.ReLU(), nn.Tanh()], "segment 1 has Tanh"),
    "two layers": ([nn.Linear(4, 6), nn.Linear(6, 6)], "segment 1 has Linear"),
    "nothing in front": ([nn.ReLU(), nn.Linear(4, 6)], "segment 1 has ReLU"),
}


@pytest.mark.parametrize("kind", [EquilibriumPropagation, BackpropagationThroughTime])
@pytest.mark.parametrize("name", UNFIT)
def test_what_has_no_energy_is_refused_with_what_to_take(name: str, kind: Any) -> None:
    parts, message = UNFIT[name]
    model = Model([nn.Sequential(*parts), nn.Linear(6, 2)], (4,))
    with pytest.raises(UsageError, match=f"{message}.*eqprop-mlp or eqprop-conv"):
        attached(kind(), model)
    assert model.inference is None


def test_a_segment_without_weights_is_named() -> None:
    model = Model([nn.Linear(4, 6), nn.Identity(), nn.Linear(6, 2)], (4,))
    with pytest.raises(UsageError, match="segment 2 has"):
        eqprop(model)


@pytest.mark.parametrize("padding", [{"padding": "same"}, {"padding_mode": "circular"}])
def test_a_convolution_with_another_padding_is_refused(padding: dict[str, Any]) -> None:
    model = Model([nn.Conv2d(1, 3, 3, **padding), nn.Linear(108, 2)], (1, 6, 6))
    with pytest.raises(UsageError, match="segment 1: a convolution's padding must be zeros"):
        eqprop(model)


def test_copies_in_a_hidden_segment_are_refused() -> None:
    first = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), MeanOfCopies(2))
    with pytest.raises(UsageError, match="segment 1: MeanOfCopies belongs in the last one"):
        eqprop(Model([first, nn.Linear(3, 2)], (4,)))


def test_a_single_segment_has_nothing_to_read_out() -> None:
    model = redrawn([nn.Linear(4, 2)], (4,))
    with pytest.raises(UsageError, match=r"give it a hidden layer, or set rule\.loss=squared"):
        eqprop(model, loss="cross-entropy")
    assert gradient(eqprop(model), model, (randn(3, 4), torch.tensor([0, 1, 0]))).any()


def test_a_model_that_does_not_know_its_inputs_shape_is_told_how_to() -> None:
    with pytest.raises(UsageError, match="input_shape="):
        eqprop(Model([nn.Linear(4, 2)]))


def make_conv(**options: Any) -> Model:
    given = {"input_shape": (1, 8, 8), "classes": 3, "channels": [4, 8], "kernel": 3, "padding": 1}
    model: Model = bnnlab.create("model", "eqprop-conv", **{**given, **options})
    return model


@pytest.mark.parametrize("option", ["kernel", "padding", "pooling"])
def test_a_list_of_another_length_is_refused_by_name_with_both_numbers(option: str) -> None:
    with pytest.raises(UsageError, match=rf"model\.{option}: 3 values, \[1, 1, 1\], for 2 blocks"):
        make_conv(**{option: [1, 1, 1]})


def test_what_leaves_nothing_of_an_image_is_named() -> None:
    with pytest.raises(UsageError, match=r"block 2 leaves nothing of images \(1, 8, 8\).*\(7\)"):
        make_conv(kernel=[3, 7])
    with pytest.raises(UsageError, match=r"block 1 leaves nothing .*pooling \(9\)"):
        make_conv(pooling=9)


def test_images_are_needed_for_convolutions() -> None:
    with pytest.raises(UsageError, match=r"takes images \(C, H, W\).*\(64,\)"):
        make_conv(input_shape=(64,))


def test_a_relaxation_that_diverges_names_its_segment_and_phase() -> None:
    hidden = nn.Sequential(nn.Linear(5, 6), nn.ReLU())
    model = redrawn([hidden, nn.Linear(6, 3)], (5,), size=1e9)
    rule = eqprop(model)
    with pytest.raises(RunError, match=r"segment 1 .* the free phase.*activation with bounds"):
        rule.closure(model, batch_for(model))()


def test_a_nudge_that_diverges_names_its_phase() -> None:
    model = redrawn([nn.Linear(5, 6), nn.Linear(6, 3)], (5,), size=0.3)
    rule = eqprop(model, nudging="one-sided", beta=1e40)
    with pytest.raises(RunError, match=r"the nudged phase.*smaller beta"):
        rule.closure(model, batch_for(model))()


def test_a_nudge_that_diverges_unread_has_no_loss() -> None:
    model = redrawn([nn.Linear(5, 6), nn.Linear(6, 3)], (5,), size=0.3)
    rule = eqprop(model, nudging="one-sided", beta=1e40, tolerance=None)
    assert rule.closure(model, batch_for(model))().isnan()


@pytest.mark.parametrize("rule", ["eqprop", "bptt"])
def test_states_are_not_rounded_to_bfloat16(rule: str) -> None:
    with pytest.raises(UsageError, match=r"precision: .*float32"):
        run(rule=rule, optimizer="adam", precision="bfloat16", set={"model.hidden": [16]})


def test_segments_are_not_compiled() -> None:
    with pytest.raises(UsageError, match="compile: rule:eqprop looks into the segments"):
        run(optimizer="adam", compile=True, set={"model.hidden": [16]})


@pytest.mark.parametrize("nudging", ["centred", "random-sign"])
@pytest.mark.parametrize("nudge", ["state", "clamped"])
def test_a_negative_nudge_as_large_as_the_state_is_refused(nudging: str, nudge: str) -> None:
    with pytest.raises(UsageError, match=r"rule.beta: 1 must be below 1"):
        bnnlab.create("rule", "eqprop", dense(), beta=1.0, nudging=nudging, nudge=nudge)
    bnnlab.create("rule", "eqprop", dense(), beta=2.0, nudging=nudging, nudge="drive")
    bnnlab.create("rule", "eqprop", dense(), beta=2.0, nudging="one-sided", nudge=nudge)


@pytest.mark.parametrize("rule", ["eqprop", "bptt"])
def test_another_model_than_the_one_attached_to_is_refused(rule: str) -> None:
    model = dense()
    made = bnnlab.create("rule", rule, model)
    batch = torch.zeros(1, *model.input_shape), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(UsageError, match="attached to another model"):
        made.closure(copy.deepcopy(model), batch)()


def test_an_earlier_rule_still_teaches_the_model_that_a_later_one_infers_with() -> None:
    model = dense()
    rule = bnnlab.create("rule", "bptt", model)
    batch = batch_for(model)
    rule.closure(model, batch)()
    before = [p.grad.clone() for p in model.parameters()]
    bnnlab.create("rule", "bp", model)
    assert model.inference is None
    rule.closure(model, batch)()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), before, strict=True))


def test_a_refused_rule_leaves_the_model_to_the_one_before() -> None:
    model = bnnlab.create("model", "eqprop-mlp", input_shape=(4,), classes=3, hidden=[8])
    bnnlab.create("rule", "eqprop", model)
    inference = model.inference
    with pytest.raises(UsageError, match="output=linear"):
        bnnlab.create("rule", "eqprop", model, loss="cross-entropy")
    assert model.inference is inference
