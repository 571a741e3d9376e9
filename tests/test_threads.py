"""How many CPU threads a run computes with, and how they wait."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import SMALL, experiment, found, read_json, resume

import bnnlab
from bnnlab import PluginHost
from bnnlab.guards import threads
from bnnlab.storage import checkpoint

HOST = PluginHost()
TINY = {"epochs": 1, "batch_size": 2000, "model": {"name": "mlp", "hidden": [4]}}


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """Let torch use a number of threads that nothing here sets."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def in_a_new_thread(ask: Any) -> Any:
    with ThreadPoolExecutor(1) as other:
        return other.submit(ask).result()


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, float("inf")),
        ({"cpu.max": "max 100000"}, float("inf")),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "damaged"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, float("inf")),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
    ],
)
def test_a_containers_quota_is_read(files: dict[str, str], quota: float, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert threads._quota(tmp_path) == quota


def test_the_cores_are_those_of_the_affinity_and_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    def usable(cores: int, quota: float) -> int:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(threads, "_quota", lambda: quota)
        return threads.cores()

    assert usable(3, float("inf")) == 3
    assert usable(64, 1.5) == 2
    assert usable(1, 8.0) == 1
    assert usable(8, 0.1) == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert threads.cores() == 1


def test_torchs_number_is_the_default_up_to_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    assert threads.find(None) == 2
    monkeypatch.setattr(threads, "cores", lambda: 64)
    assert threads.find(None) == 3
    assert threads.find(7) == 7


def test_a_block_computes_with_its_number_in_its_own_thread_alone() -> None:
    with threads.computing(2):
        assert torch.get_num_threads() == 2
        assert in_a_new_thread(torch.get_num_threads) == 3
    assert torch.get_num_threads() == in_a_new_thread(torch.get_num_threads) == 3


@pytest.mark.slow
def test_a_run_uses_its_threads_writes_them_and_puts_back_what_was_there(tmp_path: Path) -> None:
    used = set()
    made = experiment(HOST, tmp_path, TINY, {"threads": 2})
    assert torch.get_num_threads() == 3
    result = made.run(lambda *_: used.add(torch.get_num_threads()))
    assert used == {2}
    assert torch.get_num_threads() == 3
    assert result.computed_on == [{"device": "cpu", "threads": 2}]
    assert read_json(tmp_path / "run" / "environment.json")["threads"] == 2
    assert "threads = 2\n" in (tmp_path / "run" / "run.toml").read_text()


def test_the_number_that_is_found_is_in_the_runs_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    made = experiment(HOST, tmp_path, TINY)
    assert made.folder
    assert "threads = 2\n" in (made.folder.path / "run.toml").read_text()
    monkeypatch.setattr(threads, "cores", lambda: 1)  # of the machine that goes on with it
    made.folder.unlock()
    assert resume(HOST, made.folder.path).run().computed_on == [{"device": "cpu", "threads": 2}]


def test_a_run_that_fails_puts_back_the_threads(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        experiment(HOST, tmp_path, TINY, {"threads": 2}).run(stop)
    assert torch.get_num_threads() == 3


def test_runs_at_once_in_one_process_use_each_their_own(tmp_path: Path) -> None:
    def used(number: int) -> set[int]:
        seen = set()
        made = experiment(HOST, None, TINY, {"threads": number})
        made.run(lambda *_: seen.add(torch.get_num_threads()))
        return seen

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(used, (1, 2))] == [{1}, {2}]
    assert in_a_new_thread(torch.get_num_threads) == 3


def test_blocks_that_begin_and_end_together_leave_the_number_of_others() -> None:
    def block(number: int) -> None:
        with threads.computing(number):
            pass

    for _ in range(50):
        with ThreadPoolExecutor(4) as pool:
            assert [*pool.map(block, (1, 2, 4, 5))]
        assert in_a_new_thread(torch.get_num_threads) == 3


def stopped_run(out: Path) -> Path:
    made = experiment(HOST, out, TINY, {"threads": 2})
    assert made.folder
    with pytest.raises(KeyboardInterrupt):
        made.run(stop)
    return made.folder.path


def test_other_threads_go_on_and_the_run_says_that_rounding_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = stopped_run(tmp_path)
    config = folder / "run.toml"
    config.write_text(config.read_text().replace("threads = 2", "threads = 1"))
    result = resume(HOST, folder).run()
    assert "was saved by 2 CPU threads and continues by 1 CPU threads: from here" in caplog.text
    assert result.status == "complete"
    assert [each["threads"] for each in result.computed_on] == [2, 1]


@pytest.mark.slow
def test_a_checkpoint_that_does_not_say_its_threads_goes_on_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = stopped_run(tmp_path)
    state = checkpoint.load(folder)
    assert state
    del state["computed_on"]
    checkpoint.save(folder, state)
    result = resume(HOST, folder).run()
    assert not [each for each in caplog.records if "threads" in each.getMessage()]
    assert [each["threads"] for each in result.computed_on] == [None, 2]


@pytest.mark.slow
def test_the_threads_are_no_part_of_the_protocol() -> None:
    one, two = (bnnlab.run(SMALL | TINY, host=HOST, threads=number) for number in (1, 2))
    assert one.protocol == two.protocol
    assert found(one).keys() == found(two).keys()


def test_bnn_lets_openmp_wait_briefly_and_importing_bnnlab_changes_nothing() -> None:
    asks = (
        "import json, os, sys; said = []; note = lambda: said.append(dict(os.environ));"
        "note(); import bnnlab; note(); from bnnlab.cli import main; note(); main(['--version']);"
        "note(); [os.environ.pop(name) for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')];"
        "os.environ['OMP_WAIT_POLICY'] = 'ACTIVE'; main(['--version']); note();"
        "print(json.dumps(said))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in threads.WAITING}
    answer = subprocess.run(
        [sys.executable, "-c", asks], env=environment, capture_output=True, text=True, check=True
    )
    before, imported, command, brief, active = json.loads(answer.stdout.splitlines()[-1])
    assert before == imported == command
    assert brief == before | threads.WAITING
    assert active == before | {"OMP_WAIT_POLICY": "ACTIVE"}
