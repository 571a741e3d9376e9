"""The command line: what it says to what is wrong, and that it leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = ["--stream", "digits", "--set", "model.hidden=[8]", "--epochs", "1"]
Bnn = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("own_folder")


def assert_refused(answer: Any, *parts: str, code: int = 2) -> None:
    """One or two lines on standard error, nothing on standard output."""
    assert answer.code == code, answer
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert 1 <= len(lines) <= 2, answer.err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err


WRONG: dict[str, tuple[list[str], list[str]]] = {
    "command": (["rnu"], ["rnu"]),
    "flag": (["run", "--sed", "1"], ["--sed"]),
    "rule": (["run", "--rule", "dff"], ["unknown rule 'dff'", "Did you mean 'dfa'?"]),
    "optimizer": (["run", "-o", "metta"], ["unknown optimizer 'metta'", "'meta'"]),
    "model": (["run", "--model", "mpl"], ["unknown model 'mpl'", "'mlp'"]),
    "stream": (["run", "--stream", "permuted-digit"], ["'permuted-digit'", "'permuted-digits'"]),
    "option": (["run", "--set", "optimizer.lrr=1"], ["optimizer.lrr", "'lr'"]),
    "kind to set": (["run", "--set", "optimzer.lr=1"], ["optimzer", "'optimizer'"]),
    "value": (["run", "--set", "optimizer.lr=fast"], ["optimizer.lr", "'fast'", "float"]),
    "value of a choice": (["run", "--set", "model.norm=bach"], ["model.norm", "'batch'"]),
    "set without =": (["run", "--set", "optimizer.lr"], ["optimizer.lr", "KIND.NAME=VALUE"]),
    "negative epochs": (["run", "--epochs", "-1"], ["epochs: -1", "at least 1"]),
    "no epochs": (["run", "--epochs", "0"], ["epochs: 0", "at least 1"]),
    "epochs in words": (["run", "--epochs", "two"], ["two"]),
    "negative batch": (["run", "-b", "-5"], ["batch_size: -5"]),
    "negative seed": (["run", "--seed", "-5"], ["seed: -5"]),
    "negative width": (["run", "--set", "model.hidden=[-5]"], ["model.hidden"]),
    "no tasks": (["run", "--set", "stream.tasks=0"], ["stream.tasks"]),
    "tasks that do not divide": (
        ["run", "--stream", "split-digits", "--set", "stream.tasks=3"],
        ["3 does not divide the 10 classes"],
    ),
    "m of wrong length": (["run", "-o", "meta", "--set", "optimizer.m=[1,2]"], ["2 values", "3"]),
    "device": (["run", "--device", "gpu"], ["device 'gpu'"]),
    "device number": (["run", "--device", "cuda:99"], ["device 'cuda:99'"]),
    "recipe": (
        ["run", "--recipe", "metaplasticity/permuted-minst"],
        ["unknown recipe", "'metaplasticity/permuted-mnist'"],
    ),
    "missing run file": (["run", "--config", "no.toml"], ["no.toml", "No such file"]),
    "resume of nothing": (["run", "--resume", "runs/no"], ["runs/no is no run's folder"]),
    "resume of a long name": (["run", "--resume", 300 * "x"], ["File name too long"]),
    "run file without an end": (["run", "--config", "/dev/zero"], ["/dev/zero is no TOML file"]),
    "resume with more": (["run", "--resume", "x", "--epochs", "3"], ["--resume", "other flags"]),
    "kind": (["info", "rulez", "dfa"], ["unknown kind 'rulez'", "'rule'"]),
    "name": (["info", "rule", "dff"], ["'dfa'"]),
    "name without a kind": (["info", "dfa"], ["'dfa' is not a kind", "`bnn info rule dfa`"]),
    "option of no component": (["info", "rule", "--set", "rule.per=channel"], ["give its name"]),
    "flag given twice": (["run", "--epochs", "1", "-e", "2"], ["--epochs is given 2 times"]),
    "contradiction": (["run", "--fresh", "--no-fresh"], ["--fresh/--no-fresh is given 2 times"]),
    "flag and --set": (["run", "-e", "2", "--set", "epochs=1"], ["set twice: to 2 and to 1"]),
    "option of another": (
        ["info", "probe", "weights", "--set", "probe.a.q=1"],
        ["probe.weights only"],
    ),
    "empty out": (["run", "--out", ""], ["out: the text is empty"]),
    "empty name": (["run", "--set", "name="], ["name: the text is empty"]),
    "empty data": (["run", "--data="], ["data: the text is empty"]),
    "empty device": (["run", "--device="], ["device: the text is empty"]),
    "empty run file": (["run", "--config", ""], ["--config: the path is empty"]),
    "empty resume": (["run", "--resume="], ["--resume: the path is empty"]),
    "no short form": (
        ["run", "--recipe", "dfa/permuted-mnist", "--short"],
        ["recipe 'dfa/permuted-mnist' has no short form"],
    ),
    "short form of nothing": (["run", "--short"], ["--recipe PLUGIN/NAME"]),
    "empty recipe": (["run", "--recipe="], ["unknown recipe ''"]),
    "empty rule": (["run", "--rule="], ["unknown rule ''"]),
    "empty probe": (["run", "--probe="], ["unknown probe ''"]),
    "check": (["check", "--rule", "dff"], ["'dfa'"]),
    "matrix": (["matrix", "--model", "mpl"], ["'mlp'"]),
    "misfit": (
        ["run", "--optimizer", "meta", "--set", "model.weights=real"],
        ["requires 'binary-weights'", "What would fit: "],
    ),
    "much at once": (
        ["run", "--rule", "dff", "--epochs", "0", "--set", "optimizer.lr=-1", "-m", "mpl"],
        ["'dff'", "epochs: 0", "optimizer.lr", "'mpl'"],
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_use_is_answered_in_two_lines_and_nothing_is_written(
    what: str, bnn: Bnn, tmp_path: Path
) -> None:
    words, parts = WRONG[what]
    assert_refused(bnn(*words), *parts)
    assert not list(tmp_path.rglob("*"))


def test_a_component_that_is_not_installed_is_answered_with_how_to_install_it(
    bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnnlab.registry import discovery

    found = [each for each in discovery.find_plugins() if each.distribution != "bnnlab-dfa"]
    monkeypatch.setattr("bnnlab.registry.host.find_plugins", lambda: found)
    assert_refused(bnn("run", "--rule", "dfa"), "rule 'dfa'", "`bnn install dfa`")


FILES: dict[str, tuple[str, list[str]]] = {
    "not TOML": ("epochs = = 3", ["my.toml", "not valid TOML", "line 1"]),
    "an unknown key": ("epoch = 3", ["epoch: no such setting", "'epochs'"]),
    "an option in quotes": (
        '"optimizer.lr" = 0.01',
        ["Write optimizer = { lr = ... }, or optimizer.lr without quotes."],
    ),
    "an empty key": ('"" = 3', ["'': no such setting"]),
    "an unknown option": ("[optimizer]\nlrr = 3", ["optimizer.lrr", "'lr'"]),
    "a value of another type": ('epochs = "three"', ["epochs: 'three' is not an int"]),
    "a component that is no name": ("rule = 3", ["rule: 3"]),
    "an unknown component": ('rule = "dff"', ["'dfa'"]),
}


@pytest.mark.parametrize("what", FILES)
def test_a_run_file_with_a_fault_is_refused_with_what_and_where(
    what: str, bnn: Bnn, tmp_path: Path
) -> None:
    text, parts = FILES[what]
    (tmp_path / "my.toml").write_text(text, encoding="utf-8")
    assert_refused(bnn("run", "--config", "my.toml"), *parts)
    assert [path.name for path in tmp_path.rglob("*")] == ["my.toml"]


def test_a_run_file_that_is_a_folder_is_refused(bnn: Bnn, tmp_path: Path) -> None:
    assert_refused(bnn("run", "--config", str(tmp_path)), "cannot read", "directory")


def test_an_existing_run_is_not_written_over(bnn: Bnn, tmp_path: Path) -> None:
    assert bnn("run", *TINY, "--name", "x", "-q").code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert_refused(bnn("run", *TINY, "--name", "x"), "runs/x exists", "--name", "--resume")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_output_folder_that_cannot_be_made_is_named(bnn: Bnn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    for out in ("file", "file/deeper"):
        assert_refused(
            bnn("run", *TINY, "--out", out),
            f"cannot make the folder {out}" if "/" in out else "not a folder",
        )
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_a_name_that_is_a_path_is_refused(bnn: Bnn, tmp_path: Path) -> None:
    assert_refused(bnn("run", *TINY, "--name", "../x"), "'../x'")
    assert not list(tmp_path.parent.glob("x"))


def test_an_empty_data_folder_is_named_with_what_belongs_there(
    bnn: Bnn, no_network: None, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    answer = bnn("run", "--stream", "mnist", "--data", "empty")
    assert_refused(answer, "mnist", "empty/MNIST/raw", "train-images-idx3-ubyte", code=1)
    assert not (tmp_path / "runs").exists()
    assert not list((tmp_path / "empty").rglob("*ubyte*"))


def test_a_data_folder_that_is_a_file_is_refused(
    bnn: Bnn, no_network: None, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert_refused(bnn("run", "--stream", "mnist", "--data", "file"), "mnist: file is a file")


def test_a_corrupt_data_folder_is_named(bnn: Bnn, no_network: None, tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"not what it should be")
    assert_refused(bnn("run", "--stream", "permuted-mnist"), "mnist", "damaged", str(raw))
    assert not (tmp_path / "runs").exists()


def test_a_damaged_checkpoint_is_named(bnn: Bnn, tmp_path: Path) -> None:
    assert bnn("run", *TINY, "--name", "x", "-q").code == 0
    for name in ("state.pt", "previous.pt"):
        (tmp_path / "runs" / "x" / "checkpoint" / name).write_bytes(b"junk")
    answer = bnn("run", "--resume", "runs/x")
    assert_refused(answer, "state.pt is damaged", "previous.pt is damaged")


def test_a_checkpoint_of_another_network_is_refused(bnn: Bnn, tmp_path: Path) -> None:
    assert bnn("run", *TINY, "--name", "x", "-q").code == 0
    config = tmp_path / "runs" / "x" / "run.toml"
    text = config.read_text(encoding="utf-8")
    assert "    8,\n" in text
    config.write_text(text.replace("    8,\n", "    9,\n"), encoding="utf-8")
    assert_refused(bnn("run", "--resume", "runs/x"), "runs/x")


DIVERGING = ["run", "--rule", "bp", "--optimizer", "sgd", "--set", "optimizer.lr=1e38",
             "--set", "model.weights=real", "--set", "model.norm=none",
             "--set", "model.activation=relu", "--stream", "digits", "--name", "x"]  # fmt: skip


def test_a_run_that_fails_exits_with_1_and_leaves_what_it_knows(bnn: Bnn, tmp_path: Path) -> None:
    answer = bnn(*DIVERGING, "--quiet", "--json")
    assert answer.code == 1
    assert answer.out == ""
    assert 1 <= len(answer.err.splitlines()) <= 2
    assert all(part in answer.err for part in ("the loss is", "task 1", "epoch 1", "step"))
    result = json.loads((tmp_path / "runs" / "x" / "result.json").read_text(encoding="utf-8"))
    assert result["status"] == "failed"


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback_wherever_it_stands(place: str, bnn: Bnn) -> None:
    words = ["run", "--rule", "dff"]
    answer = bnn("--debug", *words) if place == "before" else bnn(*words, "--debug")
    assert answer.code == 2
    assert answer.out == ""
    assert "Traceback (most recent call last)" in answer.err
    assert answer.err.rstrip().splitlines()[-1].startswith("error: unknown rule 'dff'")


def test_debug_shows_the_traceback_of_wrong_flags_and_failed_runs(bnn: Bnn) -> None:
    assert "Traceback" in bnn("run", "--sed", "1", "--debug").err
    assert "Traceback" in bnn(*DIVERGING, "--quiet", "--debug").err


def test_a_fault_of_a_plugin_is_not_taken_for_the_users(
    bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnlab.cli.running.find_recipes", lambda _: 1 // 0)
    answer = bnn("list-recipes")
    assert answer.code == 1
    assert answer.out == ""
    assert "ZeroDivisionError" in answer.err
    assert "please report" in answer.err


def test_a_disabled_plugin_is_listed_and_its_components_refused(
    bnn: Bnn, document: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNNLAB_DISABLE", "dfa")
    plugins = {plugin["name"]: plugin for plugin in document("list-plugins")["plugins"]}
    assert plugins["dfa"]["status"] == "disabled"
    assert_refused(bnn("run", "--rule", "dfa"), "rule 'dfa'", "bnnlab-dfa", "disabled")
    assert bnn("run", "--rule", "bp", *TINY, "--quiet").code == 0


def test_info_says_what_is_wrong_with_its_options(bnn: Bnn) -> None:
    assert_refused(bnn("info", "model", "mlp", "--input", "28x28"), "--input '28x28'", "1,28,28")
    assert_refused(
        bnn("info", "rule", "dfa", "--set", "model.bias=true"), "model", "options of the rule only"
    )
    assert_refused(bnn("info", "rule", "dfa", "--input", "1,28,28"), "not for a rule")
    assert_refused(bnn("info", "rule", "dfa", "--classes", "3"), "not for a rule")
    assert_refused(bnn("info", "model", "mlp", "--input", ""), "--input ''", "1,28,28")


def test_a_model_that_cannot_be_built_is_refused(bnn: Bnn) -> None:
    answer = bnn("info", "model", "torchvision:resnet181")
    assert_refused(answer, "the model for --input 3,32,32", "'resnet181'", "'resnet18'")


def test_an_argument_and_its_option_must_agree(bnn: Bnn) -> None:
    words = ["info", "model", "torchvision:resnet18", "--set", "model.architecture=vgg11"]
    assert_refused(bnn(*words), "model.architecture is set twice", "'resnet18'", "'vgg11'")
