"""Evaluations in a loop of one's own: the scores of a run, and the measures of a chain of them."""

from copy import deepcopy
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import bnnlab
from bnnlab import RunError, UsageError
from bnnlab.engine.continual import measures
from bnnlab.engine.fingerprints import fingerprint
from bnnlab.seeds import permutation

X = torch.randn(150, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(150) % 6
SMALL: dict[str, Any] = {"rule": "bp", "epochs": 1, "batch_size": 20, "device": "cpu"}


def stream(**more: Any) -> Any:
    return bnnlab.stream_from((X, Y), **{"test": 0.4, "tasks": 3, **more})


def model(*norms: nn.Module) -> bnnlab.Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), *norms, nn.Tanh(), nn.Linear(8, 6))
    return bnnlab.binarize(net, policy="all", input_shape=(6,))


def test_a_chain_of_evaluations_is_the_matrix_of_a_run() -> None:
    """The loop makes the steps of the run: the same batches, in the same order."""
    tasks, learner = stream(), model()
    whole = bnnlab.run(model=learner, optimizer="adam", stream=tasks, **SMALL)
    rule = bnnlab.create("rule", "bp", learner)
    optimizer = bnnlab.create("optimizer", "adam", learner)
    found = bnnlab.evaluate(learner, tasks, optimizer, learned=0)
    assert found.scores == whole.untrained_accuracy
    for task in tasks:
        order = permutation(len(task.train), 0, "order", task.index, 0)
        learner.train()
        for x, y in task.train.batches(20, order):
            optimizer.step(rule.closure(learner, (x, y)))
        found = bnnlab.evaluate(learner, tasks, optimizer, learned=task.index + 1, earlier=found)
        assert learner.training
    rows = [[*row] for row in found["accuracy"]]
    rows[0][2] = None  # a run scores the tasks learned and the next one
    assert rows == whole.accuracy
    assert found["forward_transfer"] == whole.forward_transfer
    assert dict(found) == measures(found["accuracy"], whole.untrained_accuracy)
    assert found["forgetting"] == whole.forgetting


def test_one_evaluation_is_after_the_last_task() -> None:
    found = bnnlab.evaluate(model(), stream())
    assert (found.learned, found.tasks[0]) == (3, "classes 0-1")
    assert found["average_accuracy"] == pytest.approx(sum(found.scores) / 3)  # type: ignore[arg-type]
    assert found["forgetting"] is None
    assert [*found] == [*measures([], [])]


def test_it_predicts_as_a_run_does() -> None:
    """By draws of a posterior, with the task known, with statistics of the tasks learned."""
    norm = bnnlab.BatchNorm(8, "recalibrated")
    for given, optimizer in (
        (model(), {"name": "bayesbinn", "test_draws": 3}),
        (model(norm), "adam"),
    ):
        for task_ids in (False, True):
            tasks = stream(task_ids=task_ids)
            objects = {"model": given, "stream": tasks, "optimizer": optimizer}
            probe = Keeping()
            whole = bnnlab.run(**objects, probe=probe, **SMALL)
            now = bnnlab.evaluate(Keeping.run.model, tasks, Keeping.run.optimizer)
            assert now.scores == whole.accuracy[-1], (optimizer, task_ids)


class Keeping(bnnlab.Probe):
    """Keeps what the last run was made of."""

    run: Any = None

    def attach(self, run: Any) -> None:
        Keeping.run = run


def test_the_model_stays_as_it_is_and_any_module_is_taken() -> None:
    learner, module = model(bnnlab.BatchNorm(8)).train(), nn.Linear(6, 6)
    before, state = fingerprint(learner), torch.get_rng_state()
    bnnlab.evaluate(learner, stream())
    assert fingerprint(learner) == before
    assert learner.training
    assert torch.equal(torch.get_rng_state(), state)
    (task,) = bnnlab.stream_from((X, Y), test=0.4)
    x, y = task.test.batch(torch.arange(len(task.test)))
    for each in (module, nn.Flatten()):  # this has no parameters
        right = (each(x).argmax(-1) == y).double().mean().item()
        assert bnnlab.evaluate(each, bnnlab.stream_from((X, Y), test=0.4)).scores == [right]


def test_a_task_that_is_told_is_scored_once_it_is_learned() -> None:
    learner = model(bnnlab.BatchNorm(8, "per-task"))
    before = fingerprint(learner)
    found = bnnlab.evaluate(learner, stream(task_ids=True), learned=2)
    assert found.scores[2] is None
    assert None not in found.scores[:2]
    assert fingerprint(learner) == before, "the task that was selected is selected again"


def test_it_is_shown_in_a_terminal_and_in_a_notebook() -> None:
    first = bnnlab.evaluate(model(), stream(), learned=1)
    found = bnnlab.evaluate(model(), stream(), learned=2, earlier=first)
    assert repr(found).startswith("2 of 3 tasks learned: average accuracy ")
    html = found._repr_html_()
    text = " ".join(" ".join(ElementTree.fromstring(f"<p>{html}</p>").itertext()).split())
    assert "2 of 3 tasks learned" in text
    assert f"{100 * found['average_accuracy']:.1f} %" in text
    numbers = bnnlab.evaluate(nn.Linear(6, 2), bnnlab.stream_from((X, X[:, :2]), test=0.4))
    assert repr(numbers) == f"1 of 1 tasks learned: R2 {numbers.scores[0]:.2f}"
    untrained = bnnlab.evaluate(model(), stream(), learned=0)
    assert repr(untrained) == "0 of 3 tasks learned"
    ElementTree.fromstring(f"<p>{untrained._repr_html_()}</p>")


def test_what_does_not_go_together_is_refused() -> None:
    first = bnnlab.evaluate(model(), stream(), learned=1)
    with pytest.raises(UsageError, match=r"learned: 4 of 3 tasks.*learned=task\.index \+ 1"):
        bnnlab.evaluate(model(), stream(), earlier=bnnlab.evaluate(model(), stream()))
    with pytest.raises(UsageError, match="earlier: 1 tasks were learned there, and 1 now"):
        bnnlab.evaluate(model(), stream(), learned=1, earlier=first)
    with pytest.raises(UsageError, match="earlier: it is an evaluation on other tasks"):
        bnnlab.evaluate(model(), stream(tasks=2), earlier=first)
    for other in ({"seed": 1}, {"test": 0.5}, {"task_ids": True}):
        with pytest.raises(UsageError, match=r"on other data .* Give one on this stream"):
            bnnlab.evaluate(model(), stream(**other), learned=2, earlier=first)
    assert bnnlab.evaluate(model(), stream().to("cpu"), earlier=first).learned == 2
    with pytest.raises(
        UsageError, match=r"the model is on cpu and the stream on meta.*to\('cpu'\)"
    ):
        bnnlab.evaluate(model(), stream().to("meta"))
    numbers = bnnlab.stream_from((X, X[:, :2]), test=0.4)
    with pytest.raises(UsageError, match=r"the model returns .* shape \(1,\) .* needs \(2,\): its"):
        bnnlab.evaluate(nn.Linear(6, 1), numbers)
    with pytest.raises(UsageError, match=r"the model: .* cannot take"):
        bnnlab.evaluate(nn.Linear(5, 6), stream())
    broken = nn.Linear(6, 6)
    nn.init.constant_(broken.bias, torch.nan)
    with pytest.raises(RunError, match="on 'classes 0-1' the model predicts numbers that are not"):
        bnnlab.evaluate(broken, stream())


def test_the_optimizer_is_the_models() -> None:
    learner = model()
    optimizer = bnnlab.create("optimizer", "bayesbinn", learner)
    bnnlab.evaluate(learner, stream(), optimizer)
    with pytest.raises(RunError, match="was made for another model"):
        bnnlab.evaluate(deepcopy(learner), stream(), optimizer)


def test_the_stream_is_checked_as_before_a_run(caplog: Any) -> None:
    """Once for a chain of evaluations."""
    few = bnnlab.stream_from((X, Y), test=(torch.cat([X[:9], -X]), torch.cat([Y[:9], Y])), tasks=3)
    found = bnnlab.evaluate(model(), few, learned=1)
    bnnlab.evaluate(model(), few, learned=2, earlier=found)
    (warned,) = (each for each in caplog.messages if "that some task learns from, too" in each)
    assert "3 of 53" in warned
    with pytest.raises(UsageError, match="the stream: 25 of 25 test examples of 'classes 0' are"):
        bnnlab.evaluate(model(), bnnlab.stream_from((X, Y), test=(X, Y), tasks=6))
