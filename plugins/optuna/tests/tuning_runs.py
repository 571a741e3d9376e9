"""What the tests of whole studies share: small runs, carried out in this process."""

from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from bnnlab.registry.host import PluginHost
from bnnlab_optuna import tuner
from bnnlab_optuna.plan import Plan, read_plan
from bnnlab_optuna.tuner import Tuner
from bnnlab_studies.engine import Engine

SMALL: dict[str, Any] = {
    "rule": "bp",
    "optimizer": "adam",
    "epochs": 1,
    "batch_size": 200,
    "device": "cpu",
    "stream": {"name": "permuted-digits", "tasks": 2, "validation": 0.2},
    "model": {"name": "mlp", "hidden": [16], "width": 1.0},
}


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
    file.write_text(tomli_w.dumps({**SMALL, **more, "tune": tune}))
    return read_plan(PluginHost(), file, {"out": str(folder), "name": "study"})


def tuned(plan: Plan, monkeypatch: Any, heard: Any = lambda _: None) -> Tuner:
    """Carry out a study in this process; the caller closes it."""
    monkeypatch.setattr(tuner, "make_engine", lambda *_: Here())
    made = Tuner(plan, heard)
    made.run()
    return made


def with_trials(plan: Plan, trials: int) -> Plan:
    """Return a plan with another number of trials."""
    return replace(plan, tuning=replace(plan.tuning, trials=trials))
