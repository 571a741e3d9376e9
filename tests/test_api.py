"""The Python interface: single components in a loop of one's own, and whole runs."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_overloads, get_type_hints

import pytest
import torch
from torch import nn

import bnnlab
from bnnlab import Batch, Model, RunError, UsageError
from bnnlab.api.arguments import Said
from bnnlab.deprecation import Deprecated
from bnnlab.registry.components import PARTS
from bnnlab.settings.run import RUN_OPTIONS

RUN: dict[str, Any] = {
    "stream": {"name": "permuted-digits", "tasks": 2},
    "model": {"name": "mlp", "hidden": [16]},
    "epochs": 1,
}


def accuracy(model: Model, task: bnnlab.Task) -> float:
    inputs, targets = task.test.batch(torch.arange(len(task.test)))
    return (model.eval()(inputs).argmax(-1) == targets).double().mean().item()


def learn(model: Model, rule: Any, optimizer: Any, task: bnnlab.Task, epochs: int) -> None:
    model.train()
    for epoch in range(epochs):
        order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(epoch))
        for x, y in task.train.batches(100, order):
            optimizer.step(rule.closure(model, (x, y)))
            for parameter in model.binary_parameters().values():
                assert parameter.abs().eq(1).all()


@pytest.mark.rounding
def test_components_work_in_a_hand_written_loop() -> None:
    stream = bnnlab.create("stream", "permuted-digits", tasks=2)
    model = bnnlab.create("model", "mlp", input_shape=(64,), classes=10, hidden=[128])
    rule = bnnlab.create("rule", "dfa", model, feedback="normal")
    optimizer = bnnlab.create("optimizer", "meta", model, lr=0.005, m=1.35)
    for task in stream:
        learn(model, rule, optimizer, task, epochs=2)
        assert accuracy(model, task) > 0.5  # five seeds gave from 0.83 to 0.92; chance is 0.1


@pytest.mark.rounding
@pytest.mark.parametrize(("rule", "optimizer"), [("dfa", "meta"), ("bp", "adam"), ("bp", "sgd")])
def test_a_binarised_module_takes_the_models_place(rule: str, optimizer: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
            nn.Linear(16 * 4 * 4, 10),
        )  # fmt: skip
    model = bnnlab.binarize(net, input_shape=(1, 8, 8))
    (task,) = bnnlab.create("stream", "digits")
    options = {"m": 0.0} if optimizer == "meta" else {}
    learn(
        model,
        bnnlab.create("rule", rule, model),
        bnnlab.create("optimizer", optimizer, model, lr=0.005, **options),
        task,
        epochs=3,
    )
    assert accuracy(model, task) > 0.5  # five seeds gave from 0.88 to 0.98; chance is 0.1


def test_a_closure_takes_a_pair_or_a_batch() -> None:
    model = bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[5])
    rule = bnnlab.create("rule", "bp", model)
    x, y = torch.ones(6, 4), torch.arange(6) % 3
    assert rule.closure(model, (x, y))() == rule.closure(model, Batch(x, y))()


def test_the_seed_decides_what_is_drawn_and_nothing_else_does() -> None:
    def weights(seed: int) -> torch.Tensor:
        model = bnnlab.create("model", "mlp", input_shape=(9,), classes=3, seed=seed, hidden=[7])
        rule = bnnlab.create("rule", "dfa", model, seed=seed)
        parts = [rule.get_buffer("B1"), *model.parameters()]
        return torch.cat([part.detach().flatten() for part in parts])

    state = torch.get_rng_state()
    first = weights(1)
    torch.rand(3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_run_returns_what_its_result_file_holds(tmp_path: Path) -> None:
    result = bnnlab.run(rule="dfa", optimizer="meta", out=tmp_path, name="x", **RUN)
    assert result.folder == tmp_path / "x"
    written = json.loads((tmp_path / "x" / "result.json").read_text(encoding="utf-8"))
    assert written == result.as_dict()
    assert result.status == "complete"
    assert isinstance(result.model, Model)
    assert result.average_accuracy == sum(a for a in result.accuracy[-1] if a) / 2


def test_a_run_writes_nothing_unless_told_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bnnlab.run(**RUN).folder is None
    assert not list(tmp_path.iterdir())


def test_a_run_can_be_given_a_file_options_and_a_seed(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'epochs = 9\nstream = "digits"\n[model]\nhidden = [8]\n[optimizer]\nlr = 0.5\n',
        encoding="utf-8",
    )
    more = {"model.hidden": [4], "optimizer.lr": 0.01, "out": str(tmp_path), "name": "x"}
    result = bnnlab.run(path, epochs=1, seed=4, set=more)
    assert (result.seed, result.folder) == (4, tmp_path / "x")
    assert result.tasks == ["digits"]
    assert result.protocol_description["epochs"] == 1
    assert [p.shape[0] for p in result.model.binary_parameters().values()] == [4, 10]
    same = bnnlab.run({"stream": "digits", "model": {"hidden": [4]}, "optimizer": {"lr": 0.01}},
                      epochs=1, seed=4)  # fmt: skip
    assert same.accuracy == result.accuracy


def test_the_same_run_in_python_and_in_a_loop_over_seeds_differs_by_seed_only() -> None:
    a, b, c = (bnnlab.run(seed=seed, **RUN) for seed in (0, 0, 1))
    one, same, other = (each.model.state_dict() for each in (a, b, c))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    assert a.accuracy == b.accuracy
    assert a.protocol == c.protocol


def test_the_arguments_of_a_run_are_its_settings_with_their_help() -> None:
    own = {"config", "recipe", "short", "seeds", "set", "host", "probe", "probes", "track", *PARTS}
    own |= {"resume", "allow_changed_versions", "vectorize"}
    types_of = get_type_hints(bnnlab.run)
    types = {key: hint for key, hint in types_of.items() if key not in own}
    paths = {"data", "out"}
    assert types.pop("return") == bnnlab.Result | Any
    assert types == {
        option.name: option.type | Path | None if option.name in paths else option.type | None
        for option in RUN_OPTIONS
    }
    parameters = inspect.signature(bnnlab.run).parameters
    assert all(each.default is None for each in parameters.values())
    for option in RUN_OPTIONS:
        assert f"        {option.name}: {option.help}\n" in (bnnlab.run.__doc__ or "")
    one, several = map(inspect.signature, get_overloads(bnnlab.run))
    assert (one.return_annotation, several.return_annotation) == (bnnlab.Result, Any)
    said = get_type_hints(Said)
    of_many = ("config", "seeds", "vectorize")
    assert said == {key: types_of[key] for key in parameters if key not in of_many}


def test_probes_is_the_earlier_name_of_probe() -> None:
    said = r"uses bnnlab.run\(probes=\), which bnnlab 0.4 removes: write probe=$"
    with pytest.warns(Deprecated, match=said) as warned:
        result = bnnlab.run(probes="confusion", **RUN)
    assert warned[0].filename == __file__
    assert result["confusion"] == bnnlab.run(probe=["confusion"], **RUN)["confusion"] != []


MISTAKES: list[tuple[Any, str]] = [
    (lambda: bnnlab.create("rul", "dfa"), "kind 'rul': choose from model, rule, optimizer, stream"),
    (lambda: bnnlab.create("model", "mpl", input_shape=(2,), classes=2), "Did you mean 'mlp'?"),
    (lambda: bnnlab.create("model", "mlp", classes=2), "needs the argument input_shape"),
    (lambda: bnnlab.create("model", "mlp", input_shape=(2,)), "needs the argument classes"),
    (lambda: bnnlab.create("rule", "dfa"), 'create("rule", "dfa", model)'),
    (lambda: bnnlab.create("rule", "dfa", nn.Linear(2, 2)), "bnnlab.binarize(module)"),
    (lambda: bnnlab.create("stream", "digits", tasks=3), "stream.tasks: no such option"),
    (lambda: bnnlab.create("stream", "permuted-digits", tasks=-3), "must be at least 1"),
    (lambda: bnnlab.create("stream", "digits", device="gpu"), "device 'gpu': choose"),
    (lambda: bnnlab.run(rule="dff"), "Did you mean 'dfa'?"),
    (lambda: bnnlab.run(epochs=0), "epochs: 0 must be at least 1"),
    (lambda: bnnlab.run(set={"optimizer.lrr": 1}), "optimizer.lrr: no such option"),
    (lambda: bnnlab.run({"epoch": 1}), "Did you mean 'epochs'?"),
    (lambda: bnnlab.run(probe="weighs"), "unknown probe 'weighs'. Did you mean 'weights'?"),
    (lambda: bnnlab.run(probe={"weights": {"bins": 3}}), "probe.weights.bins: no such option"),
    (lambda: bnnlab.run(probe="weights", probes="weights"), "probe and probes are both set"),
    (lambda: bnnlab.run(recipe="no/such"), "unknown recipe 'no/such'"),
    (lambda: bnnlab.run(recipe="dfa/permuted-mnist", short=True), "has no short form"),
    (lambda: bnnlab.run(short=True), "name it, as recipe="),
    (lambda: bnnlab.run("/no/such/file.toml"), "cannot read /no/such/file.toml"),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_a_mistake_is_answered_with_what_to_write(call: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert message in str(caught.value)


def test_an_option_out_of_range_is_refused_before_anything_is_made() -> None:
    model = bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[5])
    with pytest.raises(UsageError, match=r"optimizer\.lr: -1 must be above 0"):
        bnnlab.create("optimizer", "meta", model, lr=-1)
    with pytest.raises(UsageError, match=r"optimizer\.m: 3 values, .*, for 2 binary weights"):
        bnnlab.create("optimizer", "meta", model, m=[1, 2, 3])
    optimizer = bnnlab.create("optimizer", "meta", model, m="auto")
    batch = (torch.ones(2, 4), torch.tensor([0, 1]))
    closure = bnnlab.create("rule", "bp", model).closure(model, batch)
    with pytest.raises(UsageError, match="give m a number"):
        optimizer.step(closure)


def test_a_run_that_fails_raises_a_run_error() -> None:
    real = {"name": "mlp", "weights": "real", "norm": "none", "activation": "relu"}
    with pytest.raises(RunError, match="the loss is not finite"):
        bnnlab.run(rule="bp", optimizer={"name": "sgd", "lr": 1e38}, **{**RUN, "model": real})


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, bnnlab\n"
        "from bnnlab import Component, Kind, Option, PluginHost, hookimpl\n"
        "PluginHost()\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_others_are_not() -> None:
    for name in bnnlab.__all__:
        assert getattr(bnnlab, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bnnlab.nonsense  # noqa: B018


def test_editors_that_use_jedi_complete_every_setting_and_the_result() -> None:
    jedi = pytest.importorskip("jedi")
    names = {
        each.name_with_symbols for each in jedi.Script("import bnnlab\nbnnlab.run(").complete()
    }
    assert {f"{name}=" for name in inspect.signature(bnnlab.run).parameters} <= names
    found = jedi.Script("import bnnlab\nresult = bnnlab.run()\nresult.forg").complete()
    assert [each.name for each in found] == ["forgetting"]
