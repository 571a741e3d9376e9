"""The setting `track`: how it is written, what it is part of, and what it is not."""

from pathlib import Path
from typing import Any

import pytest
import tomli
from small_runs import SMALL, experiment, metrics

import bnnlab
from bnnlab import PluginHost
from bnnlab.cli import main
from bnnlab.errors import UsageError
from bnnlab.settings.isolation import named_plugins
from bnnlab.settings.layers import resolve
from bnnlab.settings.schema import run_schema
from bnnlab_studies.cells import departures, digest
from bnnlab_testing.pytest_plugin import MakePlugin

PLUGIN = """
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

@hookimpl
def bnnlab_components():
    return [Component(Kind.TRACKER, "count", "acme_counting:Count", "Counts.", "an example")]
"""
TRACKER = '''
from bnnlab_tracking.tracker import Tracker

class Count(Tracker):
    """Counts.

    Args:
        unit: What is counted.
        **options: Of every tracker.
    """
    def __init__(self, unit: str = "lines", **options):
        super().__init__(**options)
        self.unit, self.count = unit, 0
    def start(self, run):
        self._file = run.folder / self.unit
    def log(self, index, line):
        self.count += 1
    def finish(self, status, result):
        self._file.write_text(f"{status} {self.count}")
'''
NAME = "acme-counter/count"


@pytest.fixture(autouse=True)
def counter(make_plugin: MakePlugin) -> None:
    make_plugin("acme-counter", PLUGIN, modules={"acme_counting": TRACKER})


@pytest.mark.parametrize(
    "said",
    ["count", ["count"], [{"name": NAME}], {"count": {}}, {NAME: {"unit": "lines"}}],
    ids=repr,
)
def test_trackers_are_named_in_every_form_of_a_run_file(said: Any) -> None:
    config = resolve(PluginHost(), [{"track": said}])
    assert config.as_dict()["track"] == {NAME: {"unit": "lines", "patience": 60.0}}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("cuont", "unknown tracker 'cuont'. Did you mean 'count'?"),
        ({"count": {"unti": "x"}}, "track.count.unti: no such option of count. Did you mean"),
        ([3], "track: [3] is neither a list of names nor tables of options by name."),
    ],
)
def test_wrong_trackers_are_refused_by_name(said: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve(PluginHost(), [{"track": said}])
    assert message in str(refused.value)


def test_a_run_that_writes_no_files_has_nothing_to_track(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r'out is none. Set out, .* or out="runs" in Python'):
        bnnlab.run(SMALL, track="count")
    monkeypatch.setenv("BNNLAB_DISABLE", "bnnlab-tracking")
    with pytest.raises(UsageError, match="needs bnnlab-tracking, which is disabled"):
        bnnlab.run(SMALL, track="count", out="runs")


def test_a_tracker_is_no_part_of_what_a_run_is(tmp_path: Path) -> None:
    host = PluginHost()
    plain, own = (
        experiment(host, tmp_path / str(n), {"track": said}) for n, said in enumerate(([], "count"))
    )
    assert plain.origin.identity == own.origin.identity
    assert plain.origin.versions == own.origin.versions
    one, other = plain.config.as_dict(), own.config.as_dict()
    assert "track" not in one
    assert digest(one) == digest(other)
    assert not departures(one, other)
    assert not departures({**other, "track": {NAME: {"unit": "x"}}}, other)


def test_the_isolated_run_and_the_schema_know_trackers() -> None:
    host = PluginHost()
    assert {"acme-counter", "bnnlab-tracking"} <= named_plugins(host.index, [{"track": NAME}])
    assert "bnnlab-tracking" not in named_plugins(host.index, [{}])
    *forms, several, tables = run_schema(host)["properties"]["track"]["anyOf"]
    place = next(n for n, form in enumerate(forms) if form.get("enum") == ["count", NAME])
    name, table = forms[place : place + 2]
    assert table["properties"]["unit"] == tables["properties"][NAME]["properties"]["unit"]
    assert several["items"]["anyOf"] == forms
    assert table["properties"]["name"] == name


@pytest.mark.slow
def test_the_command_line_names_trackers_also_for_a_run_that_goes_on(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--stream", "digits", "--epochs", "1", "--name", "run", "-q"]
    words += ["--track", "count", "--set", "track.count.unit=mine", "--set", "model.hidden=[8]"]
    assert main(["run", *words]) == 0
    run = own_folder / "runs" / "run"
    count = len(metrics(run))
    assert (run / "mine").read_text() == f"complete {count}"
    assert tomli.loads((run / "run.toml").read_text())["track"][NAME]["unit"] == "mine"
    assert main(["run", "--resume", str(run), "--set", "track.count.unit=more"]) == 0
    assert (run / "more").read_text() == f"complete {count}"  # it was shown elsewhere before
    assert main(["run", "--resume", str(run), "--set", "track.count.unit=more"]) == 0
    assert (run / "more").read_text() == "complete 0"
    assert tomli.loads((run / "run.toml").read_text())["track"][NAME]["unit"] == "more"
    assert main(["run", "--resume", str(run), "--track", "count", "--seed", "1"]) == 2
    assert "and only --track from the command line" in capsys.readouterr().err
    assert main(["info", "track", "count", "--set", "track.count.unit=x"]) == 0
    assert (
        "Example: bnn run --track count --set 'track.count.unit=lines'" in capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_tracker_that_a_complete_run_is_given_later_gets_all_of_it_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bnnlab.run(SMALL, out=tmp_path, name="run")
    run = tmp_path / "run"
    before = tomli.loads((run / "run.toml").read_text())
    assert main(["run", "--resume", str(run), "--track", "count", "--quiet"]) == 0
    said, lines = capsys.readouterr().err, len(metrics(run))
    assert (run / "lines").read_text() == f"complete {lines}"
    assert "only its result is written again, and its trackers get what they lack" in said
    assert said.endswith(f"note: track count: all {lines} lines are delivered\n")
    tracked = {"track": {NAME: {"unit": "lines", "patience": 60.0}}}
    assert tomli.loads((run / "run.toml").read_text()) == {**before, **tracked}
    (run / "lines").unlink()
    assert main(["run", "--resume", str(run), "--quiet"]) == 0
    assert (run / "lines").read_text() == "complete 0"  # none was left to deliver
