import os
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from engines import loads_before

from bnnlab import Kind, PluginHost, RunError, UsageError
from bnnlab.guards.threads import cores
from bnnlab.settings.layers import Layer, choose, resolve
from bnnlab_studies.engine import Local, LocalExecutor


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with Local(jobs=2).executor(9) as made:
        yield made


def test_the_engine_is_a_component_and_no_part_of_a_run() -> None:
    host = PluginHost()
    choice = choose(host, Kind.ENGINE, "local", {"jobs": 3})
    engine = host.load(choice.plugin, choice.component)(**choice.options)
    assert (engine.jobs, engine.threads) == (3, max(1, cores() // 3))
    with pytest.raises(UsageError, match=r"engine: no such setting.*It is set in the file"):
        resolve(host, [Layer({"engine": "local"}, "the file")])


def test_no_more_workers_start_than_there_are_calls_or_jobs() -> None:
    for jobs, calls, workers in ((3, 1, 1), (1, 3, 1)):
        with Local(jobs).executor(calls) as executor:
            asked = [executor.submit(os.getpid) for _ in range(calls)]
            assert len({each.result() for each in asked}) == workers


def test_workers_wait_passively_and_print_no_result(executor: LocalExecutor) -> None:
    assert executor.submit(os.getenv, "OMP_WAIT_POLICY").result() == "PASSIVE"


def test_workers_load_data_once(executor: LocalExecutor) -> None:
    asked = [executor.submit(loads_before) for _ in range(5)]
    assert {each.result() for each in asked} == {0}


def test_a_call_that_loses_three_workers_fails_alone(
    executor: LocalExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    dying, other = executor.submit(os._exit, 3), executor.submit(time.sleep, 0.1)
    with pytest.raises(RunError, match="3 workers"):
        dying.result()
    assert other.result() is None
    assert caplog.messages == ["the worker of 3 died: it goes on in a new one"] * 3
    assert executor.submit(os.getpid).result()


def test_after_an_exception_no_call_begins() -> None:
    asked: list[Future[None]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(Local(jobs=1).executor(2), asked)
    assert asked[0].done()
    assert asked[1].cancelled()


def interrupted(executor: LocalExecutor, asked: list[Future[None]]) -> None:
    with executor:
        asked += [executor.submit(time.sleep, 0.5) for _ in range(2)]
        while not asked[0].running():
            time.sleep(0.01)
        raise KeyboardInterrupt
