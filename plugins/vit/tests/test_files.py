"""What a run reads besides its stream is in its protocol, and compared where it is continued."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import bnnlab
from bnnlab import UsageError
from bnnlab.engine.experiment import Experiment
from bnnlab.engine.preparing import prepare
from bnnlab.registry.host import PluginHost
from bnnlab.settings.layers import resolve
from bnnlab.storage.checkpoint import CHECKPOINT, digest, read, save
from bnnlab.storage.folder import RunFolder

SIZES = {"patch": 4, "dim": 8, "depth": 1, "heads": 2}
STREAM = {"name": "split-digits", "tasks": 2, "validation": 0.9}


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost()


def settings(**more: Any) -> dict[str, Any]:
    learner = {"rule": "bp", "optimizer": "adam", "model": {"name": "vit", **SIZES}}
    return {**learner, "stream": STREAM, "device": "cpu", "out": "none", **more}


def make(host: PluginHost, **more: Any) -> Experiment:
    return prepare(host, resolve(host, [settings(**more)]))


@pytest.fixture
def before(host: PluginHost, tmp_path: Path) -> Path:
    """The folder of a run of `vit`."""
    make(host, out=str(tmp_path), name="before").run()
    return tmp_path / "before"


def interrupt(run: Experiment, at: int) -> Path:
    """Interrupt a run in its task `at`, from 0."""

    def stop(task: int, *_: int) -> None:
        if task == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(stop)
    assert run.folder is not None
    return run.folder.path


def resume(host: PluginHost, folder: Path) -> Experiment:
    config = resolve(host, [tomllib.loads((folder / "run.toml").read_text())])
    return prepare(host, config, RunFolder(folder))


def change(run: Path) -> None:
    save(run, {**read(run / CHECKPOINT), "more": 1})


def begun(before: Path) -> dict[str, Any]:
    return {"name": "bvit", **SIZES, "checkpoint": str(before)}


@pytest.mark.slow
def test_weights_to_begin_with_and_a_teacher_are_in_the_protocol(
    host: PluginHost, before: Path
) -> None:
    alone = make(host).run()
    pretrained = make(host, model=begun(before)).run()
    taught = make(host, rule={"name": "distill", "teacher": str(before)}).run()
    assert len({alone.protocol, pretrained.protocol, taught.protocol}) == 3
    assert "files" not in alone.protocol_description
    assert list(pretrained.protocol_description["files"]) == ["model.checkpoint"]
    change(before)
    assert make(host, model=begun(before)).run().protocol != pretrained.protocol


def test_a_run_with_another_teacher_is_not_continued(
    host: PluginHost, before: Path, tmp_path: Path
) -> None:
    rule = {"name": "distill", "teacher": str(before)}
    folder = interrupt(make(host, rule=rule, out=str(tmp_path), name="torn"), at=1)
    change(before)
    said = r"a file that it names changed .* \(protocol; file.rule.teacher: another content\)"
    with pytest.raises(UsageError, match=said):
        resume(host, folder)


@pytest.mark.slow
def test_weights_to_begin_with_are_not_needed_to_go_on(
    host: PluginHost, before: Path, tmp_path: Path
) -> None:
    whole = make(host, model=begun(before)).run()
    folder = interrupt(make(host, model=begun(before), out=str(tmp_path), name="torn"), at=1)
    before.rename(tmp_path / "elsewhere")
    resumed = resume(host, folder).run()
    assert (resumed.accuracy, resumed.protocol) == (whole.accuracy, whole.protocol)


def test_fresh_models_begin_with_them_too(host: PluginHost, before: Path, tmp_path: Path) -> None:
    run = make(host, model=begun(before), fresh=True, out=str(tmp_path), name="torn")
    folder = interrupt(run, at=1)
    change(before)
    with pytest.raises(UsageError, match="a file that it names changed"):
        resume(host, folder)


def test_a_run_without_a_checkpoint_yet_begins_with_them(
    host: PluginHost, before: Path, tmp_path: Path
) -> None:
    run = make(host, model=begun(before), out=str(tmp_path), name="torn")
    state = {name: value.clone() for name, value in run.made.model.state_dict().items()}
    again = resume(host, interrupt(run, at=0))
    for name, value in again.made.model.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_folder_that_is_no_run_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a").write_text("a")
    first = digest(folder)
    assert first == digest(folder)
    (folder / "inner" / "a").write_text("b")
    assert digest(folder) != first


def test_what_is_loaded_needs_no_stream(host: PluginHost, before: Path) -> None:
    """Where a run is only looked at, its optimizer and stream need not be installed."""
    x = torch.randn(3, 1, 8, 8)
    logits = bnnlab.load(before, host=host)(x)
    file = before / "run.toml"
    text = file.read_text()
    file.write_text(text.replace("split-digits", "gone").replace("adam", "lost"))
    assert "gone" in file.read_text()
    assert torch.equal(bnnlab.load(before, host=host)(x), logits)
