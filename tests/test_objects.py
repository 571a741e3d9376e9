"""Objects as components: they are copied, named, compared when a run goes on, and refused."""

import logging
import re
import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import found, read_json, without_times
from torch import Tensor, nn

import bnnlab
from bnnlab import LearningRule, Probe, RunError, UsageError
from bnnlab.engine.fingerprints import fingerprint
from bnnlab.settings.text import read_config

X = torch.randn(120, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long() + 2 * (X[:, 1] > 0).long()
SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 30, "device": "cpu"}
RATE = 0.01


def net(seed: int = 0, width: int = 8) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 4))


def binary(seed: int = 0) -> bnnlab.Model:
    return bnnlab.binarize(net(seed), policy="all", input_shape=(6,))


def stream(seed: int = 0, **more: Any) -> Any:
    return bnnlab.stream_from((X, Y), **{"test": 0.2, "tasks": 2, "seed": seed, **more})


class Scaled(LearningRule):
    """Backpropagation with a factor."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor, self.calls = factor, 0

    def differentiate(self, model: Any, batch: Any) -> tuple[Tensor, Tensor]:
        self.calls += 1
        logits = model(batch.inputs)
        loss = batch.loss(logits, batch.targets)
        (self.factor * loss).backward()
        return loss, logits


class Counting(Probe):
    """Counts the epochs."""

    def __init__(self, name: str = "epochs_seen") -> None:
        self.name, self.count = name, 0

    def epoch_ended(self, at: Any, metrics: Any) -> None:
        self.count += 1

    def measures(self) -> dict[str, Any]:
        return {self.name: self.count}

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: Any) -> None:
        self.count = state["count"]


def adam(model: Any, generator: torch.Generator) -> Any:
    from bnnlab_backprop.optimizers import LatentAdam

    return LatentAdam(model, generator=generator, lr=RATE)


def objects() -> dict[str, Any]:
    """Return new objects, equal to those of before."""
    return {
        "model": binary(),
        "rule": Scaled(0.5),
        "optimizer": adam,
        "stream": stream(),
        "probe": [Counting()],
    }


class Crash(BaseException):
    """What no part of a run expects."""


def crash(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the process die when it has saved this many times."""
    from bnnlab.storage import checkpoint

    save, left = checkpoint.save, [after]

    def crashing(*args: Any) -> None:
        save(*args)
        left[0] -= 1
        if not left[0]:
            raise Crash

    monkeypatch.setattr("bnnlab.storage.checkpoint.save", crashing)


# -------------------------------------------------------------------- a run


def test_a_run_with_objects_leaves_them_as_they_were() -> None:
    given = objects()
    before = {name: fingerprint(given[name]) for name in ("model", "rule", "probe")}
    result = bnnlab.run(**given, **SMALL)
    assert {name: fingerprint(given[name]) for name in before} == before
    assert result.model is not given["model"]
    assert result["epochs_seen"] == 4
    weights = result.model.state_dict()
    assert any(not torch.equal(weights[k], v) for k, v in given["model"].state_dict().items())
    again = bnnlab.run(**given, **SMALL)
    assert found(again) == found(result)
    assert all(torch.equal(weights[k], v) for k, v in again.model.state_dict().items())


def test_files_and_results_name_objects_with_a_digest(tmp_path: Path) -> None:
    result = bnnlab.run(**objects(), **SMALL, out=tmp_path, name="run")
    settings = read_config(tmp_path / "run" / "run.toml")
    assert settings["rule"] == {
        "name": "object/scaled",
        "object": f"{__name__}.Scaled",
        "digest": fingerprint(Scaled(0.5)),
    }
    assert {*settings["model"]} == {"name", "object", "digest", "weights"}
    assert [*settings["probe"]] == ["object/counting"]
    rule = read_json(tmp_path / "run" / "result.json")["components"]["rule"]
    assert rule == result.components["rule"]
    assert rule["object"] == f"{__name__}.Scaled"
    assert rule["version"] == fingerprint(Scaled(0.5))
    assert "object" not in read_json(tmp_path / "run" / "environment.json")["plugins"]


def test_objects_stand_beside_names() -> None:
    by_name = bnnlab.run(model=binary(), rule="bp", optimizer="adam", stream=stream(), **SMALL)
    from bnnlab_backprop.optimizers import LatentAdam
    from bnnlab_backprop.rule import Backpropagation

    classes = {"rule": Backpropagation, "optimizer": partial(LatentAdam, lr=0.001)}
    by_class = bnnlab.run(model=binary(), **classes, stream=stream(), **SMALL)
    assert by_class.accuracy == by_name.accuracy
    assert by_class.protocol == by_name.protocol


def test_a_function_gets_what_it_takes_and_draws_from_the_runs_seed() -> None:
    seen: list[dict[str, Any]] = []

    def make(input_shape: Any, **more: Any) -> nn.Module:
        seen.append({"input_shape": input_shape, **more})
        return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4))

    run = partial(bnnlab.run, rule="bp", optimizer="adam", stream=stream(), **SMALL)
    state = torch.get_rng_state()
    one, same, other = (run(model=make, seed=seed).model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert seen[0].keys() == {"input_shape", "classes", "generator"}
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)
    plain = run(model=lambda: nn.Linear(6, 4))
    assert isinstance(plain.model, bnnlab.Model)


def test_a_function_may_return_the_same_module_twice() -> None:
    module = net()
    before = fingerprint(module)
    run = partial(bnnlab.run, rule="bp", optimizer="adam", stream=stream(), **SMALL)
    assert run(model=lambda: module).accuracy == run(model=lambda: module).accuracy
    assert fingerprint(module) == before


def test_a_stream_may_be_made_for_each_seed() -> None:
    def make(seed: int) -> Any:
        return stream(seed % 100)

    results = [bnnlab.run(**{**objects(), "stream": make}, **SMALL, seed=seed) for seed in (0, 1)]
    assert results[0].protocol != results[1].protocol


def test_two_probes_of_one_class_are_two() -> None:
    probes = (each for each in (Counting("one"), Counting("other"), "confusion"))
    result = bnnlab.run(**{**objects(), "probe": probes}, **SMALL)
    assert (result["one"], result["other"]) == (4, 4)
    assert result["confusion"]


def test_seeds_repeat_a_run_with_objects_in_this_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("bnnlab_studies")
    with caplog.at_level(logging.INFO, "bnnlab"):
        study = bnnlab.run(**objects(), **SMALL, seeds=2, out=tmp_path, name="study")
    assert "every seed begins with the weights of the model that was given" in caplog.text
    assert [run["seed"] for run in study] == [0, 1]
    first, second = (run.folder for run in study)
    assert study.results[0]["epochs_seen"] == 4
    weights = [read_config(folder / "run.toml")["model"]["weights"] for folder in (first, second)]
    assert weights[0] == weights[1]
    assert bnnlab.run(resume=first, **objects()).accuracy == study.results[0].accuracy
    with pytest.raises(UsageError, match=r"study exists\. Choose another --name\.$"):
        bnnlab.run(**objects(), **SMALL, seeds=2, out=tmp_path, name="study")


def test_an_error_says_how_a_run_with_objects_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study of them does not; each of its runs does."""
    pytest.importorskip("bnnlab_studies")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bnnlab.storage.checkpoint.save", full)
    kinds = "model=..., rule=..., optimizer=..., stream=..., probe=..."
    for seeds, name in ((None, "run"), (2, "study")):
        folder = tmp_path / name / ("cell/seed-0" if seeds else "")
        more: dict[str, Any] = {**SMALL, "seeds": seeds, "out": tmp_path, "name": name}
        said = f"to continue: bnnlab.run(resume={str(folder)!r}, {kinds})"
        with pytest.raises(RunError, match=f"{re.escape(said)}$"):
            bnnlab.run(**objects(), **more)


# -------------------------------------------------------------------- resuming


@pytest.mark.parametrize("after", [1, 7])
def test_a_run_goes_on_bit_for_bit_with_the_same_objects(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {**SMALL, "checkpoint_minutes": 0, "out": tmp_path}
    whole = bnnlab.run(**objects(), **small, name="whole")
    with monkeypatch.context() as patch:
        crash(patch, after)
        with pytest.raises((Crash, RunError)):
            bnnlab.run(**objects(), **small, name="torn")
    torn = bnnlab.run(resume=tmp_path / "torn", **objects())
    assert found(torn) == found(whole)
    assert without_times(tmp_path / "torn") == without_times(tmp_path / "whole")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, torn.model.state_dict()[name]), name


def test_an_object_may_be_what_another_component_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bnnlab_rehearsal")
    around = {"name": "replay", "size": 30, "base": Scaled(0.5)}
    given = {**objects(), "rule": around, "optimizer": {"name": "ewc", "base": adam}}
    small = {**SMALL, "checkpoint_minutes": 0, "out": tmp_path}
    whole = bnnlab.run(**given, **small, name="whole")
    settings = read_config(tmp_path / "whole" / "run.toml")
    assert settings["rule"]["base"]["object"] == f"{__name__}.Scaled"
    assert settings["optimizer"]["base"]["name"] == "object/adam"
    assert around["base"].calls == 0
    with monkeypatch.context() as patch:
        crash(patch, 7)
        with pytest.raises((Crash, RunError)):
            bnnlab.run(**given, **small, name="torn")
    torn, again = tmp_path / "torn", {**given, "rule": {"name": "replay", "base": Scaled(0.5)}}
    for rule, message in (
        ({"name": "replay", "base": Scaled(0.1)}, r"rule\.base: its attributes or its code"),
        ({"name": "replay", "size": 31, "base": Scaled(0.5)}, "was begun with another rule"),
        ({"name": "replay", "base": "bp"}, "leave out rule"),
        (Scaled(0.5), r"rule: an object is given.*; rule\.base: it had an object of"),
    ):
        with pytest.raises(UsageError, match=message):
            bnnlab.run(resume=torn, **{**again, "rule": rule})
    assert found(bnnlab.run(resume=torn, **again)) == found(whole)


INSIDE: list[tuple[dict[str, Any], str]] = [
    ({"name": "bp", "size": Scaled()}, r"rule\.size: no such option"),
    ({"base": Scaled()}, r"rule\.base: no such option"),
    ({"name": "replay", "size": Scaled()}, r"rule\.size: .* is not an int\."),
    ({"name": "replay", "base": net()}, r"rule\.base: .*Sequential is neither a name"),
    ({"name": "replay", "base": 3}, r"rule\.base: builtins\.int is neither a name"),
    ({"name": "reply", "base": Scaled()}, "unknown rule 'reply'"),
]


@pytest.mark.parametrize(("rule", "message"), INSIDE)
def test_what_no_component_is_made_of_is_refused(rule: Any, message: str) -> None:
    pytest.importorskip("bnnlab_rehearsal")
    with pytest.raises(UsageError, match=message):
        bnnlab.run(**{**objects(), "rule": rule}, **SMALL)


def test_a_component_is_made_of_an_object_in_a_loop_of_ones_own() -> None:
    pytest.importorskip("bnnlab_rehearsal")
    model, base = binary(), Scaled(0.25)
    rule = bnnlab.create("rule", "replay", model, base=base)
    assert (rule.base.factor, rule.base is base) == (0.25, False)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with objects that is complete."""
    folder = tmp_path_factory.mktemp("ended")
    bnnlab.run(**objects(), **SMALL, out=folder, name="run")
    return folder / "run"


OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, r"model: it had an object of bnnlab\.interfaces\.model\.Model"),
    ({"model": net()}, r"model: it is of torch\.nn\.modules\.container\.Sequential, and was of"),
    (
        {"model": bnnlab.binarize(net(width=9), policy="all", input_shape=(6,))},
        "model: its architecture is another",
    ),
    ({"rule": Scaled(0.25)}, "rule: its attributes or its code are others"),
    ({"rule": Scaled}, "rule: its attributes or its code are others"),
    ({"optimizer": lambda model: adam(model, torch.Generator())}, "optimizer: it is of .*lambda"),
    ({"stream": stream(seed=1)}, "stream: its data, their split or its tasks are others"),
    ({"probe": None}, r"probe\.object/counting: it had an object of .*Counting"),
    ({"probe": [Counting(), Counting()]}, r"probe\.object/counting-2: an object is given, and it"),
    ({"epochs": 3}, "leave out epochs"),
    ({"rule": "bp"}, "leave out rule"),
    (
        {"probe": [Counting(), "confusion"]},
        "was begun with another probe: give what was given then",
    ),
    ({"seeds": 3, "set": {"epochs": 2}}, "leave out set, seeds"),
]


@pytest.mark.parametrize(("given", "message"), OTHERS)
def test_other_objects_are_refused_by_what_differs(ended: Path, given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bnnlab.run(resume=ended, **{**objects(), **given})


def test_the_code_and_the_values_of_a_function_count(
    ended: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "RATE", 0.02)
    with pytest.raises(UsageError, match="optimizer: its attributes or its code are others"):
        bnnlab.run(resume=ended, **objects())


def test_initial_weights_may_differ_where_a_checkpoint_has_those_in_use(
    ended: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = read_json(ended / "result.json")["accuracy"]
    with caplog.at_level(logging.INFO, "bnnlab"):
        again = bnnlab.run(resume=ended, **{**objects(), "model": binary(1)})
    assert again.accuracy == before
    assert "the weights are those of the checkpoint" in caplog.text
    assert torch.equal(*(bnnlab.load(ended, model=binary(k)).state_dict()[WEIGHT] for k in (0, 1)))


WEIGHT = "segments.0.0.weight"


def test_initial_weights_must_agree_where_fresh_models_are_made(tmp_path: Path) -> None:
    bnnlab.run(**objects(), **SMALL, fresh=True, out=tmp_path, name="run")
    with pytest.raises(UsageError, match="model: its initial weights are others"):
        bnnlab.run(resume=tmp_path / "run", **{**objects(), "model": binary(1)})


def test_every_run_can_be_resumed_in_python(tmp_path: Path, monkeypatch: Any) -> None:
    named = {"rule": "bp", "optimizer": "adam", "stream": "digits", "epochs": 1}
    small = {**named, "model": {"name": "mlp", "hidden": [4]}, "checkpoint_minutes": 0}
    whole = bnnlab.run(**small, out=tmp_path, name="whole")
    with monkeypatch.context() as patch:
        crash(patch, 3)
        with pytest.raises((Crash, RunError)):
            bnnlab.run(**small, out=tmp_path, name="torn")
    assert found(bnnlab.run(resume=tmp_path / "torn")) == found(whole)
    with pytest.raises(UsageError, match="rule: an object is given, and it had none"):
        bnnlab.run(resume=tmp_path / "torn", rule=Scaled())
    with pytest.raises(UsageError, match="allow_changed_versions is only for resume"):
        bnnlab.run(**small, allow_changed_versions=True)


def test_what_was_given_beside_objects_may_be_given_again(tmp_path: Path) -> None:
    given = {**objects(), "probe": [Counting(), "confusion"]}
    run = bnnlab.run(**given, **SMALL, out=tmp_path, name="run")
    assert found(bnnlab.run(resume=tmp_path / "run", **given)) == found(run)
    loaded = bnnlab.load(tmp_path / "run", model=given["model"], rule=given["rule"])
    assert torch.equal(loaded.state_dict()[WEIGHT], run.model.state_dict()[WEIGHT])


def test_the_command_line_says_that_objects_are_given_in_python(ended: Path, bnn: Any) -> None:
    answer = bnn("run", "--resume", str(ended))
    assert answer.code == 2
    assert "model 'model' is an object of Python. To go on with a run that has it" in answer.err
    assert "bnnlab.run(resume=FOLDER, stream=...)" in answer.err
    with pytest.raises(UsageError, match="model: it had an object of"):
        bnnlab.load(ended)


def test_runs_with_objects_are_looked_at_like_others(ended: Path, bnn: Any, tmp_path: Path) -> None:
    pytest.importorskip("bnnlab_studies")
    bnnlab.run(**{**objects(), "rule": Scaled(0.1)}, **SMALL, out=tmp_path, name="run")
    shown = bnn("show", str(ended))
    assert shown.code == 0
    assert "model.object  bnnlab.interfaces.model.Model" in re.sub(" +", "  ", shown.out)
    assert "are not known" not in shown.out
    assert "object " not in shown.out.splitlines()[-3]
    both = bnn("compare", str(ended), str(tmp_path / "run"))
    assert (both.code, "Several versions" in both.out + both.err) == (0, False)


# -------------------------------------------------------------------- what fits, what is refused


class Broken(Probe):
    """Cannot be made."""

    def __init__(self) -> None:
        raise OSError("no luck")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": 3}, r"model: builtins\.int is neither a name, nor a mapping with one, nor a torch"),
    ({"rule": net()}, r"rule: .*Sequential is neither a name, .* nor a bnnlab\.LearningRule"),
    ({"stream": (X, Y)}, r"stream: .*tuple is neither .* bnnlab\.stream_from\(train, test="),
    ({"optimizer": torch.optim.SGD(net().parameters(), 0.1)}, "optimizer: .*SGD is neither a name"),
    ({"optimizer": torch.optim.SGD}, "optimizer: .*SGD is neither .* know no binary weights"),
    ({"optimizer": lambda model: torch.optim.SGD(model.parameters(), 0.1)}, "makes a SGD, and no"),
    ({"track": [Counting()]}, r"track.*Counting is neither a name, nor a mapping with one"),
    ({"model": lambda: 7}, r"model: .*<lambda> returns a int, and no module"),
    ({"model": net().double()}, r"model: '0.weight' is torch.float64.*give module\.float\(\)"),
    ({"model": nn.LazyLinear(4)}, "'weight' has no values yet"),
    ({"model": nn.Linear(5, 4)}, "cannot take"),
    ({"model": nn.Linear(6, 3)}, r"returns outputs of shape \(3,\) .* needs \(4,\)"),
    ({"probe": Broken}, "probe:broken of object failed when it was made at .*no luck"),
    ({"set": {"model.width": 3}}, r"model\.width: no such option"),
    ({"set": {"rule.digest": "abc"}}, r"rule\.digest: 'abc' is not"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_cannot_stand_for_a_component_is_refused(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bnnlab.run(**{**objects(), "epochs": 1, **given})


def test_objects_show_what_they_provide_and_require() -> None:
    numbers = bnnlab.stream_from((X, X[:, :4]), test=0.2)
    with pytest.raises(UsageError, match=r"requires 'any-loss'.*would fit: --rule "):
        bnnlab.run(**{**objects(), "stream": numbers})
    whole = bnnlab.Model([net()])
    with pytest.raises(UsageError, match=r"rule:dfa requires 'segments'"):
        bnnlab.run(**{**objects(), "model": whole, "rule": "dfa"})
    with pytest.raises(UsageError, match=r"optimizer:bop requires 'binary-weights'"):
        bnnlab.run(**{**objects(), "model": net(), "optimizer": "bop"})
    from bnnlab_dfa.rule import DirectFeedbackAlignment

    class Own(DirectFeedbackAlignment):
        """Has what the class provides and requires that it derives from."""

    with pytest.raises(UsageError, match=r"rule:own requires 'segments'"):
        bnnlab.run(**{**objects(), "model": whole, "rule": Own})
    told = nn.Sequential(nn.Linear(6, 8), bnnlab.BatchNorm(8, "per-task"), nn.Linear(8, 4))
    with pytest.raises(UsageError, match=r"model:sequential requires 'task-ids'"):
        bnnlab.run(**{**objects(), "model": told, "optimizer": "adam"})
    known = {**objects(), "model": told, "stream": stream(task_ids=True)}
    assert bnnlab.run(**known, **SMALL).status == "complete"


def test_an_object_that_fails_in_a_run_fails_the_run() -> None:
    class Bad(Scaled):
        def differentiate(self, model: Any, batch: Any) -> Any:
            raise LookupError("no luck")

    with pytest.raises(RunError, match="no luck"):
        bnnlab.run(**{**objects(), "rule": Bad()}, **SMALL)


class Watching(Probe):
    """Hears what classes are predicted."""

    def predicted(self, at: Any, task: Any, prediction: Any) -> None:
        raise AssertionError("no run is to come so far")


def test_a_probe_that_cannot_measure_a_run_is_refused_before_it() -> None:
    numbers = bnnlab.stream_from((X, X[:, :4]), test=0.2)
    named = {"rule": "bp", "optimizer": "adam", "model": net(), "stream": numbers}
    for probe in (Watching(), Watching):
        with pytest.raises(UsageError, match="probe:watching of object cannot measure a run whose"):
            bnnlab.run(**named, probe=probe, **SMALL)


def test_no_two_objects_have_one_name() -> None:
    class Mine(Counting):
        """One."""

    class Mine_2(Counting):  # noqa: N801
        """Another."""

    probes = [Mine_2("a"), Mine("b"), Mine("c")]
    result = bnnlab.run(**{**objects(), "probe": probes}, **SMALL)
    assert [result[name] for name in "abc"] == [4, 4, 4]


# -------------------------------------------------------------------- digests


class Weighted(nn.Module):
    """Has attributes of many kinds."""

    def __init__(self, limit: float = 1.0, mask: Any = None) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.limit, self.mask, self.table = limit, mask, {"a": [1, (2, 3)], "b": {4}}
        self.again = self

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * self.limit


def test_a_digest_covers_attributes_code_and_tensors() -> None:
    def named(value: Any) -> str:
        return fingerprint(value, weights=False)

    torch.manual_seed(0)
    variants = [
        Weighted(), Weighted(2.0), Weighted(mask=torch.ones(2)), Weighted(mask=torch.zeros(2)),
        nn.Linear(3, 3), nn.Linear(3, 4), nn.Linear(3, 3, bias=False), nn.Conv2d(1, 1, 3),
        nn.Conv2d(1, 1, 3, stride=2), partial(adam, lr=1), partial(adam, lr=2), lambda x: x + 1,
        lambda x: x + 2, Weighted, Scaled, bnnlab.binarize(net(), policy="all"),
    ]  # fmt: skip
    assert len({*map(named, variants)}) == len(variants)
    assert named(Weighted()) == named(Weighted())
    assert fingerprint(Weighted()) != fingerprint(Weighted())
    arrays = [np.array([Weighted(limit), "a"], dtype=object) for limit in (1.0, 1.0, 2.0)]
    assert [named(it) == named(arrays[0]) for it in arrays] == [True, True, False]
    frozen = Weighted()
    frozen.inner.weight.requires_grad_(requires_grad=False)
    assert named(frozen) != named(Weighted())


class Signs(torch.autograd.Function):
    """A sign whose surrogate gradient has a window."""

    window = 1.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        return given[0] * (ctx.saved_tensors[0].abs() < Signs.window)


@dataclass(slots=True)
class Bounds:
    """A helper whose attribute is in a slot."""

    most: float = 1.0


TABLE: dict[str, Any] = {"rates": [0.1, 0.2], "signs": Signs}
MASK, BOUNDS, GIVEN = torch.ones(2), Bounds(), Namespace(lr=0.1)
HELPERS = ModuleType("helpers")
exec("K, LIMIT = 1, 2\ndef scaled(x): return K * x\ndef other(x): return x", vars(HELPERS))
bounded, grown = torch.tanh, np.exp


@cache
def cached() -> Any:
    return BOUNDS.most, HELPERS.LIMIT


def uses() -> Any:
    return TABLE["rates"], Signs.apply, MASK, cached(), GIVEN.lr, HELPERS.scaled(1), bounded, grown


CHANGES: dict[str, tuple[Any, str, Any]] = {
    "a value in a table": (TABLE, "rates", [0.1, 0.3]),
    "a class in a table": (TABLE, "signs", Bounds),
    "an attribute of a class": (Signs, "window", 9.0),
    "the code of a class": (Signs, "backward", staticmethod(lambda ctx, grad: grad)),
    "a tensor": (globals(), "MASK", torch.zeros(2)),
    "an attribute of a helper": (BOUNDS, "most", 2.0),
    "an argument of a script": (GIVEN, "lr", 0.2),
    "a value in a module": (HELPERS, "LIMIT", 3),
    "what a function in a module uses": (HELPERS, "K", 2),
    "a function of another library": (globals(), "bounded", torch.relu),
    "one with a name of its own kind": (globals(), "grown", np.log),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_digest_covers_what_code_refers_to(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = fingerprint(uses)
    assert fingerprint(uses) == before
    monkeypatch.setattr(HELPERS, "other", None)  # the code does not name it
    assert fingerprint(uses) == before
    where, key, value = CHANGES[name]
    change = monkeypatch.setitem if isinstance(where, dict) else monkeypatch.setattr
    change(where, key, value)
    assert fingerprint(uses) != before


def test_a_digest_covers_the_attributes_of_classes() -> None:
    def made(**attributes: Any) -> str:
        return fingerprint(type("Own", (Scaled,), {"__module__": __name__, **attributes}))

    variants: list[dict[str, Any]] = [
        {}, {"widths": [4, 8]}, {"widths": [4, 9]}, {"mask": MASK}, {"mask": MASK - 1},
        {"act": Signs}, {"act": Bounds}, {"act": partial(adam, lr=1)}, {"act": partial(adam, lr=2)},
        {"act": torch.tanh}, {"act": torch.relu}, {"size": cached_property(lambda self: 1)},
        {"size": cached_property(lambda self: 2)},
    ]  # fmt: skip
    assert len({made(**each) for each in variants}) == len(variants)
    assert [made(**each) for each in variants] == [made(**each) for each in variants]


def test_a_digest_stops_at_other_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be large, and have a state that differs between processes."""
    before = fingerprint(lambda: np.linalg.norm(1))
    monkeypatch.setattr(np.linalg, "norm", None)
    assert fingerprint(lambda: np.linalg.norm(1)) == before


SCRIPT = """
import torch
from torch import nn
import bnnlab
from bnnlab.engine.fingerprints import fingerprint
torch.manual_seed(0)
FACTOR, TABLE = 0.5, {"limits": torch.ones(2), "of": {"a", "b"}}
class Signs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()
class Rule(bnnlab.LearningRule):
    signs = Signs
    def differentiate(self, model, batch):
        return Signs.apply, TABLE, FACTOR * 2 in {1.0, 2.0, "a"}
def make(model, generator=None):
    return [FACTOR for _ in model]
model = bnnlab.binarize(nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)), "all")
digests = " ".join(map(fingerprint, (model, nn.LSTM(3, 3), Rule(), Rule, make)))
"""


@pytest.mark.slow  # a process that imports torch
def test_a_digest_is_the_same_in_another_process() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    with torch.random.fork_rng(devices=[]):
        exec(SCRIPT, scope)
    code = f"{SCRIPT}print(digests)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == scope["digests"]
