"""What a protocol holds and what it does not, and how two of them are told apart in words."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import experiment, resume
from torch import Tensor

from bnnlab import PluginHost, UsageError, stream_from
from bnnlab.engine.differences import in_words
from bnnlab.interfaces.stream import protocol_hash
from bnnlab.settings.text import read_config
from bnnlab_testing.pytest_plugin import MakePlugin

RESULTS = Path(__file__).parents[1] / "docs" / "results"
REPLAY = """
from bnnlab import Component, hookimpl
from bnnlab.registry.declaration import Option

@hookimpl
def bnnlab_components():
    return [Component(
        "rule", "acme-replay", "remembering:Replay", "Replays.", "nobody",
        options=(
            Option("size", int, 30, "Examples."),
            Option("policy", str, "reservoir", "Which."),
            Option("logits", bool, False, "Whether."),
        ),
        provides=frozenset({"gradients", "reevaluable"}),
    )]
"""


@pytest.fixture
def host(make_plugin: MakePlugin) -> PluginHost:
    make_plugin("acme-replay", REPLAY)
    return PluginHost()


def protocol(host: PluginHost, *layers: dict[str, Any]) -> dict[str, Any]:
    usual = {"rule": "bp", "optimizer": "adam"}
    return experiment(host, None, usual, *layers).origin.protocol


OTHER: dict[str, dict[str, Any]] = {
    "stream.tasks: 2 against 3": {"stream": {"tasks": 3}},
    "stream: permuted against split": {"stream": "split-digits"},
    "epochs: 2 against 3": {"epochs": 3},
    "batch size: 200 against 50": {"batch_size": 50},
    "task known at test: no against yes": {"stream": {"task_ids": True}},
    "training images of earlier tasks used again: no against yes": {
        "model": {"norm": "batch", "statistics": "recalibrated"}
    },
    "memory: none against 30 examples (reservoir)": {"rule": "acme-replay"},
    "memory: none against 30 examples (with logits, reservoir)": {
        "rule": {"name": "acme-replay", "logits": True}
    },
    "memory: none against 50 examples (balanced)": {
        "rule": {"name": "acme-replay", "size": 50, "policy": "balanced"}
    },
    "score: top-1 accuracy of the deployed weights on each task's whole test part against top-1 "
    "accuracy of the mean of 3 weight draws on each task's whole test part": {
        "optimizer": {"name": "bayesbinn", "test_draws": 3}
    },
    "score: top-1 accuracy of the deployed weights on each task's whole test part against top-1 "
    "accuracy of the deployed weights on each task's whole validation part": {
        "stream": {"validation": 0.2},
        "evaluate_on": "validation",
    },
}


def test_what_is_learned_from_and_how_it_is_scored_make_the_hash(host: PluginHost) -> None:
    usual = protocol(host)
    found = {said: protocol(host, settings) for said, settings in OTHER.items()}
    for said, other in found.items():
        assert said in in_words(usual, other)
    hashes = {protocol_hash(each) for each in (usual, *found.values())}
    assert len(hashes) == 1 + len(OTHER)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 9},
        {"rule": "dfa"},
        {"optimizer": {"name": "meta", "m": 3.0, "gradient_clip": 1.0}},
        {"model": {"hidden": [8, 8]}},
        {"threads": 1, "checkpoint_minutes": 0.0, "uncertainty": True},
    ],
)
def test_what_is_compared_is_no_part_of_it(host: PluginHost, settings: dict[str, Any]) -> None:
    assert protocol(host, settings) == protocol(host)
    assert "memory" not in protocol(host, settings)


def test_the_hash_of_the_demo_is_that_of_its_page(host: PluginHost) -> None:
    """No key that came later changed it."""
    study = read_config(RESULTS / "demo" / "study.toml")
    settings = {key: it for key, it in study.items() if key not in ("sweep", "table")}
    settings["model"] = {"name": "mlp", "hidden": [128, 128]}
    found = protocol_hash(protocol(host, {"epochs": 5, "batch_size": 100}, settings))
    assert f"Protocol `{found}`" in (RESULTS / "demo.md").read_text()


def test_every_kept_result_has_the_hash_of_its_description() -> None:
    for file in RESULTS.rglob("*.json"):
        kept = json.loads(file.read_text())
        if "protocol_description" in kept:  # the oldest have the hash alone
            assert protocol_hash(kept["protocol_description"]) == kept["protocol"], file


def test_the_weights_after_the_last_step_are_the_result(host: PluginHost) -> None:
    """Whatever was scored meanwhile, nothing is chosen by it."""
    run = experiment(host, None, {"stream": {"validation": 0.2}})
    weights: dict[str, Tensor] = {}

    def stepped(*_: int) -> None:
        weights.update({name: it.clone() for name, it in run.made.model.state_dict().items()})

    result = run.run(stepped)
    for name, value in result.model.state_dict().items():
        assert torch.equal(value, weights[name])


# -------------------------------------------------------------------- in words

X, Y = torch.arange(24.0).view(8, 3), torch.arange(8) % 2
DATA = {"name": "digits", "digest": "9cf0f86b0d6b1a9e", "train": 1437}


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({}, {}, []),
        ({"epochs": 5}, {"epochs": 5}, []),
        ({"stream": {"data": (1, 2)}}, {"stream": {"data": [1, 2]}}, []),
        ({"epochs": 5, "batch_size": 10}, {"epochs": 2, "batch_size": 10}, ["epochs: 5 against 2"]),
        (
            {"stream": {"data": [DATA]}},
            {"stream": {"data": [{**DATA, "digest": "0" * 16, "train": 9}]}},
            ["data of the stream: another content", "stream.data.0.train: 1437 against 9"],
        ),
        (
            {"stream": {"scenario": "split", "data": [DATA], "tasks": 5}, "epochs": 1},
            {"stream": {"scenario": "single", "data": []}, "epochs": 2},
            ["stream: split against single", "epochs: 1 against 2"],
        ),
        (
            {"files": {"rule.teacher": "9cf0f86b0d6b1a9e"}},
            {"files": {"rule.teacher": "0" * 16}},
            ["file.rule.teacher: another content"],
        ),
        ({"stream": {"unknown": "mnist"}}, {"stream": {}}, ["stream.unknown: mnist against none"]),
        ({"odd": [1]}, {"odd": "x"}, ["odd: [1] against x"]),
        ({"sizes": [1, 2]}, {"sizes": [1]}, ["sizes: [1, 2] against [1]"]),
        ({"odd": {}}, {}, ["odd: empty against none"]),
        ({}, {"odd": []}, ["odd: none against []"]),
        (
            {"stream": {"data": [DATA], "last": [*range(99), 0]}},
            {"stream": {"data": [DATA, DATA], "last": [*range(99), 1]}},
            ["stream.data: digits against digits, digits", "data of the stream: another content"],
        ),
        (
            {"files": {}},
            {"files": {"rule.teacher": "0" * 16}},
            ["file.rule.teacher: none against some"],
        ),
    ],
)
def test_protocols_are_told_apart_in_words(one: Any, other: Any, said: list[str]) -> None:
    assert in_words(one, other) == said


OWN: list[tuple[dict[str, Any], list[str]]] = [
    ({"normalise": "none"}, ["stream.normalise: the default against not at all"]),
    (
        {"normalise": (0, [1, 2, 4])},
        ["stream.normalise: the default against mean [0.0, 0.0, 0.0], std [1.0, 2.0, 4.0]"],
    ),
    (
        {"validation": 0.5},
        ["data of the stream: another content", "stream.tasks.validation: none against some"],
    ),
    ({"tasks": 2}, ["stream.tasks: 1 against 2", "data of the stream: another content"]),
]


@pytest.mark.parametrize(("given", "said"), OWN)
def test_streams_of_ones_own_are_told_apart_in_words(given: Any, said: list[str]) -> None:
    usual = {"train": (X, Y), "test": (X, Y)}
    one, other = ({"stream": stream_from(**{**usual, **each}).protocol()} for each in ({}, given))
    assert in_words(one, other) == said


def test_a_run_that_is_not_continued_says_where_its_protocol_differs(
    host: PluginHost, tmp_path: Path
) -> None:
    experiment(host, tmp_path, {"rule": "acme-replay", "epochs": 1}).run()
    file = tmp_path / "run" / "run.toml"
    file.write_text(file.read_text().replace("size = 30", "size = 40"))
    with pytest.raises(UsageError, match=r"rule, protocol; memory: 30 examples .* against 40"):
        resume(host, tmp_path / "run")
