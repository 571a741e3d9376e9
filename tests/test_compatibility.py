"""Components that do not fit are refused, with changes that really do."""

import shlex
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest

import bnnlab
from bnnlab import Kind, PluginHost, UsageError
from bnnlab.cli.choosing import layer
from bnnlab.registry.recipes import find_recipe
from bnnlab.settings.fit import check, matrix, require
from bnnlab.settings.layers import Layer, resolve
from bnnlab_testing.pytest_plugin import MakePlugin


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginHost]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.delenv("BNNLAB_DISABLE", raising=False)
        yield PluginHost()


PER_TASK = {"model": {"norm": "batch", "statistics": "per-task"}}
REAL, BATCH = "model.weights=real", ["model.norm=batch", "model.statistics=per-task"]
SAID: dict[str, list[str]] = {
    "one option": [REAL],
    "an option that is also said of what is changed": [REAL, "optimizer.lr=0.1"],
    "an option that others do not have": [REAL, "optimizer.m=0.5"],
    "options of the rule and the stream": [REAL, "rule.feedback=normal", "stream.tasks=3"],
    "a part and its options": ["optimizer.base=mesu", "optimizer.base.clamp=none"],
    "a rule around another": ["rule.base=dfa", "rule.base.feedback=normal", REAL],
    "statistics": BATCH,
    "statistics and weights": [*BATCH, REAL],
}
RECIPE = "metaplasticity/permuted-mnist"
ALIKE = sorted(SAID.keys() - {"a part and its options"})
"""What is proposed over a recipe is made as for the others."""


def say(words: list[str]) -> dict[str, Any]:
    """Return the settings of the flags of a command line."""
    flags = list(zip(words[::2], words[1::2], strict=True))
    kinds = {flag.removeprefix("--"): value for flag, value in flags if flag != "--set"}
    return dict(layer({**kinds, "set": [value for flag, value in flags if flag == "--set"]}))


def follow(words: list[str], proposal: str) -> list[str]:
    """Return a command line after a proposal: what sets the same is replaced, and what it names."""
    change, _, without = proposal.partition(" without ")
    flag, value = shlex.split(change)
    place = value.partition("=")[0] if flag == "--set" else ""
    pairs = dict.fromkeys(zip(words[::2], words[1::2], strict=True))
    for text in shlex.split(without)[1::2]:
        del pairs["--set", text]
    kept = [
        pair for pair in pairs if pair[0] != flag or (place and pair[1].partition("=")[0] != place)
    ]
    return [word for pair in [*kept, (flag, value)] for word in pair]


def test_the_defaults_fit(host: PluginHost) -> None:
    verdict = check(host, resolve(host, []))
    assert verdict.compatible
    assert (verdict.reasons, verdict.alternatives) == ((), ())


def test_per_task_statistics_need_a_stream_that_gives_the_task(host: PluginHost) -> None:
    verdict = check(host, resolve(host, [PER_TASK]))
    assert not verdict.compatible
    assert verdict.reasons == (
        "model:mlp requires 'task-ids' (because of model.statistics=per-task)",
    )
    told = resolve(host, [PER_TASK, {"stream": {"task_ids": True}}])
    assert check(host, told).compatible
    told = resolve(host, [PER_TASK, {"stream": {"name": "split-digits", "incremental": "task"}}])
    assert check(host, told).compatible


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        *(
            pytest.param(name, None, marks=[pytest.mark.slow] * name.startswith("statistics"))
            for name in SAID
        ),
        ("a part and its options", RECIPE),
        *(pytest.param(name, RECIPE, marks=pytest.mark.slow) for name in ALIKE),
    ],
)
def test_every_proposal_is_accepted_if_it_is_followed(
    host: PluginHost, name: str, recipe: str | None
) -> None:
    below = [Layer(find_recipe(host, recipe).settings)] if recipe else []
    refused = 0
    for rule in ("dfa", "replay"):
        for optimizer in ("meta", "mesu", "ewc"):
            words = ["--rule", rule, "--optimizer", optimizer]
            words += [word for text in SAID[name] for word in ("--set", text)]
            try:
                verdict = check(host, resolve(host, [*below, say(words)]))
            except UsageError:  # it has no such option
                continue
            refused += not verdict.compatible
            for proposal in verdict.alternatives:
                followed = follow(words, proposal)
                assert check(host, resolve(host, [*below, say(followed)])).compatible, (
                    words,
                    proposal,
                )
    assert refused


def test_an_option_that_was_said_is_named_as_the_cause(host: PluginHost) -> None:
    words = ["--optimizer", "meta", "--set", REAL, "--set", "optimizer.m=0.5"]
    verdict = check(host, resolve(host, [say(words)]))
    assert verdict.reasons[0].endswith(", which model.weights=real does not provide")
    assert "--model mlp-mixer" not in verdict.alternatives
    assert "--model mlp-mixer without --set model.weights=real" in verdict.alternatives
    assert "--optimizer mesu without --set optimizer.m=0.5" in verdict.alternatives
    assert "--optimizer mesu" in check(host, resolve(host, [say(words[:4])])).alternatives


def test_what_is_proposed_can_be_given_to_a_shell(host: PluginHost) -> None:
    words = ["--optimizer", "meta", "--set", REAL, "--set", "model.hidden=[32, 32]"]
    verdict = check(host, resolve(host, [say(words)]))
    proposal = "--model mlp-mixer without --set model.weights=real --set 'model.hidden=[32, 32]'"
    assert proposal in verdict.alternatives


def test_that_no_change_fits_is_said(make_plugin: MakePlugin) -> None:
    source = """
        from bnnlab import Component, Kind, hookimpl

        @hookimpl
        def bnnlab_components():
            needs = frozenset({"x-acme-odd:one"})
            return [
                Component(kind, f"odd-{kind}", "acme:Thing", "Odd.", "Nobody", [], requires=needs)
                for kind in (Kind.RULE, Kind.OPTIMIZER)
            ]
    """
    make_plugin("acme-odd", dedent(source))
    host = PluginHost()
    with pytest.raises(UsageError, match="What would fit: no change of one option or of one comp"):
        require(host, resolve(host, [{"rule": "odd-rule", "optimizer": "odd-optimizer"}]))


def test_a_call_is_refused_with_what_is_accepted() -> None:
    options = {"model.weights": "real", "model.hidden": [8]}
    said: dict[str, Any] = {"optimizer": "meta", "stream": "digits", "epochs": 1, "set": options}
    with pytest.raises(UsageError, match=r"What would fit: .* or --optimizer mesu or ") as caught:
        bnnlab.run(**said)
    assert "--model" not in str(caught.value)
    assert bnnlab.run(**{**said, "optimizer": "mesu"}).status == "complete"


def test_the_nearest_alternative_is_a_change_of_one_option(host: PluginHost) -> None:
    verdict = check(host, resolve(host, [PER_TASK]))
    assert verdict.alternatives[0] == "--set model.statistics=running"
    assert "--set stream.task_ids=true" in verdict.alternatives


def test_similar_names_are_the_nearest_of_a_kind(host: PluginHost) -> None:
    verdict = check(host, resolve(host, [{**PER_TASK, "optimizer": "bop"}]))
    models = [each.split()[1] for each in verdict.alternatives if each.startswith("--model")]
    assert models[:2] == ["mlp-mixer", "eqprop-mlp"]
    assert verdict.nearest().count(" or ") == 5 - 1
    left = len(verdict.alternatives) - 5
    assert verdict.nearest().endswith(f"({left} more: `bnn check --json` with these settings)")


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


@pytest.mark.slow
def test_the_matrix_agrees_with_single_checks(host: PluginHost) -> None:
    real = resolve(host, [{"model": {"name": "mlp", "weights": "real"}}])
    for rule, optimizer, verdict in matrix(
        host, real.choices[Kind.MODEL], real.choices[Kind.STREAM]
    ):
        if rule.component.name not in ("dfa", "replay"):
            continue
        both = {"rule": rule.component.name, "optimizer": optimizer.component.name}
        single = check(host, resolve(host, [*real.places, both]))
        assert single.reasons == verdict.reasons
        assert {*verdict.alternatives} <= {*single.alternatives}
        if optimizer.component.name == "meta":
            assert any("binary-weights" in reason for reason in verdict.reasons)
            assert verdict.alternatives == ("--set model.weights=binary",)
