import operator
import os
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path
from timeit import timeit

import pytest
import ray

from bnnlab import Kind, PluginHost, UsageError
from bnnlab.settings.layers import choose
from bnnlab.settings.text import read_config
from bnnlab_ray.engine import Ray


@pytest.fixture(scope="module")
def executor(cluster: None) -> Iterator[Executor]:
    with Ray().executor(9) as made:
        yield made
    assert ray.is_initialized()


def test_the_engine_is_a_component() -> None:
    host = PluginHost()
    choice = choose(host, Kind.ENGINE, "ray", {"cpus": 3, "gpus": 0.5})
    engine = host.load(choice.plugin, choice.component)(**choice.options)
    assert engine.threads == 3
    assert Ray(cpus=0.5).threads == 1


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": 1.5}, "gpus: 1.5 is above 1 and not a whole number"),
        ({"address": "here"}, "'here' is neither HOST:PORT nor auto"),
        ({"address": "127.0.0.1:1"}, "no Ray cluster answers at 127.0.0.1:1: "),
        ({"address": "127.0.0.1:99999"}, "no Ray cluster answers at 127.0.0.1:99999: "),
        ({"address": "ray://127.0.0.1:1"}, "Ray's client is not used here"),
        ({"cpus": 4096}, "no machine of the Ray cluster has the 4096 CPU that a run needs"),
    ],
)
def test_what_cannot_work_is_refused_at_once(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Ray(**options).jobs  # type: ignore[arg-type]  # noqa: B018


def test_another_version_of_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = "requires ray>=2.59; 2.9 is installed"
    monkeypatch.setattr("bnnlab_ray.cluster.unmet", lambda _: ["requires x", fault])
    with pytest.raises(UsageError, match=r"2\.9 is installed: `pip install --upgrade ray`"):
        Ray().executor(1)


@pytest.mark.usefixtures("cluster")
def test_no_call_waits_for_what_the_cluster_does_not_have() -> None:
    with pytest.raises(UsageError, match=r"the 1 CPU and 64 GPU that a run needs; they have: 2 "):
        Ray(gpus=64).executor(1)
    with pytest.raises(UsageError, match="connected to a Ray cluster already"):
        Ray(address="127.0.0.1:1").executor(1)
    assert Ray(cpus=0.5).jobs == 4
    assert Ray(cpus=0.5, jobs=3).jobs == 3


def test_a_worker_is_set_up_as_this_process(
    cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BNNLAB_DATA", "of the user")
    monkeypatch.chdir(tmp_path)
    with Ray().executor(1) as executor:
        assert executor.submit(os.getenv, "BNNLAB_DATA").result() == "of the user"
        assert executor.submit(os.getenv, "GOMP_SPINCOUNT").result() == "5000"
        assert executor.submit(Path.cwd).result() == tmp_path


def test_errors_come_through(executor: Executor) -> None:
    with pytest.raises(UsageError, match=r"^cannot read /nowhere: No such file or directory\.$"):
        executor.submit(read_config, Path("/nowhere")).result()
    with pytest.raises(ZeroDivisionError):
        executor.submit(operator.truediv, 1, 0).result()


@pytest.mark.usefixtures("cluster")
def test_after_an_exception_calls_are_interrupted_and_none_begins() -> None:
    asked: list[Future[float]] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(Ray(jobs=1).executor(2), asked)
    with pytest.raises(CancelledError):
        asked[0].result(timeout=0)
    assert asked[1].cancelled()


def interrupted(executor: Executor, asked: list[Future[float]]) -> None:
    with executor:
        naps = "time.sleep(0.01)", "import time"
        asked += [executor.submit(timeit, *naps, number=6000) for _ in range(2)]
        while not asked[0].running():
            time.sleep(0.01)
        raise KeyboardInterrupt
