"""How a run trains, whatever its components are: rates, pieces of a batch, budgets, selection."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_runs import experiment, metrics, resume
from torch.optim import SGD, lr_scheduler

from bnnlab import Batch, PluginHost, UsageError, create
from bnnlab.engine.rates import Rates
from bnnlab.interfaces import losses
from bnnlab.interfaces.batch import TaskLoss
from bnnlab.interfaces.losses import LossName
from bnnlab.interfaces.objectives import Classes
from bnnlab.interfaces.schedule import Schedule
from bnnlab.interfaces.stream import protocol_hash
from bnnlab_testing import toy

HELD: dict[str, Any] = {"stream": {"validation": 0.25}}


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


def run(host: PluginHost, **settings: Any) -> Any:
    return experiment(host, None, settings).run()


def weights(result: Any) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = result.model.state_dict()
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


TORCHS: dict[str, Any] = {
    "cosine": (Schedule(shape="cosine"), lambda it: lr_scheduler.CosineAnnealingLR(it, 20)),
    "step": (
        Schedule(shape="step", every=3, gamma=0.5),
        lambda it: lr_scheduler.StepLR(it, 3, 0.5),
    ),
    "multistep": (
        Schedule(shape="multistep", at=(11, 4)),
        lambda it: lr_scheduler.MultiStepLR(it, [4, 11]),
    ),
    "exponential": (
        Schedule(shape="exponential", gamma=0.9),
        lambda it: lr_scheduler.ExponentialLR(it, 0.9),
    ),
    "one-cycle": (
        Schedule(shape="one-cycle"),
        lambda it: lr_scheduler.OneCycleLR(it, 1.0, total_steps=20, cycle_momentum=False),
    ),
    "warm-up": (
        Schedule(shape="cosine", warmup=5),
        lambda it: lr_scheduler.SequentialLR(
            it,
            [
                lr_scheduler.LinearLR(it, 1 / 5, total_iters=4),
                lr_scheduler.CosineAnnealingLR(it, 15),
            ],
            [5],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # of torch 2.6 about its own call
@pytest.mark.parametrize("name", TORCHS)
def test_a_schedule_is_torchs(name: str) -> None:
    schedule, make = TORCHS[name]
    optimizer = SGD([torch.zeros(1)], lr=1.0)
    torchs = make(optimizer)
    for time in range(20):
        assert schedule.factor(time, 20, 0) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-12
        )
        optimizer.step()
        torchs.step()


def test_the_rates_decay_from_task_to_task_and_may_go_over_the_whole_run(host: PluginHost) -> None:
    made = experiment(host, None, {"task_decay": 0.5, "schedule": "cosine"}).made
    assert [Rates(made).factor(1, epoch, 7) for epoch in range(2)] == [0.5, 0.25]
    whole = experiment(host, None, {"schedule": "cosine", "schedule_over": "run"}).made
    found = [Rates(whole).factor(task, epoch, 0) for task in range(2) for epoch in range(2)]
    assert found == pytest.approx([(1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)])


def test_rates_are_scaled_for_a_step_and_are_the_optimizers_own_again(host: PluginHost) -> None:
    """The step sees the scaled rate; what it does to the rate itself is not undone."""
    made = experiment(host, None, {"warmup": 1, "task_decay": 0.5}).made
    (first, *_), rates = made.optimizer.param_groups, Rates(made)
    own = first["lr"]
    with rates.applied(made.optimizer, made.rule, 1, 0, 0):
        assert first["lr"] == own * 0.5
    assert first["lr"] == own
    with rates.applied(made.optimizer, made.rule, 1, 0, 0):
        first["lr"] *= 0.1
    assert first["lr"] == pytest.approx(own * 0.1)


def test_all_that_a_method_calls_a_rate_is_scaled_and_the_rule_is_told(host: PluginHost) -> None:
    """mesu has two; a rule around another one passes the factor on."""
    layer = {"rule": {"name": "replay", "base": "bp"}, "optimizer": "mesu", "task_decay": 0.5}
    made = experiment(host, None, layer, {"model": {"weights": "real"}}).made
    group = made.optimizer.param_groups[0]
    own = {name: group[name] for name in ("lr", "sigma_lr", "memory")}
    with Rates(made).applied(made.optimizer, made.rule, 1, 0, 0):
        found = {name: group[name] / value for name, value in own.items()}
        assert found == {"lr": 0.5, "sigma_lr": 0.5, "memory": 1.0}
        assert made.rule.base.rate_factor == 0.5
    assert {name: group[name] for name in own} == own
    assert made.rule.base.rate_factor == 1.0


@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_task_is_told_the_root_mean_square_of_its_factors(by: str, host: PluginHost) -> None:
    settings = {"schedule": "cosine", "schedule_by": by, "task_decay": 0.5, "steps": 13}
    made = experiment(host, None, settings).made
    rates, task = Rates(made), made.tasks[1]
    factors = [
        rates.factor(1, epoch, step)
        for epoch in range(made.epochs_of(task))
        for step in range(made.steps_in(task, epoch))
    ]
    assert len(factors) == 13
    assert rates.mean(1) == pytest.approx(np.sqrt(np.mean(np.square(factors))))
    assert Rates(experiment(host, None).made).mean(1) == 1.0


def test_a_task_alone_has_the_rates_that_it_has_in_the_run(host: PluginHost) -> None:
    for settings in ({"task_decay": 0.5}, {"schedule": "cosine", "schedule_over": "run"}):
        rates = Rates(experiment(host, None, settings).made)
        assert rates.alone(1).factor(0, 1, 3) == rates.factor(1, 1, 3)
        assert rates.alone(1).mean(0) == rates.mean(1)


@pytest.mark.parametrize("total", [8, 9, 30])
@pytest.mark.parametrize("name", TORCHS)
def test_a_schedule_is_largest_and_smallest_where_it_turns(name: str, total: int) -> None:
    schedule, _ = TORCHS[name]
    factors = [schedule.factor(time, total, 0) for time in range(total)]
    turns = [factors[time] for time in schedule.turns(total)]
    assert (max(turns), min(turns)) == (max(factors), min(factors))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"optimizer": {"name": "bayesbinn", "lr": 0.5}}, r"up to 4: lr 2 is above 1"),
        (
            {"optimizer": {"name": "bayesbinn", "lr": 0.2, "prior_precision": 2.0}},
            "times prior_precision 2 is above 1",
        ),
        ({"optimizer": {"name": "bop", "gamma": 0.3}}, "gamma 1.2 is above 1"),
        ({"rule": {"name": "kolen-pollack", "decay": 0.25}}, "decay 1 is not below 1"),
        ({"schedule": "exponential", "schedule_gamma": 1e38, "epochs": 20}, "up to inf"),
    ],
)
def test_a_rate_beyond_its_bounds_is_refused(
    settings: dict[str, Any], said: str, host: PluginHost
) -> None:
    experiment(host, None, {**settings, "schedule": "constant", "schedule_gamma": 0.1})
    with pytest.raises(UsageError, match=said):
        experiment(host, None, {"task_decay": 4.0, "epochs": 3, **settings})


def test_rates_that_come_to_be_0_are_said(
    host: PluginHost, caplog: pytest.LogCaptureFixture
) -> None:
    layer = {"schedule": "exponential", "schedule_by": "step", "steps": 60}
    experiment(host, None, layer)
    assert "learning rates by 1e-59 in the end: float32 rounds them to 0" in caplog.text
    caplog.clear()
    experiment(host, None, layer, {"schedule_gamma": 0.9})
    assert not caplog.text


def test_a_scaled_run_differs_in_what_it_learns_and_not_in_its_protocol(host: PluginHost) -> None:
    plain, slow = run(host), run(host, schedule="cosine", schedule_by="step")
    assert not same(weights(plain), weights(slow))
    assert plain.protocol == slow.protocol


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "cosine", "schedule_by": "step", "warmup": 3, "optimizer": "adam"},
        {"steps": 11, "accumulate": 3, "clip_value": 0.01},
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (
                {"schedule": "one-cycle", "schedule_by": "step", "schedule_over": "run"},
                {"epochs": [1, 3], "task_decay": 0.3},
                {"epochs": 4, "keep": "best", "patience": 1, **HELD},
            )
        ),
    ],
)
def test_a_stopped_run_goes_on_bit_for_bit(
    settings: dict[str, Any], host: PluginHost, tmp_path: Path
) -> None:
    """It is saved after every step and stopped in the second task's first epoch."""
    whole = run(host, **settings)

    def stop(task: int, _epoch: int, step: int, _steps: int) -> None:
        if (task, step) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment(host, tmp_path, settings, {"checkpoint_minutes": 0.0}).run(stop)
    again = resume(host, tmp_path / "run").run()
    assert same(weights(whole), weights(again))
    assert whole.accuracy == again.accuracy
    factors = [line.get("lr_factor") for line in metrics(tmp_path / "run") if "loss" in line]
    assert all(factors) == (
        "warmup" in settings or "schedule" in settings or "task_decay" in settings
    )


@pytest.mark.parametrize("rule", ["bp", "dfa"])
@pytest.mark.parametrize("pieces", [2, 5, 64])
def test_pieces_of_a_batch_have_the_batchs_gradient(rule: str, pieces: int) -> None:
    """In float64: a unit on the edge of a window must not fall to its other side by rounding."""
    model, task = toy.real.make_model().double(), toy.real.make_task()
    made = create("rule", rule, model).double()
    inputs, targets = task.train.batch(torch.arange(32))
    batch = Batch(inputs.double(), targets, task.loss)
    found = []
    for count in (1, pieces):
        closure = made.closure(model, batch)
        closure.pieces = count
        loss = closure()
        found.append((loss, closure.logits, [p.grad for p in model.parameters()]))
    (loss, logits, grads), (other, others, summed) = found
    assert loss == pytest.approx(float(other), rel=1e-6)
    torch.testing.assert_close(logits, others)
    for grad, part in zip(grads, summed, strict=True):
        torch.testing.assert_close(grad, part, rtol=1e-6, atol=1e-12)


def test_pieces_and_clips_are_the_same_at_weight_draws_at_once_and_one_by_one() -> None:
    model, task = toy.real.make_model().double(), toy.real.make_task()
    rule = create("rule", "bp", model)
    inputs, targets = task.train.batch(torch.arange(30))
    batch = Batch(inputs.double(), targets, task.loss)
    weight = next(model.parameters())
    draws = {weight: torch.stack([weight.detach(), -weight.detach()])}
    found = []
    for pieces in (1, 3):  # at once; one by one
        closure = rule.closure(model, batch)
        closure.pieces, closure.clip_value = pieces, 1e-3
        loss, grads = closure.at(draws)
        found.append((loss, grads[weight], [p.grad for p in model.parameters() if p is not weight]))
    (loss, grad, rest), (other, its, others) = found
    torch.testing.assert_close(loss, other)
    torch.testing.assert_close(grad, its)
    assert float(grad.abs().max()) == pytest.approx(1e-3)
    for one, two in zip(rest, others, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rule": "hsic", "accumulate": 2}, "'whole-batch', which accumulate = 2 refuses"),
        ({"model": {"norm": "batch"}, "accumulate": 2}, "the batch normalisation .* each piece"),
        ({"rule": "er-ace", "accumulate": 2}, "'whole-batch', which accumulate = 2 refuses"),
        ({"epochs": [1, 2, 3]}, "epochs: 3 numbers for the 2 tasks of the stream"),
        (
            {"rule": "eqprop", "loss": "bce"},
            "'any-loss' nor 'class-losses', as loss = bce needs.* would fit: --rule ",
        ),
        (
            {"loss": "bce", "label_smoothing": 0.1},
            "is for loss = cross-entropy, and loss is bce",
        ),
        ({"epochs": []}, "epochs: 0 numbers for the 2 tasks"),
        ({"epochs": [1, 2], "steps": 3}, "epochs and steps are both given"),
        ({"schedule_at": [3]}, "schedule_at is for schedule = multistep, and schedule is constant"),
        ({"schedule": "cosine", "schedule_gamma": 0.5}, "schedule_gamma is for schedule = step or"),
        ({"schedule": "multistep"}, "say when, such as schedule_at"),
        (
            {"schedule": "one-cycle", "warmup": 1},
            "warmup is for schedule = constant .* is one-cycle",
        ),
        ({"schedule": "cosine", "epochs": 1}, "changes no learning rate in 1 epochs"),
        ({"schedule": "one-cycle"}, "one-cycle has no time to rise in 2 epochs, it needs 4"),
        (
            {"schedule": "cosine", "schedule_over": "run", "stream": {"tasks": 1}, "steps": 1},
            "in 1 epochs. Try more epochs",
        ),
        ({"warmup": 2}, "warmup = 2 epochs is not below all 2 epochs"),
        ({"keep": "best"}, r"keep = best: task 1 .* no validation part. .*stream.validation=0.1"),
        ({"patience": 3}, "patience: task 1 .* no validation part"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    settings: dict[str, Any], said: str, host: PluginHost
) -> None:
    with pytest.raises(UsageError, match=said):
        run(host, **settings)


def test_each_task_has_its_own_number_of_epochs(host: PluginHost, tmp_path: Path) -> None:
    result = experiment(host, tmp_path, {"epochs": [1, 3]}).run()
    lines = [line for line in metrics(tmp_path / "run") if line["event"] == "epoch"]
    assert [(line["task"], line["epoch"]) for line in lines] == [(0, 0), (1, 0), (1, 1), (1, 2)]
    assert result.protocol_description["epochs"] == [1, 3]
    assert len(result.measures["accuracy"]) == 2
    assert run(host, epochs=[2, 2]).protocol == run(host, epochs=2).protocol


def test_a_budget_of_steps_ends_within_an_epoch(host: PluginHost, tmp_path: Path) -> None:
    """With all steps of its epochs it is a run of these epochs."""
    made = experiment(host, None).made
    whole = made.steps_in(made.tasks[0], 0)
    assert same(weights(run(host, steps=2 * whole)), weights(run(host)))
    result = experiment(host, tmp_path, {"steps": whole + 2}).run()
    steps = [line["step"] for line in metrics(tmp_path / "run") if line["event"] == "epoch"]
    assert steps == [whole, whole + 2, 2 * whole + 2, 2 * whole + 4]
    description = result.protocol_description
    assert description["steps"] == whole + 2
    assert "epochs" not in description
    for line in metrics(tmp_path / "run"):
        assert 0 <= line.get("train_accuracy", 0) <= 1


def test_the_best_epoch_is_kept_as_if_the_task_had_ended_then(
    host: PluginHost, tmp_path: Path
) -> None:
    """A run with the best epoch's number of epochs has the same weights, and the same state."""
    settings = {**HELD, "epochs": 5, "optimizer": {"name": "adam", "lr": 0.05}}
    best = experiment(host, tmp_path, settings, {"keep": "best"})
    kept = best.run()
    said = [line for line in metrics(tmp_path / "run") if line["event"] == "selection"]
    scores = [
        [line["validation_accuracy"] for line in metrics(tmp_path / "run")
         if line["event"] == "epoch" and line["task"] == task]
        for task in range(2)
    ]  # fmt: skip
    for line, its in zip(said, scores, strict=True):
        assert line["best_validation_accuracy"] == max(its)
        assert line["best_epoch"] == its.index(max(its))
    epochs = [line["best_epoch"] + 1 for line in said]
    short = experiment(host, None, settings, {"epochs": epochs})
    assert same(weights(kept), weights(short.run()))
    states = [each.made.optimizer.state_dict()["state"] for each in (best, short)]
    for mine, its in zip(*(state.values() for state in states), strict=True):
        assert mine.keys() == its.keys()
        assert all(torch.equal(mine[name], its[name]) for name in mine if mine[name] is not None)
    assert best.learner.progress.diagnostics == short.learner.progress.diagnostics
    assert kept.protocol_description["keeps"] == "the best epoch on validation"


def test_a_task_is_over_after_epochs_that_are_no_better(host: PluginHost, tmp_path: Path) -> None:
    settings = {**HELD, "epochs": 9, "patience": 2, "optimizer": {"name": "adam", "lr": 1e-9}}
    result = experiment(host, tmp_path, settings).run()
    lines = [line for line in metrics(tmp_path / "run") if line["event"] == "epoch"]
    assert [line["epoch"] for line in lines if line["task"] == 0] == [0, 1, 2]  # it learns nothing
    assert result.protocol_description["patience"] == 2


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_cross_entropy_is_torchs(smoothing: float) -> None:
    draws = torch.Generator().manual_seed(1)
    logits = torch.randn(8, 5, generator=draws, dtype=torch.float64)
    classes = torch.randint(5, (8,), generator=draws)
    expected = F.cross_entropy(logits, classes, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(losses.cross_entropy(logits, classes, smoothing), expected)


NUMPYS: dict[str, Any] = {
    "squared-hinge": lambda z, t: np.mean(np.maximum(0, 1 - (2 * t - 1) * z) ** 2),
    "squared-error": lambda z, t: np.mean((z - t) ** 2),
    "bce": lambda z, t: np.mean(np.log1p(np.exp(z)) - t * z),
    "cross-entropy": lambda z, t: np.log(np.exp(z).sum()) - t @ z,
}


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_is_of_the_tasks_classes_alone(name: LossName) -> None:
    """Each row is compared with its equation in NumPy over the classes that the mask leaves."""
    draws = torch.Generator().manual_seed(2)
    logits = torch.randn(6, 5, generator=draws, dtype=torch.float64, requires_grad=True)
    mask, classes = torch.tensor([True, False, True, True, False]), torch.tensor([0, 2, 3, 0, 2, 3])
    loss = TaskLoss(Classes(name), mask)
    rows = Classes(name).losses(loss.masked(logits), classes)
    for row, z, own in zip(rows, logits, classes, strict=True):
        code = np.eye(5)[own][mask]
        assert float(row.detach()) == pytest.approx(
            NUMPYS[name](z.detach().numpy()[mask], code), rel=1e-12
        )
    loss(logits, classes).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[:, ~mask].any()


@pytest.mark.parametrize("told", [{"loss": "squared-hinge"}, {"label_smoothing": 0.1}])
@pytest.mark.parametrize("incremental", ["class", "task"])
def test_a_run_learns_the_loss_that_it_is_told(
    told: dict[str, Any], incremental: str, host: PluginHost
) -> None:
    stream = {"stream": {"name": "split-digits", "tasks": 5, "incremental": incremental}}
    plain, other = run(host, **stream), run(host, **stream, **told)
    assert plain.protocol == other.protocol
    assert not same(weights(plain), weights(other))


def test_the_usual_policy_changes_no_protocol(host: PluginHost) -> None:
    description = run(host).protocol_description
    assert not {"steps", "patience", "keeps", "schedule"} & description.keys()
    assert description["epochs"] == 2
    assert protocol_hash(description) == run(host, clip_value=1.0, schedule="constant").protocol
