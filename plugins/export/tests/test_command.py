"""`bnn export`: from a run to a prediction."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bnnlab
import bnnlab_runtime
from bnnlab.cli import main
from bnnlab.storage import checkpoint
from bnnlab_runtime.__main__ import main as predict

RUN = "run --quiet --epochs 1 --rule bp --set model.hidden=[70]"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a perceptron on digits."""
    out = tmp_path_factory.mktemp("runs")
    words = f"{RUN} --optimizer adam --stream digits --out {out} --name digits"
    assert main(words.split()) == 0
    return out / "digits"


def test_a_runs_model_predicts_from_its_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, images = tmp_path / "model.bnn", tmp_path / "images.npy"
    assert main(["export", str(run), "-o", str(file)]) == 0
    assert f"written to {file}" in capsys.readouterr().out
    part = bnnlab.create("stream", "digits")[0].test
    positions = torch.arange(20)
    np.save(images, part.raw(positions)[0].numpy())
    assert predict([str(file), str(images)]) == 0
    with torch.no_grad():
        expected = bnnlab.load(run)(part.batch(positions)[0]).argmax(1)
    names = bnnlab.create("stream", "digits").class_names or range(10)
    assert capsys.readouterr().out.split() == [str(names[each]) for each in expected]
    told = bnnlab_runtime.load(file).program["run"]
    assert (told["name"], told["seed"]) == ("digits", 0)
    assert told["protocol"] == json.loads((run / "result.json").read_text())["protocol"]


def test_a_dry_run_writes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run.rglob("*"))
    assert main(["export", str(run), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["path"], found["differing"]) == (None, 0)
    assert found["operations"] == {"1 x 8 bits": 64 * 70, "1 bit": 70 * 10}
    assert sorted(run.rglob("*")) == before


def section(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["info", "model", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["sections"]
    (mine,) = [each for each in found if each["plugin"].startswith("bnnlab-export/")]
    data: dict[str, Any] = mine["data"]
    return data


def test_info_says_what_a_file_would_have(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["mlp", "--set", "model.hidden=[70]", "--input", "1,8,8"]
    before = section(capsys, *words)
    assert main(["export", str(run), "--dry-run", "--json"]) == 0
    there = json.loads(capsys.readouterr().out)
    for name in ("steps", "layers", "operations", "bytes_unpacked"):
        assert before[name] == there[name]
    assert 0 < there["bytes"] - before["bytes"] < 300  # its name and protocol, and the classes
    assert main(["info", "model", *words]) == 0
    shown = capsys.readouterr().out
    assert "What a file of `bnn export` would have:" in shown
    assert "multiply-accumulates of an image: 4,480 of 1 x 8 bits, 700 of 1 bit" in shown


def test_info_says_why_there_would_be_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    recalibrated = ["mlp", "--set", "model.norm=batch", "--set", "model.statistics=recalibrated"]
    for words, why in (
        (recalibrated, "its statistics are recalibrated"),
        (["mlp", "--set", "model.weights=real"], "it has no binary weights"),
        (["mlp-mixer"], "no rows and no maps"),
    ):
        assert why in section(capsys, *words)["refused"]
    assert main(["info", "model", "mlp", "--set", "model.activation=relu"]) == 0
    assert "nothing would be faster" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "say where the file is to be"),
        (["-o", "x.bnn", "--dry-run"], "--dry-run writes no file"),
        (["-o", "x.bnn", "--mode", "--draws", "3"], "leave one out"),
        (["-o", "x.bnn", "--draws", "3"], "/adam, has no posterior to draw 3 weights"),
        (["-o", "no/x.bnn"], "there is no folder no"),
    ],
)
def test_wrong_use_is_refused(
    run: Path,
    words: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run), *words]) == 2
    assert why in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_run_that_is_not_complete_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"{RUN} --optimizer adam --stream split-digits --out {tmp_path} --name part"
    assert main(words.split()) == 0
    assert main(["export", str(tmp_path / "part"), "--dry-run"]) == 0
    assert "the run is not complete" not in capsys.readouterr().out
    state = checkpoint.read(tmp_path / "part" / checkpoint.CHECKPOINT)
    del state["progress"]["accuracy"][2:]
    checkpoint.save(tmp_path / "part", state)
    assert main(["export", str(tmp_path / "part"), "--dry-run"]) == 0
    assert "the run is not complete: 2 of 5 tasks are learned" in capsys.readouterr().out
    assert main(["export", str(tmp_path / "part"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["learned"] == [2, 5]


def test_a_runs_draws_are_those_of_its_evaluations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"{RUN} --optimizer bayesbinn --stream split-digits --out {tmp_path} --name posterior"
    options = " --set stream.incremental=task --set optimizer.test_draws=3"
    assert main((words + options).split()) == 0
    result = json.loads((tmp_path / "posterior" / "result.json").read_text())
    capsys.readouterr()
    for more, count in (([], 3), (["--draws", "2"], 2), (["--mode"], 1)):
        assert main(["export", str(tmp_path / "posterior"), "--dry-run", "--json", *more]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["draws"], found["tasks"], found["unexplained"]) == (count, 5, 0)
        if not more:
            assert found["accuracy"] == pytest.approx(result["average_accuracy"])
