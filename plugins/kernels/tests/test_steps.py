"""Whole steps are single steps with torch's network, but for rounding; and runs that make them."""

import copy
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_runs
import torch
from small_runs import assert_same, left, left_torn
from torch import Tensor

import bnnlab
from bnnlab import PluginHost, seeds
from bnnlab.engine.lockstep import run_together
from bnnlab.errors import RunError, UsageError
from bnnlab.interfaces.objectives import CLASSES, Classes
from bnnlab.interfaces.policy import USUAL
from bnnlab_kernels import compiled
from bnnlab_kernels.arrays import keys
from bnnlab_kernels.compiled import kernels_of

NETWORKS: dict[str, dict[str, Any]] = {
    "sign": {},
    "gate": {"activation": "gate", "norm": "none"},
    "reverse": {"activation": "reverse-binary-gate", "output_norm": True, "width": 0.8},
    "ternary": {"activation": "ternary", "surrogate": "polynomial", "norm": "group", "groups": 2},
    "heaviside": {"activation": "heaviside", "surrogate": "identity"},
    "clip": {"surrogate_clip": 0.5, "norm_eps": 0.1, "scale": "none"},
    "relu": {"activation": "relu"},
    "hardtanh": {"activation": "hardtanh"},
}


assert_close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


def learner(network: dict[str, Any], **options: Any) -> tuple[Any, Any, Any]:
    """Return a model of one hidden layer, its rule and its optimizer, with kernels."""
    sizes = {"input_shape": (1, 5, 5), "classes": 4, "hidden": [12]}
    model = bnnlab.create("model", "mlp", seed=0, **sizes, **network)
    rule = bnnlab.create("rule", "bp", model, seed=0)
    options = {"batch_size": 1, "lambda_init": 1.0, **options}
    optimizer = bnnlab.create("optimizer", "bimu", model, seed=0, **options)
    optimizer.kernels = kernels_of(optimizer)
    return model, rule, optimizer


def examples(count: int = 10) -> tuple[Tensor, Tensor]:
    draws = seeds.generator(0, "examples")
    inputs = torch.randn(count, 1, 5, 5, generator=draws)
    return inputs, torch.randint(0, 3, (count,), generator=draws)


def run_of(made: tuple[Any, Any, Any], classes: Tensor | None = None, **more: Any) -> Any:
    """Return what kernels ask of a run."""
    task: Any = SimpleNamespace(
        train=SimpleNamespace(augment=None), objective=CLASSES, classes=classes
    )
    model, rule, optimizer = made
    given = {"tasks": [task], "policy": USUAL, **more}
    return SimpleNamespace(model=model, rule=rule, optimizer=optimizer, **given)


def whole(made: tuple[Any, Any, Any], inputs: Tensor, targets: Tensor, *mask: Tensor) -> Any:
    run = run_of(made, *mask)
    return made[2].kernels.whole_steps(run)(inputs, targets, run.tasks[0])


def single(made: tuple[Any, Any, Any], inputs: Tensor, targets: Tensor, *mask: Tensor) -> Any:
    model, rule, optimizer = made
    loss = bnnlab.interfaces.batch.TaskLoss(CLASSES, *mask)
    losses, logits = [], []
    for pair in zip(inputs.split(1), targets.split(1), strict=True):
        closure = rule.closure(model, bnnlab.Batch(*pair, loss))
        losses.append(optimizer.step(closure))
        logits.append(closure.logits)
    return torch.stack(losses), torch.cat(logits)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("draws", [1, 3])
def test_whole_steps_are_single_steps(network: str, draws: int) -> None:
    one, other = (learner(NETWORKS[network], train_draws=draws) for _ in range(2))
    for _ in range(2):  # the second call goes on
        found, expected = whole(one, *examples()), single(other, *examples())
        # A step function may round to the other side: none of these is so close to its threshold.
        assert_close(found[0], expected[0])
        torch.testing.assert_close(
            found[1].softmax(-1), expected[1].softmax(-1), rtol=1e-4, atol=1e-5
        )
    for p, q in zip(one[2].learned(), other[2].learned(), strict=True):
        mine, its = one[2].state[p]["lambda"], other[2].state[q]["lambda"]
        assert_close(mine, its)
        assert torch.equal(p, bnnlab.interfaces.signs.sign(mine))
    assert torch.equal(one[2]._generator.get_state(), other[2]._generator.get_state())


def test_a_posterior_that_begins_as_the_uniform_one_keeps_signs() -> None:
    """Natural parameters of -0 belong to weights of -1."""
    made = learner({}, lambda_init=0.0)
    weights = [p.clone() for p in made[2].learned()]
    inputs, targets = examples(1)
    whole(made, torch.zeros_like(inputs), targets)  # no gradient in the first layer
    assert torch.equal(made[2].learned()[0], weights[0])
    made[2].look()


def test_masked_classes_take_no_part() -> None:
    mask = torch.tensor([True, True, True, False])
    one, other = learner({}), learner({})
    found, expected = whole(one, *examples(), mask), single(other, *examples(), mask)
    assert_close(found[0], expected[0])
    outside = whole(one, *examples(1), torch.tensor([False, False, False, True]))
    assert outside[0].isinf().all()


def test_steps_in_blocks_are_steps_one_by_one() -> None:
    inputs, targets = examples()
    one, other = learner({}), learner({})
    found = whole(one, inputs, targets)
    parts = [whole(other, inputs[at], targets[at]) for at in (slice(5), slice(5, None))]
    assert torch.equal(found[0], torch.cat([part[0] for part in parts]))
    assert torch.equal(found[1], torch.cat([part[1] for part in parts]))


def test_keys_of_steps_are_those_of_each() -> None:
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    together = keys(SimpleNamespace(_generator=generators[0]), 40)
    one: Any = SimpleNamespace(_generator=generators[1])
    assert together.tolist() == [int(keys(one, 1)[0]) for _ in range(40)]
    assert len(set(together.tolist())) == 40


def test_draws_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for size, threads in ((1 << 18, 1), (10, 1), (10, 3)):
        monkeypatch.setattr(compiled, "CPU_CHUNK", size)
        made, before = learner({}), torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            single(made, *examples(4))
        finally:
            torch.set_num_threads(before)
        found.append([made[2].state[p]["lambda"] for p in made[2].learned()])
    for other in found[1:]:
        for one, its in zip(found[0], other, strict=True):
            assert_close(one, its)


def test_a_copy_of_the_optimizer_goes_on_with_kernels() -> None:
    made = learner({})
    for copied in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert copied[2].kernels.loops is made[2].kernels.loops
        torch.testing.assert_close(whole(copied, *examples(3)), whole(learner({}), *examples(3)))


def hooked(made: Any) -> None:
    made[0].segments[0].register_forward_hook(lambda *_: None)


def frozen(made: Any) -> None:
    made[0].segments[0][1].weight.requires_grad_(False)


def inferring(made: Any) -> None:
    made[0].inference = lambda model, x: x


class OwnRule(type(learner({})[1])):  # type: ignore[misc]
    def differentiate(self, *given: Any) -> Any:
        loss, logits = super().differentiate(*given)
        return 2 * loss, logits


@pytest.mark.parametrize(
    ("network", "change", "more", "why"),
    [
        ({"bias": True}, None, {}, "model has BinaryLinear"),
        ({"affine": True}, None, {}, "model has LayerNorm"),
        ({"norm": "batch"}, None, {}, "model has BatchNorm"),
        ({"scale": "learned"}, None, {}, "model has BinaryLinear"),
        ({"dropout": 0.5}, None, {}, "model has Dropout"),
        ({"activation": "tanh"}, None, {}, "model has Tanh"),
        ({"surrogate": "swish"}, None, {}, "model has Sign"),
        ({"real_output": True}, None, {}, "does not learn the weight of each layer"),
        ({"norm": "group", "groups": 12}, None, {}, "model has GroupNorm"),
        ({}, hooked, {}, "more than its segments"),
        ({}, frozen, {}, "weights are frozen"),
        ({}, inferring, {}, "infers by its rule"),
        ({}, None, {"policy": replace(USUAL, clip_value=1.0)}, "clip_value"),
    ],
)
def test_what_whole_steps_cannot_do_is_said(network: Any, change: Any, more: Any, why: str) -> None:
    made = learner(network)
    if change:
        change(made)
    found = made[2].kernels.whole_steps(run_of(made, **more))
    assert isinstance(found, str)
    assert why in found


def test_rules_losses_and_augmentation_that_they_do_not_know_are_said() -> None:
    model, _, optimizer = made = learner({})
    rule = OwnRule()
    assert "OwnRule is more than" in optimizer.kernels.whole_steps(run_of((model, rule, optimizer)))
    run = run_of(made)
    run.tasks[0].objective = Classes("squared-hinge")
    assert "loss is not" in optimizer.kernels.whole_steps(run)
    run.tasks[0].objective = Classes(smoothing=0.1)
    assert "label_smoothing is set" in optimizer.kernels.whole_steps(run)
    run = run_of(made)
    run.tasks[0].train.augment = lambda images, _: images
    assert "augmented" in optimizer.kernels.whole_steps(run)
    made[1].precision = torch.bfloat16
    assert "bfloat16" in optimizer.kernels.whole_steps(run_of(made))


def test_parameters_that_are_not_compiled_are_refused() -> None:
    model, *_ = learner({})
    optimizer = bnnlab.create("optimizer", "bimu", model.double())
    with pytest.raises(UsageError, match=r"float32 weights on the CPU.*float64"):
        kernels_of(optimizer)
    with pytest.raises(UsageError, match="has no formulas"):
        kernels_of(bnnlab.create("optimizer", "ewc", learner({})[0]))


# -------------------------------------------------------------------- runs


@pytest.mark.parametrize("change", [torch.Tensor.double, lambda x: x.T.contiguous().T])
def test_state_of_another_kind_is_refused(change: Any) -> None:
    made = learner({})
    single(made, *examples(1))
    state = made[2].state[made[2].learned()[0]]
    state["lambda"] = change(state["lambda"])
    with pytest.raises(RunError, match="cannot write into 'lambda' of BiMU"):
        single(made, *examples(1))
    with pytest.raises(RunError, match="must be float32, contiguous"):
        whole(made, *examples(1))


ONLINE: dict[str, Any] = {
    "rule": "bp",
    "optimizer": {"name": "bimu", "test_draws": 2},
    "model": {"hidden": [12]},
    "batch_size": 1,
    "epochs": 1,
    "steps": 130,
    "kernels": "compiled",
    "checkpoint_minutes": 0,
}


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.mark.parametrize("more", [{}, {"batch_size": 10, "steps": 12}])
def test_a_run_goes_on_from_every_checkpoint_bit_for_bit(
    more: dict[str, Any], host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = left(small_runs.experiment(host, tmp_path / "whole", ONLINE, more))
    run = small_runs.experiment(host, tmp_path / "torn", ONLINE, more)
    torn, crashes = left_torn(host, run, monkeypatch)
    assert crashes > 10
    assert_same(torn, whole)


def test_draws_of_kernels_are_others_under_the_same_protocol(host: PluginHost) -> None:
    one = small_runs.experiment(host, None, ONLINE).run()
    other = small_runs.experiment(host, None, ONLINE, {"kernels": "torch"}).run()
    assert one.protocol == other.protocol
    assert one.accuracy != other.accuracy


def test_a_warning_says_why_there_are_no_whole_steps(
    host: PluginHost, caplog: pytest.LogCaptureFixture
) -> None:
    small_runs.experiment(host, None, ONLINE, {"model": {"norm": "none", "bias": True}}).run()
    assert "make no whole steps: the model has BinaryLinear" in caplog.text
    caplog.clear()
    small_runs.experiment(host, None, ONLINE, {"batch_size": 2}).run()
    assert "whole steps" not in caplog.text


@pytest.mark.parametrize("by", ["step", "epoch"])
def test_rates_reach_whole_steps(
    by: str, host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block has steps of one rate."""
    seen: list[float] = []
    by_step = {"schedule": "exponential", "schedule_by": "step", "schedule_gamma": 0.9, "steps": 70}
    more = by_step if by == "step" else {"task_decay": 0.9}
    run = small_runs.experiment(host, None, ONLINE, more)
    optimizer = run.made.optimizer
    make = optimizer.numbers

    def numbers(group: Any, *rest: Any) -> Any:
        seen.append(group["lr"])
        return make(group, *rest)

    monkeypatch.setattr(optimizer, "numbers", numbers)
    run.run()
    rates = [*dict.fromkeys(seen)]
    assert len(rates) == (70 if by == "step" else 2)
    assert rates[1] == pytest.approx(0.9 * rates[0])


def test_an_optimizer_without_formulas_is_refused(host: PluginHost) -> None:
    with pytest.raises(UsageError, match="EWC has no formulas for compiled loops"):
        small_runs.experiment(host, None, ONLINE, {"optimizer": "ewc"})


def test_kernels_are_not_for_many_seeds_at_once(host: PluginHost) -> None:
    runs = [small_runs.experiment(host, None, ONLINE, {"seed": seed}) for seed in (0, 1)]
    with pytest.raises(UsageError, match="kernels are compiled"):
        run_together(runs)
