"""What the tests of whole studies share: small runs, carried out in this process."""

from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import tomli_w

from bnnlab.registry.host import PluginHost
from bnnlab_optuna import trial, tuner
from bnnlab_optuna.plan import Plan, read_plan
from bnnlab_optuna.tuner import Tuner
from bnnlab_studies.engine import Engine
from bnnlab_studies.job import Outcome
from bnnlab_studies.record import Record

SMALL: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "adam",
    "epochs": 1,
    "batch_size": 200,
    "device": "cpu",
    "threads": 1,
    "stream": {"name": "permuted-digits", "tasks": 2, "validation": 0.2},
    "model": {"name": "mlp", "hidden": [16], "width": 1.0},
}
SPACE = {"optimizer": {"lr": {"low": 1e-3, "high": 0.1}}}

host = cache(PluginHost)


class Here(Engine, Executor):
    """Calls at once, in this process."""

    threads, jobs = 1, 1

    def executor(self, count: int) -> Executor:
        return self

    def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **keywords))
        except Exception as error:
            future.set_exception(error)
        return future


def planned(folder: Path, tune: dict[str, Any], **more: Any) -> Plan:
    """Return the plan of a small study in folder/study."""
    file = folder / "study.toml"
    file.write_text(tomli_w.dumps({**SMALL, **more, "tune": {"space": SPACE, **tune}}))
    return read_plan(host(), file, {"out": str(folder), "name": "study"})


def tuned(plan: Plan, monkeypatch: Any, heard: Any = lambda _: None) -> Tuner:
    """Carry out a study in this process; the caller closes it."""
    monkeypatch.setattr(tuner, "make_engine", lambda *_: Here())
    made = Tuner(plan, heard)
    made.run()
    return made


def pretend(monkeypatch: Any, *found: Any) -> None:
    """Let runs end at once: with these values one after another, or failed where one is a text."""
    ends = iter(found)

    def perform(job: Any) -> Outcome:
        value = next(ends)
        if isinstance(value, str):
            return Outcome("failed", f"{job}: {value}")
        run = Record("run", None, "complete", {}, {"average_accuracy": value})
        monkeypatch.setattr(Record, "read", lambda _: run)
        return Outcome("complete")

    monkeypatch.setattr(trial, "perform", perform)


def with_trials(plan: Plan, trials: int) -> Plan:
    """Return a plan with another number of trials."""
    return replace(plan, tuning=replace(plan.tuning, trials=trials))
