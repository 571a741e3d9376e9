"""Whatever is typed, stored or piped away, what is said is readable, bounded and no traceback."""

import io
import logging
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bnnlab
from bnnlab.cli import main
from bnnlab.errors import RunError, UsageError
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.options import check_value, check_values
from bnnlab.settings.layers import resolve
from bnnlab.settings.run import RUN_OPTIONS
from bnnlab.settings.text import parse_assignment

HUGE = 10**6000
TINY = ["run", "--stream", "digits", "--set", "model.hidden=[8]", "--epochs", "1", "-q"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


# -------------------------------------------------------------------- where output goes


def test_a_name_that_the_terminal_cannot_print_is_written_as_escapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert main([*TINY, "--name", "naïve"]) == 0
    assert rb"runs/na\xefve" in printed.getvalue()


def test_a_closed_standard_output_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["list-plugins", "--json"]) == 0
    assert main(["list-plugins"]) == 0
    sys.stdout.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["check", "--json"], ["check"]])
def test_an_answer_that_cannot_be_written_is_missed(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(words) == 1
    assert capsys.readouterr().err.startswith("error: cannot write to standard output: No space")


def test_a_long_answer_is_whole_where_python_does_not_buffer() -> None:
    """A pipe that does not wait takes what fits, as a disk that is nearly full does."""
    ask = [sys.executable, "-u", "-m", "bnnlab.cli", "schema"]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb") as answer, os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(ask, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
        pipe.close()
        assert len(answer.read()) < 100_000
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write to standard output: ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_run_does_not_fail_because_its_progress_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        writer = io.TextIOWrapper(full, write_through=True)
        monkeypatch.setattr(sys, "stderr", writer)
        assert main([*TINY[:-1], "--name", "x"]) == 0
        writer.detach()
    assert '"status": "complete"' in (tmp_path / "runs/x/result.json").read_text()


@pytest.mark.parametrize("columns", ["0", "1", "-5", "abc", "²", "9" * 6000])
def test_a_width_that_is_none_leaves_the_output_readable(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["list-plugins"]) == 0
    assert "bnnlab-dfa  " in capsys.readouterr().out


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_is_shown_every_word(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["info", "optimizer", "meta"]) == 0
    shown = capsys.readouterr().out.partition("Example")[0]
    assert max(map(len, shown.splitlines())) <= columns
    assert "weight_decay" in shown
    assert "…" not in shown


def test_the_matrix_names_any_number_of_components(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{'long-' * (i % 5)}name-{i}" for i in range(59)] + ["x" * 120]
    components = PluginHost.components

    def many(self: PluginHost, kind: Kind | None = None) -> Any:
        if kind not in (Kind.RULE, Kind.OPTIMIZER):
            return components(self, kind)
        plugin, component = components(self, kind)[0]
        return [(plugin, replace(component, name=name)) for name in names]

    monkeypatch.setattr(PluginHost, "components", many)
    assert main(["matrix", "--model", "mlp", "--stream", "digits"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    words = shown.replace(",", "").split()
    assert set(names) - {*words} <= {names[-1]}  # that one is in pieces
    assert shown.count("x") >= 2 * 120
    assert all(words.count(name) >= 2 for name in names[:-1]), "as a rule and as an optimizer"


# -------------------------------------------------------------------- text that is no words


def test_control_characters_of_users_and_plugins_are_written_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: Any
) -> None:
    evil, shown = "a\n\x1b[31mb\u202e", r"a\n\x1b[31mb\u202e"
    assert main([*TINY, "--name", evil]) == 0
    assert f"runs/{shown}\n" in capsys.readouterr().out
    (tmp_path / "run.toml").write_text('"x\\n\\u001b[31m" = 3')
    for words in (
        ["run", "--name", evil],
        ["run", "--config", f"{evil}.toml"],
        ["run", "--config", "run.toml"],
        ["run", f"--{evil}"],
        [evil],
        ["plot", "accuracy", evil],
    ):
        assert main(words) == 2
        answer = capsys.readouterr().err
        assert len(answer.splitlines()) == 1
        assert "\\x1b[31m" in answer
        assert "\x1b" not in answer
    broken = replace(host.plugins[0], status="broken", error=evil)
    monkeypatch.setattr(PluginHost, "_load", lambda *_: broken)
    assert main(["list-plugins"]) == 0
    assert shown in capsys.readouterr().out


def test_control_characters_are_written_out_in_the_log() -> None:
    from bnnlab.errors import LogFormatter

    text = "a\n\x1b[0m\udcffb"  # the last but one is how Python reads a byte
    record = logging.LogRecord("bnnlab", logging.WARNING, "", 0, "%s", (text,), None)
    assert LogFormatter("%(message)s").format(record) == r"a\n\x1b[0m\xffb"
    try:
        raise ValueError("a\n\x1b[0mb")
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = LogFormatter("%(message)s").format(record).splitlines()
    assert lines[1].startswith("Traceback")
    assert lines[-1] == r"\x1b[0mb"


@pytest.mark.parametrize("text", ["\udcff", "a\0b"])
def test_text_that_a_run_file_cannot_hold_is_refused(text: str, host: PluginHost) -> None:
    with pytest.raises(UsageError, match=r"name: .* has characters that a run file cannot hold"):
        resolve(host, [{"name": text}])
    with pytest.raises(ValueError, match=r"x: .* has characters that a run file cannot hold"):
        check_value(bnnlab.Option("x", list[str], [], ""), ["a", text])


def test_a_path_that_a_run_file_cannot_hold_is_refused_before_there_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "\udcff"
    monkeypatch.setenv("BNNLAB_DATA", str(odd))
    assert main([*TINY, "--name", "x"]) == 2
    assert "/\\udcff' has characters that a run file cannot hold" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ValueError, match="has characters that a run file cannot hold"):
        check_value(bnnlab.Option("teacher", str, "", "", path=True), str(odd / "x"))


# -------------------------------------------------------------------- values beyond reason


@pytest.mark.parametrize(
    "layer",
    [
        {"epochs": HUGE},
        {"rule": HUGE},
        {HUGE: 1},
        {"optimizer": {"lr": HUGE}},
        {"optimizer": {"lr": -HUGE}},
        {"model": {"hidden": [HUGE]}},
        {"model": {"hidden": {"x": [HUGE]}}},
    ],
)
def test_an_integer_of_6000_digits_is_refused_in_few_words(
    layer: dict[Any, Any], host: PluginHost
) -> None:
    with pytest.raises(UsageError, match="an integer of about 6000 digits") as caught:
        resolve(host, [layer])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", ["9" * 6000, "0x" + "f" * 6000])
def test_a_run_file_with_an_integer_of_6000_digits_is_refused(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(f"[model]\nhidden = [{value}]")
    assert main(["run", "--config", "run.toml"]) == 2
    answer = capsys.readouterr().err
    assert len(answer.splitlines()) == 1
    assert "digits" in answer
    assert "sys." not in answer


def _floats(host: PluginHost) -> list[Any]:
    return [
        pytest.param(option, id=f"{component}.{option.name}")
        for _, component in host.components()
        for option in component.options
        if "float" in str(option.type)
    ]


@pytest.mark.parametrize("option", _floats(PluginHost()))
def test_a_number_that_float32_cannot_hold_is_refused_with_the_reason(option: Any) -> None:
    usual = replace(option, maximum=None, below=None)
    for value in (1e39, -1e39, [1.0, 1e39]):
        with pytest.raises(ValueError, match=r"float32|must be|is not a (list of )?float"):
            check_value(usual, value)
    largest = [1e39] if option.type == list[float] else 1e39
    with pytest.raises(ValueError, match=r"the largest float32 number is 3.4e\+38"):
        check_value(usual, largest)
    if option.above == 0:
        with pytest.raises(ValueError, match="float32 rounds numbers below"):
            check_value(option, [1e-46] if option.type == list[float] else 1e-46)


def test_whole_numbers_have_64_bits() -> None:
    option = bnnlab.Option("steps", int, 1, "")
    assert check_value(option, 2**63 - 1) == 2**63 - 1
    for value in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match=r"steps: .* at most 64 bits"):
            check_value(option, value)


def test_of_thousands_of_unknown_keys_a_few_are_named() -> None:
    _, faults = check_values(RUN_OPTIONS, {f"epoch{i}": 1 for i in range(200_000)})
    assert len(faults) == 11
    assert faults[-1] == "And 199,990 more such names."


def test_a_name_of_a_million_letters_is_shown_in_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--rule", "x" * 1_000_000]) == 2
    answer = capsys.readouterr().err
    assert len(answer) < 2200
    assert answer.startswith("error: unknown rule 'xxx")
    assert "Known: " in answer


def test_a_line_break_does_not_hide_a_second_setting() -> None:
    assert parse_assignment("epochs=1\nseed=3") == {"epochs": "1\nseed=3"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rule = 5", "rule: 5 is neither a name nor a table with one. It is set in "),
        (
            "rule = {name = 5}",
            "rule: {'name': 5} is neither a name nor a table with one. It is set in ",
        ),
        ("stream = [1]", "stream: [1] is neither a name nor a table with one. It is set in "),
        ("epochs = 'x'", "epochs: 'x' is not an int or a list of int. It is set in "),
        ("epochs = {x = 1}", "epochs: {'x': 1} is not an int or a list of int. It is set in "),
        ("optimizer = {lr = 'x'}", "optimizer.lr: 'x' is not a float. It is set in "),
        ("rule = 'dff'", "unknown rule 'dff'. Did you mean 'dfa'? It is set in "),
        ("epoch = 3", "epoch: no such setting. Did you mean 'epochs'? It is set in "),
    ],
)
def test_a_fault_in_the_users_registry_is_told_with_the_file(
    text: str, words: str, user_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (user_config / "registry.toml").write_text(f"[defaults]\n{text}\n")
    assert main(["check"]) == 2
    answer = capsys.readouterr().err
    assert words in answer
    assert str(user_config / "registry.toml") in answer
    assert len(answer.splitlines()) == 1


# -------------------------------------------------------------------- a loop of one's own

LABELS = torch.tensor([0, 1, 2])
INPUTS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
BATCHES: dict[str, tuple[Any, str]] = {
    "int32 labels": ((INPUTS, LABELS.int()), "the targets are torch.int32 of shape.*targets.long"),
    "float labels": ((INPUTS, LABELS.float()), "the targets are torch.float32"),
    "uint8 labels": ((INPUTS, LABELS.byte()), "the targets are torch.uint8"),
    "one-hot labels": ((INPUTS, torch.eye(3)), r"targets.argmax\(1\)"),
    "a column of labels": ((INPUTS, LABELS[:, None]), r"shape \(3, 1\).*targets.flatten"),
    "one label": ((INPUTS, LABELS[0]), r"int64 of shape \(\)"),
    "labels in a list": ((INPUTS, [0, 1, 2]), "the targets are a list: give a tensor"),
    "too few labels": ((INPUTS, LABELS[:2]), "give one target for each input"),
    "no example": ((INPUTS[:0], LABELS[:0]), "at least one"),
    "no batch": (INPUTS, r"a batch is \(inputs, targets\), not a Tensor"),
    "labels from 1": ((INPUTS, LABELS + 1), "targets go from 1 to 3, and the classes from 0 to 2"),
    "labels below 0": ((INPUTS, LABELS - 1), "the targets go from -1 to 1"),
    "bytes": ((INPUTS.byte(), LABELS), r"inputs are torch.uint8 .* images.float\(\) / 255"),
    "another shape": ((INPUTS[:, :3], LABELS), r"segment 1 .* cannot take \(B, 3\)"),
}


@pytest.mark.parametrize("rule", ["bp", "dfa", "drtp"])
@pytest.mark.parametrize("what", BATCHES)
def test_a_batch_that_no_step_can_be_made_of_is_refused_with_the_reason(
    what: str, rule: str, host: PluginHost
) -> None:
    batch, message = BATCHES[what]
    model = bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[8], host=host)
    learning = bnnlab.create("rule", rule, model, host=host)
    with pytest.raises((UsageError, RunError), match=message):
        learning.closure(model, batch)()


def test_a_step_under_inference_mode_is_refused_with_the_reason(host: PluginHost) -> None:
    model = bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[8], host=host)
    closure = bnnlab.create("rule", "bp", model, host=host).closure(model, (INPUTS, LABELS))
    with torch.inference_mode(), pytest.raises(RunError, match="inference_mode is on"):
        closure()


def test_a_model_that_is_wrapped_is_asked_for_itself(host: PluginHost) -> None:
    model = bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[8], host=host)
    rule = bnnlab.create("rule", "dfa", model, host=host)
    with pytest.raises(UsageError, match=r"bnnlab.Model, not on a DataParallel: give the model"):
        rule.closure(nn.DataParallel(model), (INPUTS, LABELS))


# -------------------------------------------------------------------- anything at all


def _odd(draw: random.Random, depth: int = 0) -> Any:
    """Return a value that TOML, JSON or Python may put where a setting is expected."""
    plain: list[Any] = [
        None, True, 0, -1, 3, 2**63, HUGE, 0.0, -0.0, 1e-46, 1e39, float("nan"), float("inf"),
        "", " ", "none", "dfa", "\uff44fa", "a\0b", "\udcff", "\x1b[2J", "x" * 5000, "../x",
        "~nobody", "1", "nan", b"dfa", (), object(), Path("x"),
    ]  # fmt: skip
    if depth < 3 and draw.random() < 0.3:
        inner = [_odd(draw, depth + 1) for _ in range(draw.randrange(4))]
        keys = ["name", "lr", "", "a.b", "x:y", "\n", 5, None, "hidden"]
        return inner if draw.random() < 0.5 else {draw.choice(keys): value for value in inner}
    return draw.choice(plain)


def test_any_configuration_is_resolved_or_refused_in_words(host: PluginHost) -> None:
    keys = [*Kind, *(option.name for option in RUN_OPTIONS), "", "Epochs", "\u0435pochs", 5, None]
    for seed in range(400):
        draw = random.Random(seed)
        layer = {draw.choice(keys): _odd(draw) for _ in range(draw.randrange(1, 4))}
        try:
            resolve(host, [layer])
        except UsageError:
            continue  # the only error there may be


def test_anything_that_the_python_api_is_given_is_taken_or_refused_in_words(
    host: PluginHost,
) -> None:
    odd = [HUGE, -1, 1.5, float("nan"), "x", "a\0b", b"x", (), [1], {1: 2}, object(), len]
    said = ["rule", "model", "epochs", "data", "out", "name", "set", "config", "recipe", "host"]
    net = {"input_shape": (4,), "classes": 3, "host": host}
    for value in odd:
        for name in said:
            with pytest.raises(UsageError):
                bnnlab.run(**{"host": host, "stream": "none-such", name: value})
        for name in ("input_shape", "classes", "hidden", "host", "seed"):
            if value not in ((), [1]) or name not in ("input_shape", "hidden"):
                with pytest.raises(UsageError):
                    bnnlab.create("model", "mlp", **{**net, name: value})
        with pytest.raises(UsageError):
            bnnlab.create("stream", value, host=host)
        with pytest.raises(UsageError):
            bnnlab.create(value, "digits", host=host)
        with pytest.raises(UsageError):
            bnnlab.load(value, host=host)
    with pytest.raises(UsageError, match="is no run's folder"):
        bnnlab.load("x" * 5000, host=host)
