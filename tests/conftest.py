"""Isolation: what the user of this machine configured does not reach the tests; and `bnn`."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest


@pytest.fixture(scope="session")
def config_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the one folder for all tests: a new one for each takes longer than many of them."""
    return tmp_path_factory.mktemp("config")


@pytest.fixture(autouse=True)
def user_config(config_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of the user's registry.toml, empty; subprocesses see it too."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config_home))
    monkeypatch.delenv("BNNLAB_DISABLE", raising=False)
    from bnnlab.registry.index import user_file

    folder = user_file().parent
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Bnn = Callable[..., Answer]


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own: nothing is written to the checkout, and no data are there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNLAB_DATA", str(tmp_path / "data"))
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "PY_COLORS", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def bnn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bnn:
    """Return what calls a command in this process, before a wide terminal."""
    from bnnlab.cli import main

    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> Answer:
        return Answer(main(words), *capsys.readouterr())

    return call


@pytest.fixture
def document(bnn: Bnn) -> Callable[..., Any]:
    """Return the one JSON document that a command prints."""

    def call(*words: str, code: int = 0) -> Any:
        answer = bnn(*words, "--json")
        assert answer.code == code, answer.err

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(answer.out, parse_constant=refuse)

    return call


@pytest.fixture
def seeded() -> Iterator[None]:
    """Seed torch's global generator for the test, and put it back."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Downloads are refused at once, by this machine."""
    from torchvision import datasets

    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        for kind in (datasets.MNIST, datasets.FashionMNIST):
            monkeypatch.setattr(kind, "mirrors", [address])
        yield
