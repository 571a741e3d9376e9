"""What a file says is checked before the first trial, in a line each. Nothing is trained."""

from pathlib import Path
from typing import Any, get_args

import pytest
import tomli
from optuna.trial import FixedTrial

from bnnlab.engine.result import MEASURES
from bnnlab.errors import UsageError
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab_optuna.plan import Plan, read_plan
from bnnlab_optuna.space import Range, Space, Values
from bnnlab_optuna.tuning import ONE_NUMBER


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


@pytest.fixture
def plan(host: PluginHost, tmp_path: Path) -> Any:
    """Return what reads a file with this text."""

    def read(text: str, spoken: str = "", trials: int | None = None) -> Plan:
        file = tmp_path / "study.toml"
        file.write_text(text)
        return read_plan(host, file, tomli.loads(spoken), trials)

    return read


def searched(space: Space) -> dict[str, str]:
    return {each.name: str(each.what) for each in space.dimensions}


HEAD = 'rule = "dfa"\noptimizer = "meta"\n[tune]\n'


def test_the_space_is_what_components_declare_and_the_file_does_not_set(plan: Any) -> None:
    read = plan('optimizer = {name = "meta", lr = 0.1}\nrule = "dfa"\n[tune]\n')
    assert searched(read.space) == {
        "rule.scale": "0.1 to 10, log",
        "optimizer.m": "0.5 to 20, log",  # a number, a list or "auto"
        "model.width": "0.8 to 1.4",
    }
    assert read.tuning.seeds == (0,)
    assert read.tuning.direction == "maximize"
    spoken = plan('[tune]\nseeds = 3\nmeasure = "uncertainty.ece"', "model.width = 1.0\nseed = 2")
    assert "model.width" not in searched(spoken.space)
    assert spoken.tuning.seeds == (0, 1, 2)
    assert spoken.tuning.direction == "minimize"


def test_more_than_two_declared_values_are_a_choice(plan: Any) -> None:
    space = searched(plan('optimizer = "bayesbinn"\n[tune]').space)
    assert space["optimizer.train_draws"] == "1, 2, 5"


DECLARING = """
from bnnlab import Component, Kind, Option, hookimpl

@hookimpl
def bnnlab_components():
    options = (
        Option("every", int, 1, "", search=(1, 4)),
        Option("decay", float | None, None, "", search=(None, 0.1)),
        Option("form", str, "sign", "", search=("sign", "tanh")),
        Option("betas", list[float], [0.9], "", search=([0.9], [0.95, 0.98])),
        Option("layers", list[int], [8], "", search=(8, 64)),
    )
    made = Component(Kind.OPTIMIZER, "lion", "acme:L", "", "", options=options, argument="form")
    return [made]
"""


def test_two_declared_numbers_are_a_range_and_all_else_are_values(
    make_plugin: Any, tmp_path: Path
) -> None:
    make_plugin("acme", DECLARING)
    file = tmp_path / "study.toml"
    text = 'rule = "bp"\noptimizer = { name = "lion", layers = [8] }\nmodel.width = 1.0\n[tune]'
    file.write_text(text)
    assert searched(read_plan(PluginHost(), file, {}, None).space) == {
        "optimizer.every": "1 to 4, whole",
        "optimizer.decay": "none, 0.1",
        "optimizer.form": "sign, tanh",
        "optimizer.betas": "[0.9], [0.95, 0.98]",
    }
    file.write_text(text.replace(", layers = [8]", ""))
    with pytest.raises(UsageError, match=r"layers takes no numbers.* Its plugin declares"):
        read_plan(PluginHost(), file, {}, None)
    file.write_text(text.replace('"lion"', '"lion:tanh", every = 2'))
    space = read_plan(PluginHost(), file, {}, None).space
    assert searched(space).keys() == {"optimizer.decay", "optimizer.betas"}


def test_the_table_overrides_and_adds(plan: Any) -> None:
    text = """
    [tune.space]
    epochs = { low = 2, high = 8, step = 2 }
    batch_size = { low = 10, high = 1000 }
    "optimizer.lr" = { low = 1e-3, high = 0.1, log = false }
    optimizer.m = [1.0, "auto", [1.0, 2.0, 3.0]]
    compile = [true, false]
    """
    space = plan(HEAD + text).space
    found = {each.name: each.what for each in space.dimensions}
    assert found["epochs"] == Range(2, 8, log=False, step=2, whole=True)
    assert found["batch_size"] == Range(10, 1000, log=True, step=None, whole=True)
    assert found["optimizer.lr"] == Range(1e-3, 0.1, log=False, step=None, whole=False)
    assert found["optimizer.m"] == Values((1.0, "auto", [1.0, 2.0, 3.0]))
    assert found["optimizer.m"].labels() == {
        1.0: 1.0,
        "auto": "auto",
        "[1.0, 2.0, 3.0]": [1.0, 2.0, 3.0],
    }
    params = {"epochs": 8, "optimizer.lr": 0.01, "optimizer.m": "[1.0, 2.0, 3.0]"}
    others = {"batch_size": 10, "compile": True, "rule.scale": 1.0, "model.width": 1.0}
    drawn = space.settings(FixedTrial({**params, **others}))
    assert drawn["optimizer"] == {"lr": 0.01, "m": [1.0, 2.0, 3.0]}
    assert drawn["epochs"] == 8


SETTINGS = """
[tune.space]
loss = ["cross-entropy", "bce"]
label_smoothing = { low = 0.05, high = 0.2 }
schedule = ["constant", "step", "exponential", "one-cycle"]
schedule_gamma = { low = 0.1, high = 0.9 }
schedule_every = [1, 2]
warmup = [0, 1]
"""
OTHERS = {"rule.scale": 1.0, "optimizer.lr": 0.1, "optimizer.m": 1.0, "model.width": 1.0}


@pytest.mark.parametrize(
    ("params", "left_out"),
    [
        ({"loss": "bce", "schedule": "step"}, {"label_smoothing"}),
        (
            {"loss": "cross-entropy", "schedule": "one-cycle"},
            {"schedule_gamma", "schedule_every", "warmup"},
        ),
        (
            {"loss": "bce", "schedule": "exponential"},
            {"label_smoothing", "schedule_every"},
        ),
    ],
)
def test_settings_are_drawn_only_with_the_values_that_they_belong_to(
    params: dict[str, str], left_out: set[str], plan: Any
) -> None:
    read = plan(HEAD + SETTINGS)
    dependent = {"label_smoothing": 0.1, "schedule_gamma": 0.5, "schedule_every": 2, "warmup": 1}
    drawn = read.space.settings(FixedTrial({**params, **dependent, **OTHERS}))
    assert dependent.keys() - drawn.keys() == left_out
    require(read.host, read.resolve(drawn))


def test_a_setting_that_belongs_to_all_that_is_tried_has_no_condition(plan: Any) -> None:
    space = '[tune.space]\nschedule = ["step", "exponential"]\nschedule_gamma = [0.1, 0.5]'
    assert not any(each.when for each in plan(HEAD + space).space.dimensions)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tune.space]\nschedule_gamma = [0.1, 0.5]", "space.schedule_gamma: .* is constant"),
        ('[tune.space]\nloss = ["bce", "squared-hinge"]\nlabel_smoothing = [0.0, 0.1]', "loss is"),
        ('[tune.space]\nrule = ["dfa", "eqprop"]\nloss = ["cross-entropy", "bce"]', "loss = bce"),
        ('[tune.space]\nrule = ["dfa", "hsic"]\naccumulate = { low = 1, high = 2 }', "whole-batch"),
        (f'sampler = "grid"\n{SETTINGS}', "label_smoothing does"),
    ],
)
def test_settings_that_never_go_together_are_refused(text: str, said: str, plan: Any) -> None:
    with pytest.raises(UsageError, match=said):
        plan(HEAD + text)


def test_options_of_a_component_are_drawn_only_with_it(plan: Any) -> None:
    text = (
        '[tune.space]\noptimizer.name = ["meta", "adam"]\noptimizer.lr = { low = 0.1, high = 0.2 }'
    )
    space = plan(HEAD + text).space
    assert searched(space) == {
        "optimizer": "meta, adam",
        "rule.scale": "0.1 to 10, log",
        "optimizer:meta.lr": "0.1 to 0.2",
        "optimizer:meta.m": "0.5 to 20, log",
        "optimizer:adam.lr": "0.1 to 0.2",
        "model.width": "0.8 to 1.4",
    }
    params = {"optimizer": "adam", "optimizer:adam.lr": 0.1, "rule.scale": 1.0, "model.width": 1.0}
    assert space.settings(FixedTrial(params))["optimizer"] == {"name": "adam", "lr": 0.1}


AROUND = (
    'rule = "bp"\noptimizer = { name = "ewc", strength = 1.0, decay = 1.0 }\nmodel.width = 1.0\n'
)


def test_options_of_what_an_optimizer_goes_around_are_searched_where_they_are_named(
    plan: Any,
) -> None:
    text = """
    [tune]
    [tune.space]
    optimizer.base.momentum = [0.0, 0.9]
    optimizer.base.lr = { low = 1e-3, high = 0.1 }
    """
    space = plan(AROUND + text).space
    assert searched(space) == {
        "optimizer.base.lr": "0.001 to 0.1, log",
        "optimizer.base.momentum": "0.0, 0.9",
    }
    drawn = space.settings(FixedTrial({"optimizer.base.lr": 0.01, "optimizer.base.momentum": 0.9}))
    assert drawn == {"optimizer": {"base": {"lr": 0.01, "momentum": 0.9}}}
    with pytest.raises(UsageError, match="there is nothing to tune"):
        plan(AROUND + "[tune]")


def test_what_an_optimizer_goes_around_is_searched_with_its_options(plan: Any) -> None:
    text = """
    [tune.space]
    optimizer.base.name = ["meta", "adam"]
    optimizer.base.m = [1.0, 5.0]
    optimizer.base.lr = { low = 0.1, high = 0.2 }
    """
    read = plan(AROUND + "[tune]" + text)
    assert searched(read.space) == {
        "optimizer.base": "meta, adam",
        "optimizer.base:meta.lr": "0.1 to 0.2",
        "optimizer.base:meta.m": "1.0, 5.0",
        "optimizer.base:adam.lr": "0.1 to 0.2",
    }
    drawn = read.space.settings(
        FixedTrial({"optimizer.base": "adam", "optimizer.base:adam.lr": 0.1})
    )
    assert drawn == {"optimizer": {"base": {"name": "adam", "lr": 0.1}}}
    options = read.resolve(drawn).choices["optimizer"].options
    assert (options["base"].component.name, options["base"].options["lr"]) == ("adam", 0.1)
    assert "lr" not in read.content["optimizer"]["base"]
    short = plan(AROUND + '[tune.space]\noptimizer.base = ["meta", "adam"]')
    assert searched(short.space) == {"optimizer.base": "meta, adam"}


def test_several_optimizers_are_searched_with_what_one_of_them_goes_around(plan: Any) -> None:
    text = """
    rule = "bp"
    model.width = 1.0
    [tune.space]
    optimizer.name = ["adam", "ewc"]
    optimizer.base.lr = [0.1]
    optimizer.strength = [1.0, 2.0]
    optimizer.decay = [1.0]
    """
    space = plan(text).space
    assert searched(space) == {
        "optimizer": "adam, ewc",
        "optimizer:adam.lr": "0.0001 to 0.1, log",
        "optimizer:ewc.strength": "1.0, 2.0",
        "optimizer:ewc.decay": "1.0",
        "optimizer:ewc.base.lr": "0.1",
    }
    given = {"optimizer": "adam", "optimizer:adam.lr": 0.01}
    assert space.settings(FixedTrial(given)) == {"optimizer": {"name": "adam", "lr": 0.01}}


def test_every_choice_of_components_must_fit(plan: Any) -> None:
    with pytest.raises(UsageError, match="real-weights"):
        plan(HEAD + '[tune.space]\noptimizer = ["meta", "mesu"]')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"there is no table \[tune\]"),
        ("[tune]\nsampler = 'tep'", "Did you mean 'tpe'"),
        ("[tune]\npruner = 'medain'", "Did you mean 'median'"),
        ("[tune]\ntrails = 5", "tune.trails: no such key. Did you mean 'trials'"),
        ("[tune]\ntrials = 0", "at least 1"),
        ("[tune]\nseeds = []", r"tune.seeds: \[\]\. Write how many seeds"),
        ("[tune]\nseeds = 0", "Write how many seeds .1 to 10000"),
        ("[tune]\nseeds = [1, 1]", "or a list of different whole numbers"),
        ("[tune]\nmeasure = 'average_acuracy'\ndirection = 'maximize'", "'average_accuracy'"),
        ("[tune]\nmeasure = 'flips.0'", "maximize or minimize"),
        ("[tune]\nmeasure = 'accuracy'", "accuracy is not a number: name one in it"),
        ("[tune]\nmeasure = 'forgetting.0'", "forgetting is one"),
        ("[tune]\nmeasure = 'plasticity'", "only with fresh = true"),
        ("[tune]\nmeasure = 'seconds'", "seconds says what a run was"),
        ("[tune]\npruner = 'wilcoxon'\nseeds = 4", "at least 5 seeds"),
        ("[tune]\nstorage = 'nowhere'", "write sqlite, or an address"),
        ("[tune]\nstorage = 'postgresql+psycopg://me:S3c@host:xx/db'", "^tune.storage: write sql"),
        ("[tune]\nstorage = 'sqlite://'", "in memory"),
        ("[tune]\nstorage = 'sqlite:///:memory:'", "in memory"),
        ("[tune]\nstorage = 'sqlite:///file:x?mode=memory&uri=true'", "in memory"),
        ("[tune]\nsampler = 'grid'", "all values of rule.scale"),
        ("[tune]\nspace = 3", "no table"),
        ("[tune.space]\nseed = [1, 2]", "repetitions are"),
        ("[tune.space]\nevaluate_on = ['test']", "validation data only"),
        ("[tune.space]\nepocs = [1, 2]", "Did you mean 'epochs'"),
        ("[tune.space]\nprobe.weights.x = [1]", "changes no result"),
        ("[tune.space]\nstream.tasks = [1, 2]", "learn other tasks"),
        ("[tune.space]\nfresh = [true, false]", "changes no result"),
        ("[tune.space]\nstream = ['digits', 'mnist']", "learn other tasks"),
        ("[tune.space]\noptimizer = ['meta', 'adm']", "Did you mean 'adam'"),
        ("[tune.space]\noptimizer = [{name = 'meta'}]", "no list of names"),
        ("[tune.space]\noptimizer.rl = [1.0]", "Did you mean 'optimizer.lr'"),
        (
            "optimizer = 'ewc'\n[tune.space]\noptimizer.base = 'meta'",
            "base: 'meta' is no list of n",
        ),
        ("optimizer = 'ewc'\n[tune.space]\noptimizer.base = ['adm']", "Did you mean 'adam'"),
        (
            "optimizer = 'ewc'\n[tune.space]\noptimizer.base.rl = [1.0]",
            "Did you mean 'optimizer.ba",
        ),
        ("optimizer = 'ewc'\n[tune.space]\noptimizer.base.lr = [-1.0]", "base.lr: -1.0 must be ab"),
        ("[tune.space]\noptimizer.lr = []", "the list is empty"),
        ("[tune.space]\noptimizer.lr = ['fast']", "'fast' is not a float"),
        ("[tune.space]\noptimizer.lr = [0.1, 0.1]", "there twice"),
        ("[tune.space]\noptimizer.lr = 0.1", "neither a list of values nor"),
        ("[tune.space]\noptimizer.lr = { low = 0.1 }", "no high"),
        ("[tune.space]\noptimizer.lr = { low = 0.1, hihg = 1 }", "Did you mean 'high'"),
        (
            "[tune.space]\noptimizer.lr = { low = 1.0, high = 0.1 }",
            "low, 1, is not below high, 0.1",
        ),
        ("[tune.space]\noptimizer.lr = { low = 0.0, high = 0.1 }", "above 0"),
        ("[tune.space]\noptimizer.m = { low = 'auto', high = 2 }", "'auto' is not a float"),
        ("[tune.space]\nmodel.width = { low = 0.1, high = 1, log = true, step = 0.1 }", "no step"),
        ("[tune.space]\nepochs = { low = 1.5, high = 3 }", "1.5 is not an int"),
        ("[tune.space]\nepochs = { low = 1, high = 3, step = 3 }", "at most high - low"),
        ("[tune.space]\nrule.feedback = { low = 1, high = 3 }", "takes no numbers"),
    ],
)
def test_what_is_wrong_is_refused_in_a_line(plan: Any, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        plan(text)
    assert "\n" not in str(caught.value)


def test_an_empty_space_is_refused(plan: Any) -> None:
    fixed = 'rule = "bp"\noptimizer = {name = "adam", lr = 0.1}\nmodel = {width = 1.0}\n[tune]\n'
    with pytest.raises(UsageError, match="there is nothing to tune: no option of bp and adam and"):
        plan(fixed)


def test_a_grid_has_as_many_trials_as_points(plan: Any) -> None:
    fixed = 'rule = {name = "dfa", scale = 1.0}\noptimizer = {name = "meta", lr = 0.1}\n'
    text = (
        "[tune.space]\noptimizer.m = [1.0, 2.0]\nmodel.width = {low = 0.5, high = 1, step = 0.25}"
    )
    read = plan(f"{fixed}[tune]\nsampler = 'grid'\n{text}")
    assert read.tuning.trials == 6


def test_what_continues_a_study_has_the_same_space_and_no_password(
    plan: Any, host: PluginHost, tmp_path: Path
) -> None:
    address = "postgresql+psycopg://me:secret@host/base"
    text = 'optimizer = {name = "meta", lr = 0.1}\n[tune]\nstorage = "' + address + '"'
    first = plan(text, f"out = '{tmp_path}'\nname = 'it'\nmodel.width = 1.0\nengine.jobs = 3")
    assert first.address == address
    first.folder.mkdir()
    first.write()
    assert "secret" not in (first.folder / "study.toml").read_text()
    again = read_plan(host, first.folder, {}, trials=7)
    assert again.folder == first.folder
    assert again.space == first.space
    assert again.digest == first.digest
    assert (again.tuning.trials, again.engine.options["jobs"]) == (7, 3)
    with pytest.raises(UsageError, match="--name is for a file"):
        read_plan(host, first.folder, {"name": "other"})
    assert plan(text + "\nmeasure = 'forgetting'").digest != first.digest


def test_of_the_cores_measures_it_is_known_which_are_one_number() -> None:
    its = {name: get_args(each.__orig_class__) for name, each in MEASURES.items()}
    assert {name for name, (type_,) in its.items() if type_ == float | None} == ONE_NUMBER


def test_what_is_to_be_swept_is_not_tuned(plan: Any, host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none \[tune\]. To sweep: bnn sweep .*study\.toml$"):
        plan("[sweep]")
    with pytest.raises(UsageError, match=f"To sweep: bnn sweep {tmp_path}$"):
        read_plan(host, tmp_path, {})


def test_the_modules_that_a_command_begins_with_load_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, bnnlab_optuna.commands; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "False\n", answer.stderr
