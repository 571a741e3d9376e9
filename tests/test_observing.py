"""Observers see a run, each by itself; none can change it, stop it or be heard of in the next."""

import logging
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bnnlab
from bnnlab import PluginHost, Section, hookimpl
from bnnlab.errors import RunError, StoppedError
from bnnlab_testing.pytest_plugin import MakePlugin

TINY = {
    "rule": "bp",
    "stream": {"name": "permuted-digits", "tasks": 2},
    "model": {"name": "mlp", "hidden": [4]},
    "epochs": 1,
    "batch_size": 1000,
    "device": "cpu",
}
Seen = list[tuple[str, dict[str, Any]]]


class Watcher:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.seen: Seen = []

    def told(self, hook: str, **arguments: Any) -> None:
        self.seen.append((hook, arguments))

    @hookimpl
    def bnnlab_run_started(self, config: Any, folder: Any, resumed: bool) -> None:
        self.told("run_started", config=config, folder=folder, resumed=resumed)

    @hookimpl
    def bnnlab_metrics_logged(self, metrics: Any) -> None:
        self.told("metrics_logged", metrics=metrics)

    @hookimpl
    def bnnlab_task_ended(self, accuracy: Any) -> None:
        self.told("task_ended", accuracy=accuracy)

    @hookimpl
    def bnnlab_run_ended(self, result: Any) -> None:
        self.told("run_ended", result=result)


def spoil(value: Any) -> None:
    """Empty a value and all that it is made of."""
    if isinstance(value, dict):
        for inner in value.values():
            spoil(inner)
        value.clear()
    if isinstance(value, list):
        for inner in value:
            spoil(inner)
        value[:] = [1.0] * len(value)


class Spoiler(Watcher):
    """Changes whatever it is told."""

    def told(self, hook: str, **arguments: Any) -> None:
        for argument in arguments.values():
            spoil(argument)


class Failing(Watcher):
    """Fails in its first hook of each run."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def told(self, hook: str, **arguments: Any) -> None:
        super().told(hook, **arguments)
        raise self.error


def watched(*observers: object, **more: Any) -> bnnlab.Result:
    host = PluginHost()
    for observer in observers:
        host.observe(observer)
    return bnnlab.run(TINY, host=host, **more)


def without_times(seen: Any) -> Any:
    if isinstance(seen, dict):
        return {
            k: without_times(v) for k, v in seen.items() if k not in ("seconds", "time", "run_id")
        }
    if isinstance(seen, list | tuple):
        return [without_times(each) for each in seen]
    return seen


def test_an_observer_changes_neither_the_run_nor_what_the_next_one_sees(tmp_path: Path) -> None:
    alone, before, after = Watcher(), Watcher(), Watcher()
    plain = watched(alone)
    spoilt = watched(before, Spoiler(), after, out=tmp_path, name="spoilt")
    assert spoilt.accuracy == plain.accuracy
    assert without_times(spoilt.as_dict()) == without_times(plain.as_dict())
    assert [hook for hook, _ in alone.seen] == [hook for hook, _ in after.seen]
    for (_, one), (_, other) in zip(before.seen, after.seen, strict=True):
        assert without_times(one) == without_times(other)
    assert '"accuracy": [1.0' not in (tmp_path / "spoilt" / "result.json").read_text()
    assert "1.0]" not in (tmp_path / "spoilt" / "run.toml").read_text()


def test_observers_hear_of_the_end_of_a_run_that_cannot_write_its_result(tmp_path: Path) -> None:
    class Deleter(Watcher):
        @hookimpl
        def bnnlab_task_ended(self) -> None:
            shutil.rmtree(tmp_path / "run")

    deleter = Deleter()
    with pytest.raises(RunError, match="has gone"):
        watched(deleter, out=tmp_path, name="run")
    (end,) = (about["result"] for hook, about in deleter.seen if hook == "run_ended")
    assert end["status"] == "failed"


class Bare(BaseException):
    """Is no Exception."""


@pytest.mark.parametrize(
    "error", [OSError("disk full"), SystemExit(1), GeneratorExit(), Bare("odd")], ids=repr
)
def test_an_observer_that_fails_is_off_for_this_run_and_asked_again_in_the_next(
    caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    host, failing, other = PluginHost(), Failing(error), Watcher()
    host.observe(failing)
    host.observe(other)
    for run in (1, 2):
        caplog.clear()
        assert bnnlab.run(TINY, host=host).status == "complete"
        assert [hook for hook, _ in failing.seen] == ["run_started"] * run
        (record,) = (each for each in caplog.records if each.levelname == "WARNING")
        assert "Failing failed in bnnlab_run_started and is switched off" in record.getMessage()
    assert [hook for hook, _ in other.seen].count("run_ended") == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), StoppedError(signal.SIGTERM)], ids=repr)
def test_interrupting_an_observer_interrupts_the_run(stop: BaseException) -> None:
    with pytest.raises(type(stop)):
        watched(Failing(stop))


def test_an_observer_that_sets_torchs_defaults_is_named_and_they_are_put_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    class Setter:
        @hookimpl
        def bnnlab_run_started(self) -> None:
            torch.set_default_dtype(torch.float64)

    plain = bnnlab.run(TINY)
    assert watched(Setter()).accuracy == plain.accuracy
    assert torch.get_default_dtype() is torch.float32
    assert "Setter in bnnlab_run_started changed torch's default dtype" in caplog.text


def test_an_observer_that_hooks_every_module_changes_nothing_and_is_named_once_per_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import torch

    class Hooking:
        @hookimpl
        def bnnlab_run_started(self) -> None:
            torch.nn.modules.module.register_module_forward_hook(lambda _m, _a, y: y * -1)

        @hookimpl
        def bnnlab_metrics_logged(self) -> None:
            self.bnnlab_run_started()

    plain, host = bnnlab.run(TINY), PluginHost()
    host.observe(Hooking())
    for _ in range(2):
        caplog.clear()
        assert bnnlab.run(TINY, host=host).accuracy == plain.accuracy
        warnings = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        what = "changed torch's global forward hooks: put back."
        assert warnings == [
            f"Hooking in bnnlab_run_started {what}",
            f"Hooking in bnnlab_metrics_logged {what}",
        ]


def test_the_observing_hooks_of_a_plugin_are_called_by_the_arguments_they_name(
    make_plugin: MakePlugin,
) -> None:
    source = """
from bnnlab import hookimpl

seen = []

@hookimpl
def bnnlab_components():
    return []

@hookimpl
def bnnlab_run_ended(result):
    seen.append(result["status"])
"""
    make_plugin("acme-watch", source)
    watched()
    assert sys.modules["acme_watch"].seen == ["complete"]


@pytest.mark.parametrize("kind", ["a wrapper", "a generator", "a coroutine"])
def test_a_hook_whose_body_would_not_run_is_refused(kind: str) -> None:
    class Wrapper:
        @hookimpl(wrapper=True)
        def bnnlab_run_ended(self) -> Any:
            return (yield)

    class Generator:
        @hookimpl
        def bnnlab_run_ended(self) -> Any:
            yield

    class Coroutine:
        @hookimpl
        async def bnnlab_run_ended(self) -> None:
            logging.info("never")

    made = {"a wrapper": Wrapper, "a generator": Generator, "a coroutine": Coroutine}[kind]()
    host = PluginHost()
    with pytest.raises(TypeError, match="bnnlab_run_ended is a wrapper, generator or coroutine"):
        host.observe(made)
    assert not host.observers("")._manager.is_registered(made)


def test_an_observer_is_told_which_run_it_is_when_and_what_was_saved(tmp_path: Path) -> None:
    saved: list[str] = []
    ids: set[str] = set()
    times: list[float] = []

    class Tracker:
        @hookimpl
        def bnnlab_run_started(self, run_id: str) -> None:
            ids.add(run_id)

        @hookimpl
        def bnnlab_saved(self, file: Path, run_id: str) -> None:
            assert file.is_file()
            saved.append(file.name)
            ids.add(run_id)

        @hookimpl
        def bnnlab_metrics_logged(self, metrics: Any) -> None:
            times.append(metrics["time"])

    started = time.time()
    result = watched(Tracker(), out=tmp_path)
    assert saved == ["state.pt"] * 5 + ["result.json"]  # at the start, per epoch, per task
    assert ids == {result.run_id}
    assert times == sorted(times)
    assert started - 1 < times[0] < times[-1] < time.time() + 1


# ---------------------------------------------------------------------- what is said of a model


def test_plugins_say_what_they_know_of_a_model(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    class Says:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        @hookimpl
        def bnnlab_model_described(self, model: Any) -> Any:
            model.append("spoilt")
            sys.stdout.write("said")
            return self.answer(model)

    class Quiet:
        @hookimpl
        def bnnlab_model_described(self) -> None:
            return None

    host, model = PluginHost(disabled=["export"]), ["weights"]
    answers: list[Any] = [
        lambda model: Section("Acme", ["two"], {"found": len(model)}),
        lambda _: Section("not JSON", [], {"found": {1, 2}}),
        lambda _: Section("numbers", [1, 2], {}),
        lambda _: Section("letters", "a text", {}),
        lambda _: Section("no data", [], None),
        lambda _: "no section",
        lambda _: sys.exit("tired"),
    ]
    for each in (*map(Says, answers), Quiet()):
        host.observe(each)
    assert host.sections(model) == [("Says", Section("Acme", ["two"], {"found": 2}))]
    assert model == ["weights"]
    warned = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warned) == 6
    for why in (
        "not JSON serializable",
        "lines a list",
        "a dict",
        "returned 'no section'",
        "tired",
    ):
        assert any(why in each for each in warned)
    assert capsys.readouterr().out == ""
