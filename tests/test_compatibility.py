"""Components that do not fit are refused, with changes that really do."""

from collections.abc import Iterator
from typing import Any

import pytest

from bnnlab import Kind, PluginHost, UsageError
from bnnlab.settings.fit import check, matrix, require
from bnnlab.settings.layers import resolve
from bnnlab.settings.text import parse_assignment


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginHost]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.delenv("BNNLAB_DISABLE", raising=False)
        yield PluginHost()


PER_TASK = {"model": {"norm": "batch", "statistics": "per-task"}}
MISFITS: dict[str, dict[str, Any]] = {
    "per-task statistics without task ids": PER_TASK,
    "metaplasticity without binary weights": {"optimizer": "meta", "model": {"weights": "real"}},
    "both": {"optimizer": "meta", "model": {"weights": "real", "statistics": "per-task"}},
}


def test_the_defaults_fit(host: PluginHost) -> None:
    verdict = check(host, resolve(host, []).choices)
    assert verdict.compatible
    assert (verdict.reasons, verdict.alternatives) == ((), ())


def test_per_task_statistics_need_a_stream_that_gives_the_task(host: PluginHost) -> None:
    verdict = check(host, resolve(host, [PER_TASK]).choices)
    assert not verdict.compatible
    assert verdict.reasons == (
        "model:mlp requires 'task-ids' (because of model.statistics=per-task)",
    )
    told = resolve(host, [PER_TASK, {"stream": {"task_ids": True}}])
    assert check(host, told.choices).compatible
    told = resolve(host, [PER_TASK, {"stream": {"name": "split-digits", "incremental": "task"}}])
    assert check(host, told.choices).compatible


@pytest.mark.parametrize("name", MISFITS)
def test_every_alternative_that_is_listed_fits(host: PluginHost, name: str) -> None:
    layer = MISFITS[name]
    verdict = check(host, resolve(host, [layer]).choices)
    assert not verdict.compatible
    assert verdict.alternatives or name == "both"
    for alternative in verdict.alternatives:
        flag, _, said = alternative.partition(" ")
        change = parse_assignment(said) if flag == "--set" else {flag.removeprefix("--"): said}
        assert check(host, resolve(host, [layer, change]).choices).compatible, alternative


def test_the_nearest_alternative_is_a_change_of_one_option(host: PluginHost) -> None:
    verdict = check(host, resolve(host, [PER_TASK]).choices)
    assert verdict.alternatives[0] == "--set model.statistics=running"
    assert "--set stream.task_ids=true" in verdict.alternatives


def test_similar_names_are_the_nearest_of_a_kind(host: PluginHost) -> None:
    verdict = check(host, resolve(host, [{**PER_TASK, "optimizer": "bop"}]).choices)
    models = [each for each in verdict.alternatives if each.startswith("--model")]
    assert models[:2] == ["--model mlp-mixer", "--model eqprop-mlp"]
    assert verdict.nearest().count("--") == 5 + 1  # and --json


def test_a_run_that_does_not_fit_is_refused_with_what_would_fit(host: PluginHost) -> None:
    with pytest.raises(UsageError) as caught:
        require(host, resolve(host, [PER_TASK]))
    assert "model:mlp requires 'task-ids'" in str(caught.value)
    assert " What would fit: --set model.statistics=running or " in str(caught.value)
    require(host, resolve(host, []))


def test_the_matrix_holds_every_rule_with_every_optimizer(host: PluginHost) -> None:
    choices = resolve(host, []).choices
    pairs = matrix(host, choices[Kind.MODEL], choices[Kind.STREAM])
    names = {(rule.component.name, optimizer.component.name) for rule, optimizer, _ in pairs}
    rules = {c.name for _, c in host.components(Kind.RULE)}
    optimizers = {c.name for _, c in host.components(Kind.OPTIMIZER)}
    assert names == {(rule, optimizer) for rule in rules for optimizer in optimizers}
    assert {"dfa", "bp"} <= rules
    assert {"meta", "adam", "sgd"} <= optimizers


def test_the_matrix_agrees_with_single_checks(host: PluginHost) -> None:
    choices = resolve(host, [{"model": {"weights": "real"}}]).choices
    for rule, optimizer, verdict in matrix(host, choices[Kind.MODEL], choices[Kind.STREAM]):
        both = {**choices, Kind.RULE: rule, Kind.OPTIMIZER: optimizer}
        assert check(host, both).reasons == verdict.reasons
        assert set(verdict.alternatives) <= set(check(host, both).alternatives)
        if optimizer.component.name == "meta":
            assert any("binary-weights" in reason for reason in verdict.reasons)
            assert verdict.alternatives == ("--set model.weights=binary",)
