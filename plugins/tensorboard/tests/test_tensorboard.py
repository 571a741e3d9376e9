"""Runs in TensorBoard, read back by its own reader; resumed; and on a disk that is full."""

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import SMALL, metrics
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import bnnlab
from bnnlab.storage.checkpoint import CHECKPOINT
from bnnlab.storage.folder import METRICS
from bnnlab_tensorboard.contracts import lines_of, reader
from bnnlab_tracking.watched import Watched


def make_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text("seed = 0\n")
    (folder / "environment.json").write_text("{}")
    return folder


def watch(run: Path, *, resumed: bool = False, **options: Any) -> Watched:
    trackers = {"bnnlab-tensorboard/tensorboard": {"patience": 60.0, **options}}
    return Watched(run, trackers, "0123456789abcdef", {"epochs": 1}, resumed=resumed)


def save(run: Watched, folder: Path, begin: int, end: int) -> None:
    """Log lines, with a checkpoint after each."""
    for number in range(begin, end):
        line = {"event": "odd", "deep": {"a": [number, None]}, "time": 1.7e9, "step": 10 * number}
        with (folder / METRICS).open("a") as file:
            file.write(json.dumps(line) + "\n")
        run.count()
        run.saved(folder / CHECKPOINT)


def test_event_files_hold_every_line_and_what_is_made_of_them(tmp_path: Path) -> None:
    result = bnnlab.run(SMALL, out=tmp_path, name="run", track="tensorboard")
    lines, board = metrics(tmp_path / "run"), reader(tmp_path / "run" / "tensorboard")
    assert lines_of(board) == lines
    epochs = [line for line in lines if line["event"] == "epoch"]
    losses = board.Scalars("epoch/loss")
    assert [each.step for each in losses] == [line["step"] for line in epochs]
    assert [each.value for each in losses] == pytest.approx([line["loss"] for line in epochs])
    assert board.Scalars("accuracy/task 2")[-1].value == pytest.approx(result.accuracy[1][1])
    layer = next(line for line in lines if line["event"] == "weights")["layers"][0]
    shown = board.Histograms(f"latent/{layer['name']}")[0].histogram_value
    assert shown.bucket == layer["latent"]["counts"]
    assert shown.min == pytest.approx(layer["latent"]["low"])
    assert board.Scalars(f"flips/{layer['name']}")[0].value == pytest.approx(layer["flips"])
    found = board.Scalars("result/average_accuracy")[0].value
    assert found == pytest.approx(result.average_accuracy)
    matrix = board.Images("matrix")[0]
    assert (matrix.width, matrix.height) == (48, 48)
    assert board.Images("pictures/accuracy")[0].width > 100
    data = board.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    hparams = HParamsPluginData.FromString(data).session_start_info.hparams
    assert hparams["stream.tasks"].number_value == 2
    assert hparams["protocol"].string_value == result.protocol


def test_a_killed_run_goes_on_and_no_line_is_there_twice(tmp_path: Path) -> None:
    folder, board = make_folder(tmp_path), tmp_path / "boards" / "run"
    run = watch(folder, folder=str(board.parent))
    save(run, folder, 0, 3)
    (delivery,) = run.deliveries
    assert delivery.process
    assert delivery.process.stdin
    delivery.process.stdin.close()  # as when this process is killed
    delivery.process.wait(60)
    delivery.close()
    (file,) = board.iterdir()
    os.truncate(file, file.stat().st_size - 5)  # as when its own process was killed, too
    shutil.rmtree(folder / "track")
    run = watch(folder, resumed=True, folder=str(board.parent))
    save(run, folder, 3, 4)
    run.end("complete")
    assert lines_of(reader(board)) == metrics(folder)
    assert [each.value for each in reader(board).Scalars("odd/deep/a/1")][-2:] == [2, 3]


def test_another_run_of_the_same_name_has_a_folder_of_its_own(tmp_path: Path) -> None:
    boards = tmp_path / "boards"
    first, second = make_folder(tmp_path / "one"), make_folder(tmp_path / "two")
    for folder, run_id, resumed in ((first, "1", False), (second, "2", False), (second, "2", True)):
        its = {"bnnlab-tensorboard/tensorboard": {"patience": 60.0, "folder": str(boards)}}
        run = Watched(folder, its, run_id * 16, {"epochs": 1}, resumed=resumed)
        count = len(metrics(folder)) if resumed else 0
        save(run, folder, count, count + 1)
        run.end("complete")
    assert {each.name for each in boards.iterdir()} == {"run", f"run-{'2' * 16}"}
    assert lines_of(reader(boards / "run")) == metrics(first)
    assert lines_of(reader(boards / f"run-{'2' * 16}")) == metrics(second)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_once_and_the_run_goes_on(
    tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder(tmp_path)
    with caplog.at_level(logging.INFO, "bnnlab.tracking"):
        run = watch(folder, folder=str(small_disk))
        save(run, folder, 0, 100)
        run.end("complete")
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "track tensorboard stopped: OSError: [Errno 28]" in said
    assert "to deliver what is missing: bnn run --resume" in caplog.records[-1].getMessage()
    assert len(metrics(folder)) == 100
