"""Components that do not keep their interface, and records that do not fit, are refused by name."""

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import resume
from torch import nn

import bnnlab
from bnnlab.cli import main
from bnnlab.engine.building import make_model, make_tasks
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.preparing import prepare
from bnnlab.errors import RunError, UsageError
from bnnlab.families.local import LocalRule
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.rule import LearningRule
from bnnlab.interfaces.signs import sign
from bnnlab.registry.components import Kind, Option
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import choose, resolve
from bnnlab.settings.text import parse_value

TINY = {"rule": "bp", "stream": {"name": "permuted-digits", "tasks": 2}, "epochs": 2}
WEIGHT = "segments.0.1.weight"
SMALL = {"model": {"name": "mlp", "hidden": [8]}, "device": "cpu", "batch_size": 500}


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


def make(host: PluginHost, **more: Any) -> Experiment:
    return prepare(host, resolve(host, [{**TINY, **SMALL, "out": "none", **more}]))


# -------------------------------------------------------------------- components


def test_an_optimizer_that_leaves_real_weights_ends_the_run(host: PluginHost) -> None:
    run = make(host)

    def step(closure: Callable[[], torch.Tensor]) -> torch.Tensor:
        run.made.model.segments[0][1].weight.data.mul_(0.5)
        return closure()

    run.made.optimizer.step = step
    with pytest.raises(RunError, match=r"segments.0.1.weight was written .* more than -1 and \+1"):
        run.run()


def test_weights_that_are_signs_only_at_a_tasks_end_end_the_run(host: PluginHost) -> None:
    run = make(host)
    weight = run.made.model.get_parameter("segments.0.1.weight")
    step, end = run.made.optimizer.step, run.made.optimizer.task_ended

    def blur(closure: Callable[[], torch.Tensor]) -> torch.Tensor:
        loss = step(closure)
        with torch.no_grad():
            weight.mul_(0.5)
        return loss

    def sharpen(context: Any) -> None:
        end(context)
        with torch.no_grad():
            weight.copy_(sign(weight))

    run.made.optimizer.step, run.made.optimizer.task_ended = blur, sharpen
    with pytest.raises(RunError, match=r"'segments\.0\.1\.weight'.* more than -1 and \+1"):
        run.run()


class Local(LocalRule):
    def __init__(self, answer: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def signal(self, _number: int, output: torch.Tensor, _batch: Any) -> Any:
        return self.answer(output)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: None, r"must be a tensor of floats of shape \(3, 8\), not NoneType"),
        (lambda x: x.long(), r"must be a tensor of floats .* not torch.int64"),
        (lambda x: x.sum(), r".* of shape \(3, 8\), not torch.float32 of shape \(\)"),
        (lambda x: x.mul_(2), r"changed the output it was given"),
    ],
)
def test_a_signal_of_another_kind_is_refused_by_name(
    answer: Callable[[torch.Tensor], Any], message: str
) -> None:
    model = bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[8])
    closure = Local(answer).closure(model, (torch.randn(3, 4), torch.arange(3)))
    with pytest.raises(RunError, match=rf"Local\.signal\(\) for segment 1 {message}"):
        closure()


def test_gradients_that_are_not_finite_end_the_run_though_signs_hide_them(
    host: PluginHost,
) -> None:
    run = make(host)
    exact = run.made.rule.differentiate

    def differentiate(model: Any, batch: Any) -> Any:
        answer = exact(model, batch)
        model.segments[0][1].weight.grad.fill_(torch.nan)
        return answer

    run.made.rule.differentiate = differentiate
    message = r"epoch 1, step \d: .*the gradient of segments\.0\.1\.weight is not finite"
    with pytest.raises(RunError, match=message):
        run.run()


def test_a_model_of_other_classes_is_refused_by_name(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bnnlab.create("model", "mlp", input_shape=(1, 8, 8), classes=7, hidden=[8])
    monkeypatch.setattr("bnnlab.engine.building.make_model", lambda *_, **__: made)
    with pytest.raises(
        UsageError, match=r"model:mlp returns outputs of shape \(7,\) .* needs \(10,\)"
    ):
        make(host)
    made.segments[1] = nn.Linear(5, 10)
    with pytest.raises(UsageError, match=r"model:mlp: segment 2 .*Linear, cannot take \(B, 8\)"):
        make(host)


def test_an_option_may_not_have_a_name_of_the_cores(host: PluginHost) -> None:
    _, component = host.resolve(Kind.RULE, "dfa")
    for name in ("name", "seed", "device"):
        with pytest.raises(ValueError, match=f"the core reserves the option name '{name}'"):
            replace(component, options=(Option(name, str, "x", "?"),))


class Wrong(LearningRule):
    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer

    def differentiate(self, model: Any, batch: Any) -> Any:
        return self.answer(model(batch.inputs))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda logits: None, "must return"),
        (lambda logits: logits.sum(), "must return"),
        (lambda logits: (logits.sum().item(), logits), "two tensors"),
        (lambda logits: (logits.sum(1), logits), r"the loss has shape \(3,\)"),
        (lambda logits: (logits.sum(), logits), "left no gradient"),
    ],
)
def test_a_rule_that_breaks_its_interface_is_named(answer: Any, message: str) -> None:
    model = bnnlab.create("model", "mlp", input_shape=(4,), classes=2, hidden=[3])
    closure = Wrong(answer).closure(model, (torch.randn(3, 4), torch.tensor([0, 1, 0])))
    with pytest.raises(RunError, match=f"Wrong.*{message}"):
        closure()


class Faulty:
    """A stream whose tasks, or description, are changed."""

    classes, input_shape, tokens, gives_task_ids, class_names = 10, (1, 8, 8), None, False, ()

    def __init__(self, change: Callable[[Any], Any], protocol: Any = None) -> None:
        digits = bnnlab.create("stream", "digits")
        self.tasks, self.said = [change(task) for task in digits], protocol

    def __iter__(self) -> Any:
        return iter(task for task in self.tasks if task is not None)

    def __len__(self) -> int:
        return len(self.tasks)

    def protocol(self) -> Any:
        return self.said


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (lambda: Faulty(lambda task: None), "there is no task"),
        (
            lambda: Faulty(lambda task: replace(task, classes=torch.ones(10).bool())),
            "gives_task_ids",
        ),
        (lambda: Faulty(lambda task: task, {"data": torch.ones(1)}), "not JSON serializable"),
        (
            lambda: Faulty(
                lambda task: replace(task, train=replace(task.train, rows=task.train.rows[:0]))
            ),
            "has no example",
        ),
        (
            lambda: Faulty(
                lambda task: replace(task, test=replace(task.test, labels=task.test.labels + 1))
            ),
            "and the classes from 0 to 9",
        ),
    ],
)
def test_a_stream_that_contradicts_itself_is_refused_by_name(
    host: PluginHost, stream: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=f"stream:digits of bnnlab-vision failed.*{message}"):
        make_tasks(choose(host, Kind.STREAM, "digits", {}), stream())


def test_a_plugins_fault_in_attach_names_the_plugin(host: PluginHost, monkeypatch: Any) -> None:
    from bnnlab_backprop.rule import Backpropagation

    monkeypatch.setattr(Backpropagation, "attach", lambda *_: {}["lost"])
    with pytest.raises(UsageError, match=r"rule:bp of bnnlab-backprop failed in attach"):
        make(host)


def test_channels_are_normalised_before_pixels_are_permuted() -> None:
    pixels = torch.stack([torch.full((2, 2), 10), torch.full((2, 2), 200)]).to(torch.uint8)[None]
    mean = torch.tensor([10.0, 200.0]).view(2, 1, 1)
    order = torch.tensor([7, 0, 5, 2, 4, 1, 6, 3])
    rows = torch.arange(1)
    part = Examples(pixels, rows, rows, mean, torch.ones(2, 1, 1), order)
    assert torch.equal(part.batch(rows)[0], torch.zeros(1, 2, 2, 2))
    assert part.raw(rows)[0].flatten().tolist() == [200, 10, 200, 10, 200, 10, 200, 10]


def test_a_layer_that_is_used_twice_stays_one_layer() -> None:
    shared = nn.Linear(8, 8)
    module = nn.Sequential(nn.Linear(4, 8), shared, nn.ReLU(), shared, nn.Linear(8, 2))
    model = bnnlab.binarize(module, activations="sign")
    first, second = model.segments[1][0], model.segments[2][0]
    assert isinstance(first, bnnlab.BinaryLinear)
    assert first is second
    assert len(model.binary_parameters()) == 1


# -------------------------------------------------------------------- settings


@pytest.mark.parametrize("text", ["9" * 400, "9" * 5000, "[" * 3000])
def test_values_beyond_reason_are_refused_and_shown_in_part(host: PluginHost, text: str) -> None:
    with pytest.raises(UsageError, match=r"optimizer.lr: .* is not a float") as caught:
        resolve(host, [{"optimizer": {"lr": parse_value(text)}}])
    assert len(str(caught.value)) < 200


def test_a_name_with_its_distribution_is_the_same_component(host: PluginHost) -> None:
    whole = "bnnlab-metaplasticity/meta"
    for first, second in (("meta", whole), (whole, "meta")):
        layers = [{"optimizer": {"name": first, "m": 5.0}}, {"optimizer": second}]
        assert resolve(host, layers).choices[Kind.OPTIMIZER].options["m"] == 5.0


@pytest.mark.parametrize(
    "words",
    [
        ["matrix", "--set", "optimizer.lr=5"],
        ["matrix", "--set", "nonsense=1"],
        ["run", "--recipe", ""],
        ["run", "--set", "recipe=x"],
        ["run", "--name", ".."],
        ["run", "--device", "meta"],
        ["run", "--data", "~nosuchuser", "--stream", "mnist"],
        ["run", "--batch-size", "99999999999999999999"],
        ["run", "--stream", "split-digits", "--set", "stream.validation=0.999"],
        ["run", "--set", "stream.validation=1"],
        ["run", "--set", "model.hidden=[1000000000000]"],
        ["info", "optimizer", "bnnlab-dfa/meta"],
    ],
)
def test_what_cannot_start_is_refused_in_at_most_two_lines(
    words: list[str], capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    answer = capsys.readouterr()
    assert answer.out == ""
    assert 1 <= len(answer.err.splitlines()) <= 2
    assert "Traceback" not in answer.err
    assert not list(tmp_path.glob("*/*"))


def test_bnn_alone_shows_its_help_and_no_error(capsys: Any) -> None:
    assert main([]) == 2
    answer = capsys.readouterr()
    assert "Usage" in answer.out + answer.err
    assert "error:" not in answer.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bias": torch.ones(8)}, "'bias' is not the name of a binary parameter"),
        ({WEIGHT: torch.ones(8)}, r"has shape \(8,\), and its weight \(8, 64\)"),
        ({WEIGHT: torch.full((8, 64), torch.inf)}, "is not finite"),
        ({WEIGHT: torch.ones(8, 64)}, "does not have the sign of its weight in every element"),
        ({WEIGHT: [1.0]}, "AttributeError"),
    ],
)
def test_initial_latent_weights_must_be_of_the_weights(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], message: str
) -> None:
    choice = choose(host, Kind.MODEL, "mlp", {"hidden": [8]})
    network = host.load(choice.plugin, choice.component)

    class Given(network):  # type: ignore[misc, valid-type]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.initial_latents = given

    monkeypatch.setattr(PluginHost, "load", lambda *_: Given)
    with pytest.raises(
        UsageError, match=rf"model:mlp .*failed with its initial_latents.*{message}"
    ):
        make_model(host, choice, input_shape=(1, 8, 8), classes=10, seed=0)


def test_an_optimizer_that_describes_its_weights_wrongly_learns_nothing(
    host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, says = lambda *_: torch.zeros(3), r"latent\(\) of 'segments\.0\.1\.weight'"
    run = make(host)
    monkeypatch.setattr(type(run.made.optimizer), "latent", wrong)
    with pytest.raises(RunError, match=says):
        make(host)  # by the probe of the weights
    with pytest.raises(RunError, match=says):
        run.run()  # at the first look


# -------------------------------------------------------------------- resuming


@pytest.fixture
def stopped(host: PluginHost, tmp_path: Path) -> Path:
    """The folder of a run that was interrupted in its second task."""

    def stop(task: int, epoch: int, step: int, steps: int) -> None:
        if (task, epoch) == (1, 1):
            raise KeyboardInterrupt

    run = make(host, out=str(tmp_path), name="stopped")
    with pytest.raises(KeyboardInterrupt):
        run.run(stop)
    return tmp_path / "stopped"


def test_a_run_file_that_was_changed_is_not_continued(host: PluginHost, stopped: Path) -> None:
    file = stopped / "run.toml"
    file.write_text(file.read_text().replace("batch_size = 500", "batch_size = 50"))
    with pytest.raises(UsageError, match=r"changed since then \(batch_size, prot"):
        resume(host, stopped)


def test_a_run_without_its_checkpoints_is_not_begun_anew(host: PluginHost, stopped: Path) -> None:
    shutil.rmtree(stopped / "checkpoint")
    before = (stopped / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"the checkpoint in .* is missing"):
        resume(host, stopped)
    assert (stopped / "metrics.jsonl").read_bytes() == before


def test_an_observer_is_told_of_a_resumed_run(host: PluginHost, stopped: Path) -> None:
    told = []

    class Observer:
        @bnnlab.hookimpl
        def bnnlab_run_started(self, resumed: bool) -> None:
            told.append(resumed)

    watched = PluginHost()
    watched.observe(Observer())
    resume(watched, stopped).run()
    make(watched).run()
    assert told == [True, False]


def test_the_same_run_file_can_be_run_again(host: PluginHost, stopped: Path) -> None:
    settings = tomllib.loads((stopped / "run.toml").read_text())
    again = prepare(host, resolve(host, [settings])).run()
    assert again.folder is not None
    assert again.folder.parent == stopped.parent
    assert json.loads((again.folder / "result.json").read_text())["status"] == "complete"


# -------------------------------------------------------------------- declarations


@pytest.mark.parametrize("kind", [dict, list, tuple[int, ...], list[dict], int | bytes, object])
def test_an_option_of_a_type_that_cannot_be_typed_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="option 'x': type"):
        bnnlab.Option("x", kind, None, "Help.")


def test_a_single_capability_is_no_set_of_them() -> None:
    with pytest.raises(ValueError, match="sets of names, not a name"):
        bnnlab.Component(Kind.RULE, "x", "a.b:C", "s", "s", provides="gradients")  # type: ignore[arg-type]
