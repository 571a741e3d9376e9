"""A run is scored after some tasks, on some: it learns the same, and says what is not measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import small_runs
from small_runs import assert_same, left, left_torn

import bnnlab
from bnnlab import PluginHost, UsageError
from bnnlab.cli.display import result_lines
from bnnlab.engine.continual import measured, measures
from bnnlab.engine.experiment import Experiment
from bnnlab.interfaces.evaluations import WHOLE, Evaluations
from bnnlab.interfaces.probe import Probe
from bnnlab.settings.terms import evaluated
from bnnlab.storage import checkpoint
from bnnlab.storage.folder import read_metrics
from bnnlab.storage.rows import packed, unpacked

TASKS = 4
TINY: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 400,
    "rule": "bp",
    "optimizer": {"name": "bimu", "test_draws": 2},
    "stream": {"tasks": TASKS},
    "model": {"hidden": [8]},
}
SCORED = {
    "all": [[0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]],
    "every:1": [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]],
    "every:2": [[], [0, 1], [], [0, 1, 2, 3]],
    "last:1": [[0], [1], [2], [0, 1, 2, 3]],
    "last:2": [[0], [0, 1], [1, 2], [0, 1, 2, 3]],
    "final": [[], [], [], [0, 1, 2, 3]],
}
"""The tasks that are scored after each, where the model is not told the task."""
ALWAYS = {"average_accuracy", "recent_accuracy"}
WITH = {
    "every:1": {"learning_accuracy", "forgetting", "backward_transfer"},
    "last:1": {"learning_accuracy", "backward_transfer"},
    "last:2": {"learning_accuracy", "backward_transfer"},
}
"""What can be said beside `ALWAYS`, if not all is measured."""


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


def experiment(host: PluginHost, out: Path | None, *layers: dict[str, Any]) -> Experiment:
    return small_runs.experiment(host, out, TINY, *layers)


@pytest.fixture(scope="module")
def whole(host: PluginHost) -> dict[str, Any]:
    return experiment(host, None).run().as_dict()


@pytest.mark.parametrize("evaluate", [it for it in SCORED if it != "all"])
def test_what_is_measured_is_as_with_all_and_the_rest_is_none(
    evaluate: str, host: PluginHost, tmp_path: Path, whole: dict[str, Any]
) -> None:
    result = experiment(host, tmp_path, {"evaluate": evaluate}).run()
    cells = [
        [value if on in SCORED[evaluate][after] else None for on, value in enumerate(row)]
        for after, row in enumerate(whole["accuracy"])
    ]
    assert result.accuracy == cells
    assert result.untrained_accuracy == [None] * TASKS
    numbers = {k for k, v in measures(whole["accuracy"], [0.0] * TASKS).items() if type(v) is float}
    there = ALWAYS | WITH.get(evaluate, set())
    assert {name for name in numbers if result[name] is not None} == there
    assert {name: result[name] for name in there} == {name: whole[name] for name in there}
    known = measured(Evaluations.of(*evaluated(evaluate), True), TASKS, False)
    assert {name for name in numbers if known[name] is not None} == there
    assert [[each is None for each in row] for row in known["accuracy"]] == [
        [each is None for each in row] for row in cells
    ]
    for name in ("uncertainty", "flips", "diagnostics"):
        assert result[name] == whole[name]
    text = "\n".join(str(each) for each in result_lines(result.as_dict()))
    assert f"-: not measured (evaluate = {evaluate})" in text
    assert f"-: not measured (evaluate = {evaluate})" in result._repr_html_()
    lines = [line for line in read_metrics(tmp_path / "run") if line["event"] == "evaluation"]
    assert [line["accuracy"] for line in lines] == cells
    assert ["uncertainty" in line for line in lines] == [len(row) > 0 for row in SCORED[evaluate]]
    assert [line["flips"] for line in lines] == whole["flips"]
    stored = json.loads((tmp_path / "run/result.json").read_text(), object_hook=unpacked)
    assert {**stored, "seconds": 0} == {**result.as_dict(), "seconds": 0}


def test_files_hold_no_row_of_what_was_not_measured(host: PluginHost, tmp_path: Path) -> None:
    experiment(host, tmp_path, {"evaluate": "last:1", "probe": "top-k"}).run()
    lines = small_runs.metrics(tmp_path / "run")
    rows = [line["accuracy"] for line in lines if line["event"] == "evaluation"]
    assert rows[1] == {"form": 1, "length": TASKS, "from": 1, "values": [rows[1]["values"][0]]}
    tops = [line["top_k_accuracy"] for line in lines if line["event"] == "evaluation"]
    assert tops[2] == {"form": 1, "length": 3, "from": 2, "values": [tops[2]["values"][0]]}
    assert type(tops[3]) is type(rows[3]) is list
    result = small_runs.read_json(tmp_path / "run/result.json")
    assert result["accuracy"] == rows
    progress = checkpoint.read(tmp_path / "run" / checkpoint.CHECKPOINT)["progress"]
    assert progress["accuracy"] == rows
    for row in ([None, None], [None, 0.5, None, 0.25, None], [0.5], [], [[None, 1], [1, 2]], 3):
        assert json.loads(json.dumps(packed(row)), object_hook=unpacked) == row
    with pytest.raises(ValueError, match="form 2, of another version"):
        unpacked({"form": 2, "length": 1, "from": 0, "values": []})


def test_it_goes_on_from_every_checkpoint_bit_for_bit(
    host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnnlab.engine.evaluation.HELD_EXAMPLES", 1)  # after every scored task
    said = {"evaluate": "last:2", "probe": ["top-k", "confusion"], "checkpoint_minutes": 0}
    said |= {"stream": {"tasks": 3}}
    whole = left(experiment(host, tmp_path / "whole", said))
    torn, crashes = left_torn(host, experiment(host, tmp_path / "torn", said), monkeypatch)
    assert crashes > 3 * 4
    assert_same(torn, whole)


def test_the_protocol_says_what_is_scored_where_it_is_not_all(host: PluginHost) -> None:
    def hash_of(*layers: dict[str, Any]) -> str:
        from bnnlab.interfaces.stream import protocol_hash

        return protocol_hash(experiment(host, None, *layers).origin.protocol)

    told, one = {"stream": {"task_ids": True}}, {"stream": {"tasks": 1}}
    words = [{"evaluate": word} for word in SCORED]
    assert len({hash_of(word) for word in words}) == len(words)
    assert hash_of({"forward": False}) == hash_of({"evaluate": "every:1"})
    assert hash_of(told) == hash_of(told, {"evaluate": f"last:{TASKS}"})
    assert hash_of(told) == hash_of(told, {"forward": False})
    assert len({hash_of(one, word) for word in words}) == 1
    scored = experiment(host, None, {"evaluate": "last:2"}).origin.protocol["scored"]
    assert scored == "the last 2 tasks learned, after each task; all after the last"
    assert "scored" not in experiment(host, None).origin.protocol


def test_without_forward_transfer_no_task_is_scored_before_it_is_learned(host: PluginHost) -> None:
    result = experiment(host, None, {"forward": False}).run()
    assert [sum(it is not None for it in row) for row in result.accuracy] == [1, 2, 3, 4]
    assert result.forward_transfer is None
    assert result.forgetting is not None


class Deaf(Probe):
    """Hears of tasks, and not of predictions."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    def evaluated(self, at: Any, accuracy: Any) -> dict[str, Any]:
        self.rows.append(accuracy)
        return {}

    def measures(self) -> dict[str, Any]:
        return {f"{type(self).__name__}_rows": self.rows}


class Hearing(Deaf):
    """Hears of predictions, too."""

    def predicted(self, at: Any, task: Any, prediction: Any) -> None:
        """Needs one."""


def test_probes_that_hear_predictions_hear_of_no_evaluation_without(host: PluginHost) -> None:
    said: dict[str, Any] = {"evaluate": "every:2", "out": None}
    result = bnnlab.run({**small_runs.SMALL, **TINY, **said}, probe=[Deaf(), Hearing()])
    assert result["Deaf_rows"] == result.accuracy
    assert result["Hearing_rows"] == [result.accuracy[1], result.accuracy[3]]


def test_a_task_that_is_not_scored_is_said_to_be_learned(
    host: PluginHost, capsys: pytest.CaptureFixture[str]
) -> None:
    from bnnlab.cli.display import Display

    display = Display(experiment(host, None))
    display.bnnlab_task_ended(1, [None] * TASKS)
    display.bnnlab_task_ended(2, [None, 0.5, 0.25, None])
    said = capsys.readouterr().err.splitlines()
    assert said[0].strip() == "task 2/4 learned"
    assert said[1].endswith("25.0 % on it, 37.5 % on average over the last 2")


def test_words_of_another_form_are_refused(host: PluginHost) -> None:
    assert [evaluated(it) for it in ("all", "final", "every:3", "last:12")] == [
        ("all", 0),
        ("final", 0),
        ("every", 3),
        ("last", 12),
    ]
    for text in ("last", "last:0", "every:-1", "all:2", "last:1.5", "final ", "last:05"):
        with pytest.raises(UsageError, match=r"evaluate: .* is none of all, every:K, last:N"):
            experiment(host, None, {"evaluate": text})
    with pytest.raises(UsageError, match="forward is for evaluate = all, and"):
        experiment(host, None, {"evaluate": "last:5", "forward": False})


def test_after_the_last_task_all_are_scored() -> None:
    for each in (WHOLE, Evaluations(0), Evaluations(3), Evaluations(1, 2)):
        assert [*each.after(6, 7)] == [*range(7)]
    assert [len(Evaluations(3).after(t, 8)) for t in range(8)] == [0, 0, 3, 0, 0, 6, 0, 8]
