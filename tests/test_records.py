"""What a run writes is there whole or not at all."""

import json
import logging
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
import tomli
import torch

from bnnlab import UsageError
from bnnlab.storage import files
from bnnlab.storage.files import expect_place, to_json, write_atomically
from bnnlab.storage.folder import RunFolder
from bnnlab.storage.log import hear, written
from bnnlab.storage.owner import owner_of


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    target, link, pipe = (tmp_path / name for name in ("target", "link", "pipe"))
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"one, ", b"two")
    assert os.read(reader, 100) == b"one, two"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_place_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.write_bytes(b"ours")
    other.write_bytes(b"other")

    def told(path: Path) -> str:
        def is_ours(file: Path) -> bool:
            return file.read_bytes() == b"ours"

        try:
            expect_place(path, "a.txt", is_ours, "text")
        except UsageError as error:
            return str(error)
        return ""

    assert not told(ours)
    assert not told(tmp_path / "new")
    assert told(other) == f"{other} exists and is no text of bnnlab: choose another name"
    assert told(tmp_path) == f"{tmp_path} is a folder: name a file, such as {tmp_path / 'a.txt'}"
    assert "there is no folder" in told(tmp_path / "no" / "new")
    assert "cannot read" in told(tmp_path / ("x" * 300))


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_part(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync" if failing == "fsync" else "pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new, and longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_windows_waits_until_nobody_reads_the_file_that_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace, tried = tmp_path / "a.json", Path.replace, list[Path]()
    write_atomically(path, b"old")

    def refuse_twice(file: Path, place: Path) -> Path:
        tried.append(file)
        if len(tried) < 3:
            raise PermissionError(13, "Permission denied")
        return replace(file, place)

    monkeypatch.setattr(Path, "replace", refuse_twice)
    with pytest.raises(PermissionError):
        write_atomically(path, b"new")
    assert (len(tried), path.read_bytes()) == (1, b"old")
    monkeypatch.setattr(files, "WINDOWS", True)
    write_atomically(path, b"new")
    assert (len(tried), path.read_bytes()) == (3, b"new")


def test_json_never_holds_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"loss": float("nan")})
    assert to_json({"a": [[1, None], []]}) == '{\n  "a": [\n    [1, null],\n    []\n  ]\n}\n'


@pytest.mark.parametrize("text", ["x [ y ] z", "a [ ", " ] b", "{ [", "\n [ \n ]", '" [ "'])
def test_json_holds_texts_as_they_are(text: str) -> None:
    value = {"a": [text, "b"], text: [[text], [1, 2]]}
    assert json.loads(to_json(value)) == value


def test_metrics_that_are_not_json_are_refused_and_leave_no_line(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", "described")
    folder.append_metrics({"loss": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.append_metrics({"loss": float("inf")})
    assert (folder.path / "metrics.jsonl").read_text(encoding="utf-8") == '{"loss": 1.0}\n'


def test_metrics_are_those_at_the_checkpoint_whatever_became_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder.create(tmp_path, "x", "described")
    path = folder.path / "metrics.jsonl"
    for number in range(4):
        folder.append_metrics({"n": number})
    whole = path.read_text(encoding="utf-8")
    for text in (whole + '{"n": 4, "los', whole[:20], "", whole.replace("1", "7")):
        path.write_text(text, encoding="utf-8")
        caplog.clear()
        folder.restore_metrics(folder.lines[:3])
        assert path.read_text(encoding="utf-8") == "".join(folder.lines)
        assert ("written anew" in caplog.text) == (not text.startswith(whole))
        folder.append_metrics({"n": 3})


def test_an_existing_run_is_never_written_over(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "an x", "described")
    (tmp_path / "an x" / "result.json").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"x exists\. Choose another --name.*--resume '/.*an x'$"):
        RunFolder.create(tmp_path, "an x", "described")
    assert (tmp_path / "an x" / "result.json").read_text(encoding="utf-8") == "mine"
    (tmp_path / "study" / "cell" / "seed-0").mkdir(parents=True)
    (tmp_path / "study" / "cell" / "seed-0" / "metrics.jsonl").touch()
    with pytest.raises(UsageError, match=r"study exists\. Choose another --name\.$"):
        RunFolder.create(tmp_path, "study", "described")


def test_runs_without_a_name_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even those that begin at the same moment: the folder is made by another just before."""
    out, mkdir, made = tmp_path / "new" / "runs", Path.mkdir, []

    def late(path: Path, *args: Any, **more: Any) -> None:
        if path.parent == out and len(made) < 2:
            made.append(path)
            mkdir(path)
        mkdir(path, *args, **more)

    monkeypatch.setattr(Path, "mkdir", late)
    paths = {RunFolder.create(out, None, "dfa-meta").path for _ in range(3)}
    assert len({*paths, *made}) == 5
    assert all(path.name.startswith("dfa-meta-") for path in paths)


def test_a_folder_is_one_writers(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", "described")
    owner = rf"x is in use by process {os.getpid()} on .*, since .*: wait until it ends"
    with pytest.raises(UsageError, match=owner):
        RunFolder(folder.path).lock()
    folder.unlock()
    second = RunFolder(folder.path)
    second.lock()
    with pytest.raises(UsageError, match=owner):
        folder.lock()


def test_the_writer_of_a_folder_is_found_without_its_lock(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", "described")
    found = owner_of(folder.path)
    assert found is not None
    assert found.startswith(f"process {os.getpid()} on ")
    folder.unlock()
    assert owner_of(folder.path) is None
    said = folder.path / ".owner"  # as a process leaves it that is killed
    said.write_text(found, encoding="utf-8")
    if Path("/proc").is_dir():
        assert owner_of(folder.path) is None, "this process has not opened the lock"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    said.write_text(found.replace(str(os.getpid()), str(ended.pid)), encoding="utf-8")
    assert owner_of(folder.path) is None
    for elsewhere in (found.replace(" on ", " on far-"), "somebody"):
        said.write_text(elsewhere, encoding="utf-8")
        assert owner_of(folder.path) == elsewhere


def test_a_file_in_the_output_folders_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("", encoding="utf-8")
    for out in (tmp_path / "runs", tmp_path / "runs" / "deeper"):
        with pytest.raises(UsageError, match=r"cannot (write runs to|make the folder) .*runs"):
            RunFolder.create(out, "x", "described")


def test_an_output_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    out = tmp_path / "locked"
    out.mkdir()
    out.chmod(0o500)
    try:
        (out / "probe").mkdir()
    except PermissionError:
        with pytest.raises(UsageError, match=r"cannot write runs to .*locked: Permission denied"):
            RunFolder.create(out, "x", "described")
    else:
        pytest.skip("this user may write everywhere")
    finally:
        out.chmod(0o700)


@pytest.mark.parametrize("name", ["a/b", "../up", "/abs", ".", ".."])
def test_a_name_that_is_a_path_is_refused_and_nothing_is_made(name: str, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with pytest.raises(UsageError):
        RunFolder.create(out, name.replace("/abs", str(tmp_path / "abs")), "described")
    made = {path.name for path in tmp_path.rglob("*")}
    assert made <= {"runs"}


def test_configuration_and_environment_are_readable(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x", "described")
    folder.describe({"epochs": 2, "rule": {"name": "a/dfa"}}, {"plugins": {"bnnlab-dfa": "0.1.0"}})
    config = tomli.loads((folder.path / "run.toml").read_text(encoding="utf-8"))
    assert config == {"epochs": 2, "rule": {"name": "a/dfa"}}
    environment = json.loads((folder.path / "environment.json").read_text(encoding="utf-8"))
    assert environment["plugins"] == {"bnnlab-dfa": "0.1.0"}
    assert environment["torch"] == torch.__version__
    assert environment["threads"] == torch.get_num_threads()


def test_a_log_holds_what_was_said_before_and_inside_from_info_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger, path = logging.getLogger("bnnlab.somewhere"), tmp_path / "log.txt"
    caplog.set_level(logging.WARNING, logger="bnnlab")
    with hear() as earlier:
        logger.info("before")
    with written(path, earlier):
        logger.warning("inside")
        logger.debug("nothing")
    logger.warning("after")
    before, inside = path.read_text(encoding="utf-8").splitlines()
    assert before.endswith("INFO before")
    assert inside.endswith("WARNING inside")
    assert caplog.messages == ["inside", "after"], "others hear what they always do"


@pytest.mark.parametrize("own", [False, True])
def test_a_warning_in_a_run_is_on_standard_error_where_nobody_listens(
    own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once: as Python does it, or by a handler that was there before."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger = logging.getLogger("bnnlab")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(sys.stderr)] if own else [])
    with hear() as earlier:
        logger.warning("made")
    with written(tmp_path / "log.txt", earlier):
        logger.warning("run")
    assert capsys.readouterr().err == "made\nrun\n"


def test_logs_of_several_runs_may_end_in_any_order(tmp_path: Path) -> None:
    logger = logging.getLogger("bnnlab")
    before = logger.level, logger.propagate, [*logger.handlers]
    one, other = (ExitStack() for _ in range(2))
    one.enter_context(written(tmp_path / "one.txt"))
    other.enter_context(written(tmp_path / "other.txt"))
    one.close()
    logger.info("still")
    other.close()
    assert (logger.level, logger.propagate, logger.handlers) == before
    assert (tmp_path / "one.txt").read_text() == ""
    assert "INFO still" in (tmp_path / "other.txt").read_text()


def test_runs_in_threads_have_their_own_messages_and_those_of_threads_without_a_run(
    tmp_path: Path,
) -> None:
    logger, together = logging.getLogger("bnnlab.somewhere"), Barrier(2, timeout=60)

    def run(name: str) -> None:
        with hear() as earlier:
            together.wait()
            logger.info("prepared %s", name)
            together.wait()
        with written(tmp_path / name, earlier):
            together.wait()
            with hear():  # of what carries it out
                logger.warning("in %s", name)
            if together.wait() == 0:
                worker = Thread(target=logger.warning, args=("of a worker",))
                worker.start()
                worker.join()
            together.wait()

    runs = [Thread(target=run, args=(name,)) for name in ("one", "other")]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    for name in ("one", "other"):
        said = [line.split(maxsplit=2)[2] for line in (tmp_path / name).read_text().splitlines()]
        assert said == [f"INFO prepared {name}", f"WARNING in {name}", "WARNING of a worker"]
