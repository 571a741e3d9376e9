import os
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest
from engines import Faulty, Here, Silent, ended, loads_before

from bnnlab import Kind, PluginHost, UsageError
from bnnlab.guards.threads import cores
from bnnlab.settings.layers import Layer, choose, resolve
from bnnlab_studies.asking import EngineError, _numbered
from bnnlab_studies.engine import make_engine, open_executor
from bnnlab_studies.local import Local
from bnnlab_testing import EngineContract, engine_contract


class OfAnEngine(EngineContract):
    """The contract of an engine that is made by hand."""

    def __init__(self, made: Any) -> None:
        self.made = made

    def make(self, seed: int = 0) -> Any:
        return self.made()


class Idle(Here):
    threads = 0


def test_the_contract_finds_what_is_no_engine() -> None:
    OfAnEngine(Here).test_it_says_how_many_runs_and_threads_it_has()
    with pytest.raises(AssertionError, match="threads is 0"):
        OfAnEngine(Idle).test_it_says_how_many_runs_and_threads_it_has()
    with pytest.raises(AssertionError, match="the call was made here"):
        OfAnEngine(Here).test_calls_are_made_in_other_processes()
    with pytest.raises(AssertionError, match="was not cancelled"):
        OfAnEngine(Here).test_after_an_exception_no_call_begins()


class Endless(Executor):
    def submit(self, function: Any, /, *arguments: Any, **keywords: Any) -> Any:
        return Here().executor(1).submit(function, *arguments, **keywords)

    def __exit__(self, *_: object) -> None:
        time.sleep(60)


def test_the_contract_finds_a_wrong_result_and_what_never_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_contract, "LONG", 0.0)
    monkeypatch.setattr(OfAnEngine, "patience", 0.2)
    first = Here().executor(1).submit(_numbered, 7, 2, divmod, 0)
    for said, faulty in (
        (r"a call does not end, even after 0\.2 s", Faulty(submitted=Future)),
        (r"the end of the executor's block does not come", Faulty(executor=Endless())),
        (r"a call was given the result of another call", Faulty(submitted=lambda: first)),
        (r"executor\(\) returned None", Faulty(executor=None)),
    ):
        with pytest.raises((pytest.fail.Exception, EngineError), match=said):
            OfAnEngine(lambda made=faulty: made).test_each_call_has_its_own_result()


PLAIN = """
from bnnlab import Component, Kind, hookimpl

@hookimpl
def bnnlab_components():
    return [
        Component(Kind.ENGINE, "plain", "engines:Plain", "Two processes.", "an example"),
        Component(Kind.ENGINE, "counted", "engines:Counted", "Any number.", "an example"),
        Component(Kind.ENGINE, "silent", "engines:Silent", "Nothing.", "an example"),
    ]
"""


class OfPlain(EngineContract):
    name = "acme/plain"
    patience = 0.3


@pytest.mark.slow
def test_the_contract_finds_what_plain_processes_do_not_do(
    make_plugin: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_plugin("acme", PLAIN)
    plain = OfPlain()
    with pytest.raises(AssertionError, match="2 calls at a time, and jobs is 1"):
        plain.test_as_many_calls_as_it_says_are_made_at_a_time(folder(tmp_path))
    with pytest.raises(AssertionError, match="it was not made again: BrokenProcessPool"):
        plain.test_a_call_whose_worker_dies_is_made_again(folder(tmp_path), caplog)
    with pytest.raises(AssertionError, match="a call was not asked to save and stop"):
        plain.test_after_an_exception_calls_are_asked_to_save_and_stop(folder(tmp_path))
    with pytest.raises(AssertionError, match="a call was not asked to save and stop"):
        plain.test_if_this_process_is_killed_calls_save_and_stop(folder(tmp_path))


def test_a_faulty_engine_is_named(make_plugin: Any) -> None:
    make_plugin("acme", PLAIN)
    host = PluginHost()
    with pytest.raises(UsageError, match=r"silent does not say its jobs and threads: set self"):
        make_engine(host, choose(host, Kind.ENGINE, "silent", {}))
    for value, said in ("all", "'all'"), (0, "0"), (True, "True"):
        with pytest.raises(UsageError, match=f"counted: its jobs is {said}, and no whole"):
            make_engine(host, choose(host, Kind.ENGINE, "counted", {"jobs": value}))
    with pytest.raises(EngineError, match=r"engines\.Silent failed at .*:\d+: LookupError: no que"):
        open_executor(Silent(), 1)
    with pytest.raises(EngineError, match=r"engines\.Faulty: executor\(\) returned None, and no"):
        open_executor(Faulty(executor=None), 1)


def raise_error() -> None:
    raise OSError("full")


def test_an_engine_that_does_not_answer_its_calls_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def answer(submitted: Any) -> Any:
        with open_executor(Faulty(submitted=submitted), 2) as executor:
            asked = [executor.submit(divmod, 7, number) for number in (2, 3)]
            assert asked[0].result() == (3, 1)
            return asked[1].result()

    with pytest.raises(EngineError, match=r"engines\.Faulty failed at .*: OSError: full"):
        answer(raise_error)
    with pytest.raises(EngineError, match=r"engines\.Faulty: submit\(\) returned 3, and no"):
        answer(lambda: 3)
    with pytest.raises(EngineError, match=r"engines\.Faulty: a call was answered None, and not"):
        answer(lambda: ended(None))
    with Here().executor(1) as here:
        first = here.submit(_numbered, 7, 2, divmod, 0)
    with pytest.raises(EngineError, match=r"Faulty: a call was given the result of another call"):
        answer(lambda: first)
    with pytest.raises(KeyboardInterrupt), open_executor(Faulty(left=OSError("no line")), 1):
        raise KeyboardInterrupt
    assert "engines.Faulty failed at" in caplog.text
    with open_executor(Here(), 1) as executor, pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 7, 0).result()


def folder(place: Path) -> Path:
    made = place / str(len([*place.iterdir()]))
    made.mkdir()
    return made


def test_an_engine_is_no_part_of_a_run() -> None:
    host = PluginHost()
    choice = choose(host, Kind.ENGINE, "local", {"jobs": 3})
    engine = host.load(choice.plugin, choice.component)(**choice.options)
    assert (engine.jobs, engine.threads) == (3, max(1, cores() // 3))
    with pytest.raises(UsageError, match=r"engine: no such setting.*It is set in the file"):
        resolve(host, [Layer({"engine": "local"}, "the file")])


def test_workers_load_data_once() -> None:
    with Local(jobs=2).executor(5) as executor:
        asked = [executor.submit(loads_before) for _ in range(5)]
        assert {each.result() for each in asked} == {0}


def test_the_workers_of_a_study_are_as_few_as_can_be_and_said_to_die(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Local(jobs=3).executor(1) as executor:
        first, second = (executor.submit(os.getpid).result() for _ in range(2))
        assert first == second
        assert executor.submit(os.getenv, "GOMP_SPINCOUNT").result() == "5000"
        with pytest.raises(Exception, match="3 workers"):
            executor.submit(os._exit, 3).result()
    assert caplog.messages == ["the worker of 3 died: it goes on in a new one"] * 2
