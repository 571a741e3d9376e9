"""The command line: what it prints where, and what it says to what is wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from inspect import cleandoc
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
import tomli
import tomli_w
import typer
from rich.text import Text

import bnnlab
from bnnlab.cli import app, choosing

ROOT = Path(__file__).parents[1]
TINY = ["--stream", "digits", "--set", "model.hidden=[8]", "--epochs", "1"]
COMMANDS = ["run", "list-recipes", "schema", "list-plugins", "info", "check", "matrix", "doctor"]
COMMANDS += ["install", "uninstall", "plot"]  # the last is of a plugin
Bnn = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("own_folder")


# ------------------------------------------------------------------ help and listings


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, bnn: Bnn) -> None:
    answer = bnn(command, "--help")
    assert answer.code == 0
    assert f" {command} [OPTIONS]" in answer.out
    assert "Example" in answer.out
    assert f"bnn {command}" in answer.out
    assert answer.err == ""


def test_help_breaks_no_line_of_80_columns() -> None:
    """typer keeps the line breaks of a docstring, but of its first paragraph."""
    for command in typer.main.get_group(app).commands.values():
        lines = cleandoc(command.help or "").partition("\n\n")[2].splitlines()
        assert all(Text.from_markup(line).cell_len <= 78 for line in lines), command.name


def test_help_shows_brackets_as_they_are_typed(bnn: Bnn) -> None:
    assert "'model.hidden=[256]'" in bnn("run", "--help").out


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_command_alone_lists_its_commands(words: tuple[str, ...], bnn: Bnn) -> None:
    answer = bnn(*words)
    assert all(command in answer.out + answer.err for command in COMMANDS)
    assert "Traceback" not in answer.err


def test_the_version_is_shown_and_nothing_else(bnn: Bnn) -> None:
    assert bnn("--version") == (0, f"bnnlab {bnnlab.__version__}\n", "")


def test_plugins_are_listed_with_what_they_offer(bnn: Bnn, document: Callable[..., Any]) -> None:
    plugins = {plugin["distribution"]: plugin for plugin in document("list-plugins")["plugins"]}
    dfa = plugins["bnnlab-dfa"]
    assert (dfa["name"], dfa["status"], dfa["error"]) == ("dfa", "ok", None)
    assert [(c["kind"], c["name"]) for c in dfa["components"]] == [
        ("rule", "dfa"),
        ("rule", "drtp"),
    ]
    assert dfa["unmet"] == []
    assert dfa["commands"] == []
    keys = {"name", "distribution", "version", "status", "error", "unmet", "components", "commands"}
    assert set(dfa) == keys
    assert set(dfa["components"][0]) == {"kind", "name", "summary"}
    plain = bnn("list-plugins")
    assert plain.code == 0
    assert "bnnlab-metaplasticity" in plain.out
    assert "permuted-mnist" in plain.out


def test_a_component_is_explained(bnn: Bnn, document: Callable[..., Any]) -> None:
    info = document("info", "optimizer", "meta")
    assert (info["kind"], info["name"]) == ("optimizer", "meta")
    assert "Laborieux" in info["source"]
    assert info["requires"] == ["gradients"]
    options = {option["name"]: option for option in info["options"]}
    assert options["lr"]["default"] == 0.005
    assert options["m"]["type"] == "float or list of float or 'auto'"
    assert all(option["help"] for option in info["options"])
    assert options["lr"]["search"] == [0.0001, 0.1]
    plain = bnn("info", "optimizer", "meta").out
    said = "lr = 0.005 float, above 0; tuned: 0.0001 to 0.1 Learning rate."
    assert said in " ".join(plain.split())
    assert "Laborieux" in plain
    assert all(name in plain for name in options)
    assert "Example: bnn run --optimizer meta --set 'optimizer.lr=0.005'" in plain
    assert "none: the same as lr." in plain


def test_what_every_component_takes_is_readable_at_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnnlab.cli.describing import option_rows, print_options
    from bnnlab.registry.components import noun
    from bnnlab.registry.host import PluginHost

    monkeypatch.setenv("COLUMNS", "80")
    components = {repr([*c.options]): c for _, c in PluginHost().components()}
    assert len(components) > 30
    for component in components.values():
        print_options(component.options, noun(component.kind))
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 80, component
        words = " ".join(shown.split())
        rows = option_rows(component.options)
        for row in rows:
            entry = f"{row.name} = {row.default} {row.takes} {row.meaning}"
            assert " ".join(entry.split()) in words, (component, row.name)
        texts = [row.takes for row in rows] + [row.meaning for row in rows]
        least = sum(-(-len(text) // 70) for text in texts)
        assert len(shown.splitlines()) <= least + len(rows) + 4, component


def test_own_options_come_before_shared_ones(bnn: Bnn, document: Callable[..., Any]) -> None:
    from bnnlab.registry.host import PluginHost

    own, shared = bnn("info", "optimizer", "meta").out.split(
        "Options shared with other optimizers:"
    )
    assert all(f"  {name} = " in own for name in ("lr", "m", "weights"))
    assert all(f"  {name} = " in shared for name in ("real_lr", "latent_init", "gradient_clip"))
    options = document("info", "optimizer", "meta")["options"]
    assert [o["name"] for o in options if o["shared"]] == [
        "real_lr",
        "latent_init",
        "gradient_clip",
    ]
    mlp, convnet = (
        [each.name for each in PluginHost().resolve("model", name)[1].options if each.shared]
        for name in ("mlp", "convnet")
    )
    assert [name for name in mlp if name != "norm"] == convnet


@pytest.mark.parametrize(
    ("kind", "path", "words"),
    [
        (int | None, False, "int or none"),
        (bool, False, "true or false"),
        (str, True, "path"),
        (str, False, "text"),
        (float | list[float] | Literal["auto"], False, "float, auto or list of float"),
        (
            Literal["max", "none"] | list[Literal["max", "none"]],
            False,
            "max or none, or a list of these",
        ),
    ],
)
def test_what_an_option_takes_is_said_as_it_is_typed(kind: Any, path: bool, words: str) -> None:
    from bnnlab.cli.describing import option_rows

    (row,) = option_rows([bnnlab.Option("x", kind, None, "An x.", path=path)])
    assert row.takes == words


def test_help_of_a_run_is_short(bnn: Bnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = bnn("run", "--help").out
    assert len(shown.splitlines()) <= 140
    assert max(map(len, shown.splitlines())) <= 80
    assert "<" not in shown
    for option in choosing.RUN_OPTIONS:
        assert f"--{option.name.replace('_', '-')} " in shown


def test_what_can_be_explained_is_listed(bnn: Bnn, document: Callable[..., Any]) -> None:
    every, rules = bnn("info").out, bnn("info", "rule").out
    assert "adam, bayesbinn" in every
    assert "bnn info KIND NAME" in every
    assert "Direct feedback alignment" in rules
    assert "permuted-mnist" not in rules
    found = document("info")["components"]
    assert {"track", *(each["kind"] for each in found)} == {*bnnlab.Kind}  # trackers need much
    assert document("info", "rule")["components"] == [c for c in found if c["kind"] == "rule"]


def test_a_models_segments_are_shown(bnn: Bnn, document: Callable[..., Any]) -> None:
    words = ["info", "model", "mlp", "--input", "1,28,28", "--set", "model.hidden=[32]"]
    first, second = document(*words)["segments"]
    assert (first["output"], second["output"]) == ([32], [10])
    assert first["binary"] == first["other_macs"] == 28 * 28 * 32  # the image is not binary
    assert (second["binary"], second["binary_macs"], second["other_macs"]) == (320, 320, 0)
    plain = bnn(*words).out
    assert "100.0 % of the parameters are binary: 3.18 kB packed, 102 kB at float32" in plain
    assert "1  Flatten, BinaryLinear, LayerNorm, Sign  32" in plain


def test_info_says_what_a_conversion_left_real(bnn: Bnn, document: Any) -> None:
    words = ["info", "model", "torchvision:squeezenet1_0", "--input", "3,64,64"]
    shown = bnn(*words).out
    assert "Converted from a real network:\n" in shown
    assert "in features.0 (Conv2d), classifier.1 (Conv2d): the policy leaves it real" in shown
    found = document(*words)["conversion"]
    assert [part["name"] for part in found["real"]] == ["features.0", "classifier.1"]
    assert document("info", "model", "mlp", "--input", "1,8,8")["conversion"] is None


@pytest.mark.parametrize(
    "kind",
    ["rule", *(pytest.param(k, marks=pytest.mark.slow) for k in ("optimizer", "model", "stream"))],
)
def test_the_example_of_every_component_can_be_typed(
    bnn: Bnn, no_network: None, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    from bnnlab import Kind
    from bnnlab.registry.host import PluginHost

    host = PluginHost()
    for command in ("fit", "info"):
        monkeypatch.setattr(f"bnnlab.cli.{command}.PluginHost", lambda: host)  # one for all
    for _, component in host.components(Kind(kind)):
        plain = bnn("info", component.kind, component.name).out
        example = plain[plain.index("Example: bnn run") :].splitlines()[0]
        words = shlex.split(example.removeprefix("Example: bnn run"))
        answer = bnn("check", *words)
        assert answer.code in (0, 1), (example, answer.err)  # understood, whether or not it fits


def test_what_fits_is_said(bnn: Bnn, document: Callable[..., Any]) -> None:
    verdict = document("check", "--rule", "bp", "--optimizer", "sgd")
    assert verdict["compatible"] is True
    assert (verdict["rule"], verdict["optimizer"]) == ("bp", "sgd")
    assert bnn("check").out.startswith("compatible: ")


def test_what_does_not_fit_is_said_with_why_and_what_would(
    bnn: Bnn, document: Callable[..., Any]
) -> None:
    words = ["check", "--optimizer", "meta", "--set", "model.weights=real"]
    verdict = document(*words, code=1)
    assert verdict["compatible"] is False
    assert verdict["reasons"] == [
        "optimizer:meta requires 'binary-weights' (because of optimizer.weights=binary), "
        "which model.weights=real does not provide"
    ]
    assert "--set model.weights=binary" in verdict["alternatives"]
    plain = bnn(*words)
    assert plain.code == 1
    assert "not compatible" in plain.out
    assert "would fit: --set model.weights=binary" in plain.out
    assert plain.out.count("--") == 5 + 1  # the nearest, and --json
    left = len(verdict["alternatives"]) - 5
    assert f"({left} more: `bnn check --json` with these settings)" in plain.out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"rule": "eqprop", "loss": "bce"}, "'any-loss' nor 'class-losses', as loss = bce needs"),
        ({"rule": "hsic", "accumulate": 2}, "'whole-batch', which accumulate = 2 refuses"),
        ({"schedule": "one-cycle", "warmup": 1}, "and schedule is one-cycle"),
        ({"schedule_gamma": 0.5}, "schedule_gamma is for schedule = step or multistep or"),
        ({"loss": "bce", "label_smoothing": 0.1}, "is for loss = cross-entropy, and loss is bce"),
        ({"epochs": [1, 2], "steps": 3}, "epochs and steps are both given"),
    ],
)
def test_settings_of_a_run_file_are_checked_as_a_run_checks_them(
    setting: dict[str, Any], said: str, bnn: Bnn, tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(tomli_w.dumps(setting))
    checked, refused = (bnn(word, "--config", str(file)) for word in ("check", "run"))
    assert (checked.code, refused.code) == (1, 2)
    assert said in " ".join(checked.out.split())
    assert said in " ".join(refused.err.split())


def test_what_only_a_run_can_check_is_said(
    bnn: Bnn, document: Callable[..., Any], tmp_path: Path
) -> None:
    words = ["check", "--set", "keep=best", "--set", "epochs=[1, 2, 3]"]
    held = ["epochs: a number for each task", "keep: a validation part of each task"]
    assert document(*words)["later"] == held
    assert f"checked when a run begins: {'; '.join(held)}" in " ".join(bnn(*words).out.split())
    assert "checked when" not in bnn("check").out


def test_a_run_file_and_a_recipe_are_checked_as_a_run_reads_them(
    bnn: Bnn, document: Callable[..., Any], tmp_path: Path
) -> None:
    recipe = ["--recipe", "metaplasticity/permuted-mnist"]
    assert document("check", *recipe)["stream"] == "permuted-mnist"
    file = tmp_path / "own.toml"
    file.write_text("[model]\nname = 'mlp'\nweights = 'real'\n")
    words = [*recipe, "--config", str(file)]
    verdict = document("check", *words, code=1)
    assert verdict["stream"] == "permuted-mnist"
    refused = bnn("run", *words, "--out", "none")
    assert refused.code == 2
    assert all(reason in refused.err for reason in verdict["reasons"])
    assert "--short is the short form of a recipe" in bnn("check", "--short").err


def test_the_matrix_shows_every_pair(
    bnn: Bnn, document: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = document("matrix")["pairs"]
    named = {(pair["rule"], pair["optimizer"]): pair["compatible"] for pair in pairs}
    assert named["dfa", "meta"]
    assert named["bp", "adam"]
    monkeypatch.setenv("COLUMNS", "160")
    rows = {
        cells[0]: cells[1:] for line in bnn("matrix").out.splitlines() if (cells := line.split())
    }
    rules = rows["optimizer"]
    assert rows["bgd"] == ["no"] * len(rules)
    monkeypatch.setenv("COLUMNS", "40")
    narrow = bnn("matrix").out
    assert max(map(len, narrow.splitlines())) <= 40
    assert [*re.split(r",\s+", re.search(r"^all: ([^:]+?)\nno:", narrow, re.M)[1])] == rules
    assert re.search(r"^bgd +- +all +$", narrow, re.MULTILINE)
    monkeypatch.setenv("COLUMNS", "160")
    plain = bnn("matrix", "--set", "model.weights=real").out
    assert "no: optimizer:meta requires 'binary-weights'" in plain


def test_an_optimizer_says_how_much_it_keeps(bnn: Bnn, document: Callable[..., Any]) -> None:
    """The numbers themselves are measured by each optimizer's contract."""
    assert document("info", "optimizer", "bimu")["state_bytes"] == 4
    assert document("info", "rule", "bp")["state_bytes"] is None
    plain = bnn("info", "optimizer", "adam").out
    assert "optimizer state: 12 bytes per weight (float32, default options); the weight: 4" in plain


def test_a_probe_says_what_its_measures_are(bnn: Bnn, document: Callable[..., Any]) -> None:
    measures = document("info", "probe", "confusion")["measures"]
    assert {*measures} == {"confusion", "class_accuracy", "class_names"}
    assert measures["class_accuracy"]["unit"] == "0 to 1"
    assert document("info", "probe", "fresh")["measures"].keys() == {"fresh_accuracy", "plasticity"}
    plain = bnn("info", "probe", "confusion").out
    said = f"class_accuracy 0 to 1 {measures['class_accuracy']['meaning']}"
    assert said in " ".join(plain.split())


def test_the_matrix_names_what_would_fit(bnn: Bnn, document: Callable[..., Any]) -> None:
    pairs = {(p["rule"], p["optimizer"]): p for p in document("matrix")["pairs"]}
    assert not pairs["bp", "mesu"]["compatible"]
    assert pairs["bp", "mesu"]["alternatives"] == ["--set model.weights=real"]
    line = "no: optimizer:mesu requires 'real-weights'; yes with --set model.weights=real"
    assert line in bnn("matrix").out


def test_every_recipe_is_listed_and_resolves(bnn: Bnn, document: Callable[..., Any]) -> None:
    from bnnlab.registry.host import PluginHost
    from bnnlab.settings.fit import check
    from bnnlab.settings.layers import resolve

    recipes = document("list-recipes")["recipes"]
    assert "metaplasticity/permuted-mnist" in [recipe["name"] for recipe in recipes]
    plain, host = bnn("list-recipes").out, PluginHost()
    for recipe in recipes:
        assert recipe["name"] in plain
        assert f"\n    {recipe['title'][:40]}" in plain
        assert recipe["reproduces"]
        assert check(host, resolve(host, [recipe["settings"]])).compatible


def test_the_schema_of_run_files_is_printed(bnn: Bnn) -> None:
    assert json.loads(bnn("schema").out)["properties"]["batch_size"]["type"] == "integer"


def test_the_doctor_reports_this_installation(bnn: Bnn, document: Callable[..., Any]) -> None:
    import torch

    report = document("doctor")
    assert torch.__version__.startswith(report["torch"])
    assert report["threads"] == torch.get_num_threads()
    assert report["data folder"] == os.environ["BNNLAB_DATA"]
    assert {plugin["distribution"] for plugin in report["plugins"]} >= {"bnnlab-dfa"}
    plain = bnn("doctor")
    assert plain.code == 0
    assert "No problem found." in plain.out
    assert "   command plot" in plain.out


# ------------------------------------------------------------------ run


def test_a_run_prints_the_matrix_on_standard_output_and_progress_own_folder(
    bnn: Bnn, tmp_path: Path
) -> None:
    words = ["--set", "stream.tasks=2", "--set", "model.hidden=[8]", "--epochs", "1"]
    answer = bnn("run", *words, "--out", "made", "--name", "first")
    assert answer.code == 0
    for part in ("test accuracy in %", "task 2", "average accuracy", "forgetting", "protocol"):
        assert part in answer.out
    assert "made/first" in answer.out
    assert "task 2/2 learned" in answer.err
    assert (tmp_path / "made" / "first" / "result.json").is_file()


def test_a_quiet_run_is_silent_on_standard_error(bnn: Bnn) -> None:
    answer = bnn("run", *TINY, "--quiet")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("accuracy ")


def test_a_run_prints_its_result_as_json(document: Callable[..., Any], tmp_path: Path) -> None:
    result = document("run", *TINY, "--seed", "7", "--name", "x")
    assert result["status"] == "complete"
    assert result["seed"] == 7
    written = json.loads((tmp_path / "runs" / "x" / "result.json").read_text(encoding="utf-8"))
    assert result == written


def test_a_quiet_json_run_prints_nothing_else(bnn: Bnn) -> None:
    answer = bnn("run", *TINY, "--quiet", "--json")
    assert answer.err == ""
    assert json.loads(answer.out)["status"] == "complete"


def test_flags_come_before_the_run_file_and_set_before_flags(bnn: Bnn, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        'stream = "digits"\nepochs = 3\nseed = 5\nbatch_size = 300\n'
        '[optimizer]\nname = "adam"\nlr = 0.5\nbeta1 = 0.5\n[model]\nhidden = [4]\n',
        encoding="utf-8",
    )
    answer = bnn("run", "--config", "my.toml", "--epochs", "1", "--optimizer", "adam",
                 "--set", "optimizer.lr=0.25", "--set", "model.bias=true",
                 "--name", "x", "-q")  # fmt: skip
    assert answer.code == 0, answer.err
    config = tomli.loads((tmp_path / "runs" / "x" / "run.toml").read_text(encoding="utf-8"))
    assert (config["epochs"], config["seed"], config["batch_size"]) == (1, 5, 300)
    assert config["optimizer"]["lr"] == 0.25
    assert config["optimizer"]["beta1"] == 0.5
    assert config["model"]["hidden"] == [4]
    assert config["model"]["bias"] is True


def test_every_setting_has_a_flag(bnn: Bnn, monkeypatch: pytest.MonkeyPatch) -> None:
    from bnnlab.settings.run import RUN_OPTIONS

    given: list[Any] = []
    monkeypatch.setattr("bnnlab.cli.running._execute", lambda places, *_: given.extend(places))
    words: list[str] = []
    for option in RUN_OPTIONS:
        flag = option.name.replace("_", "-")
        words += [f"--no-{flag}"] if option.type is bool else [f"--{flag}", "7"]
    assert bnn("run", *words).code == 0
    (flags,) = given
    texts = {option.name: "7" for option in RUN_OPTIONS}
    typed = {
        option.name: option.type(0 if option.type is bool else 7)
        for option in RUN_OPTIONS
        if option.type in (bool, int, float)
    }
    # Also none, and numbers or lists of them: read as in a file.
    read = dict.fromkeys(("epochs", "steps", "clip_value", "patience", "threads"), 7)
    assert flags == {**texts, **typed, **read, "schedule_at": [7]}
    assert bnn("run", "--diagnose").code == 0
    assert given[1] == {"diagnose": True}


def test_the_flag_of_a_list_may_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(choosing._OPTIONS, "names", bnnlab.Option("names", list[str], [], "Names."))
    small, given = typer.Typer(), []

    @small.command()
    @choosing.with_flags("names")
    def command(**said: Any) -> None:
        given.append(choosing.layer(said))

    small(["--names", "a", "--names", "b"], standalone_mode=False)
    small([], standalone_mode=False)
    assert given == [{"names": ["a", "b"]}, {}]


@pytest.mark.parametrize("words", [["[3, 7]"], ["3", "--schedule-at", "7"]])
def test_the_flag_of_a_list_takes_a_list_of_toml(
    words: list[str], bnn: Bnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, given = typer.Typer(), []

    @small.command()
    @choosing.with_flags("schedule_at")
    def command(**said: Any) -> None:
        given.append(choosing.layer(said))

    small(["--schedule-at", *words], standalone_mode=False)
    assert given == [{"schedule_at": [3, 7]}]


def test_a_run_is_repeated_from_its_own_run_file(bnn: Bnn, tmp_path: Path) -> None:
    assert bnn("run", *TINY, "--seed", "3", "--name", "one", "-q").code == 0
    again = bnn("run", "--config", "runs/one/run.toml", "--name", "two", "-q")
    assert again.code == 0, again.err
    one, two = (
        json.loads((tmp_path / "runs" / name / "result.json").read_text(encoding="utf-8"))
        for name in ("one", "two")
    )
    assert {**one, "seconds": 0, "run_id": ""} == {**two, "seconds": 0, "run_id": ""}


def test_a_run_without_a_name_gets_one_that_says_what_it_was(bnn: Bnn, tmp_path: Path) -> None:
    assert bnn("run", *TINY, "-q").code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("dfa-meta-digits-")
    config = tomli.loads((folder / "run.toml").read_text(encoding="utf-8"))
    assert "name" not in config  # or the run could not be repeated beside itself
    assert (config["device"], Path(config["data"]).is_absolute()) == ("cpu", True)


def test_an_interrupted_run_is_resumed(
    bnn: Bnn, document: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnnlab.engine.training import Trainer

    plain = Trainer._epoch

    def interrupted(self: Trainer, task: Any) -> Any:
        if self.progress.epoch == 1:
            raise KeyboardInterrupt
        return plain(self, task)

    words = ["run", "--stream", "digits", "--set", "model.hidden=[8]", "--epochs", "3"]
    whole = document(*words, "--name", "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", interrupted)
        answer = bnn(*words, "--name", "torn")
    assert answer.code == 130
    lines = ["to continue: bnn run --resume runs/torn", "error: stopped by SIGINT"]
    assert answer.err.splitlines()[-2:] == lines
    resumed = document("run", "--resume", "runs/torn", "--quiet")
    assert {**resumed, "seconds": 0, "run_id": ""} == {**whole, "seconds": 0, "run_id": ""}
    again = bnn("run", "--resume", "runs/torn", "--quiet", "--json")
    assert (again.code, json.loads(again.out)) == (0, resumed)
    assert "runs/torn is complete" in again.err


def test_a_run_that_is_told_to_stop_says_how_to_go_on(
    bnn: Bnn, document: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnnlab import LearningRule

    closure, steps = LearningRule.closure, count(1)

    def told(*given: Any) -> Any:
        if next(steps) == 5:
            signal.raise_signal(signal.SIGTERM)
        return closure(*given)

    whole = document("run", *TINY, "--name", "whole", "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(LearningRule, "closure", told)
        answer = bnn("run", *TINY, "--name", "torn", "--quiet")
    assert (answer.code, answer.out) == (143, "")
    lines = ["to continue: bnn run --resume runs/torn", "error: stopped by SIGTERM"]
    assert answer.err.splitlines() == lines
    resumed = document("run", "--resume", "runs/torn", "--quiet")
    assert {**resumed, "seconds": 0, "run_id": ""} == {**whole, "seconds": 0, "run_id": ""}


def test_out_none_writes_nothing(bnn: Bnn, tmp_path: Path) -> None:
    assert bnn("run", *TINY, "--set", "out=none", "-q").code == 0
    assert not list(tmp_path.iterdir())


def test_a_recipe_runs_and_set_still_applies(bnn: Bnn, tmp_path: Path) -> None:
    answer = bnn("run", "--recipe", "metaplasticity/permuted-digits", "--epochs", "1", "-q",
                 "--set", "stream.tasks=2", "--set", "model.hidden=[8]", "--name", "x")  # fmt: skip
    assert answer.code == 0, answer.err
    config = tomli.loads((tmp_path / "runs" / "x" / "run.toml").read_text(encoding="utf-8"))
    assert (config["epochs"], config["stream"]["tasks"]) == (1, 2)


# ------------------------------------------------------------------ as a process


def test_the_launcher_of_a_checkout_is_the_command() -> None:
    launched = subprocess.run(
        [sys.executable, "cli.py", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert launched.stdout == f"bnnlab {bnnlab.__version__}\n"


def test_what_lists_checks_or_explains_imports_no_torch() -> None:
    script = (
        "import sys; from bnnlab.cli import main\n"
        "for words in ('--help', 'list-plugins', 'check', 'matrix', 'plot --help', 'info rule dfa',"
        "'info optimizer adam', 'info stream digits'):"
        " assert main(words.split()) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & {*sys.modules}"
    )
    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "bnnlab-dfa" in listed.stdout
    assert "Example: bnn run --stream digits" in listed.stdout


def test_the_installed_command_exits_with_its_code() -> None:
    command = shutil.which("bnn", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("bnn is not installed beside this Python")
    wrong = subprocess.run([command, "check", "--rule", "dff"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: unknown rule 'dff'")
