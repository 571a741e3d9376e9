"""KMNIST, EMNIST, USPS and SVHN: read, and downloaded from a server on this machine."""

import bz2
import gzip
import hashlib
import socket
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from scipy.io import savemat
from small_data import write_mnist
from torchvision import datasets

from bnnlab.errors import DataError
from bnnlab_vision.contracts import idx
from bnnlab_vision.datasets import EMNIST, SOURCES, find_source
from bnnlab_vision.files import Reader, find
from bnnlab_vision.source import Dataset

CPU = torch.device("cpu")


def load(name: str, data: Path) -> Dataset:
    return find_source(name).load(data, CPU, seed=0)


def images(dataset: Dataset) -> list[np.ndarray]:
    """Return training pixels and labels, then those of test."""
    parts = dataset.train, dataset.test
    return [it.numpy() for part in parts for it in part.raw(torch.arange(len(part)))]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """Serve a folder on this machine; give it and its address."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = partial(Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


Given = tuple[Path, str]
Patch = pytest.MonkeyPatch


def serve_kmnist(given: Given, patch: Patch, tmp: Path) -> list[np.ndarray]:
    folder, address = given
    written = write_mnist(tmp / "origin", "KMNIST")
    resources = []
    for file in sorted((tmp / "origin" / "KMNIST" / "raw").iterdir()):
        packed = gzip.compress(file.read_bytes(), mtime=0)
        (folder / f"{file.name}.gz").write_bytes(packed)
        resources.append((f"{file.name}.gz", md5(packed)))
    patch.setattr(datasets.KMNIST, "mirrors", [address])
    patch.setattr(datasets.KMNIST, "resources", resources)
    return [written[0][:, None], written[1], written[2][:, None], written[3]]


def serve_emnist(given: Given, patch: Patch, tmp: Path) -> list[np.ndarray]:
    """Letters have labels from 1, and images are stored with rows and columns exchanged."""
    folder, address = given
    random, letters = np.random.RandomState(0), []
    with zipfile.ZipFile(folder / "gzip.zip", "w") as packed:
        for subset in EMNIST:
            first = int(subset == "letters")
            for part, count in (("train", 60), ("test", 30)):
                pixels = random.randint(0, 256, (count, 28, 28)).astype(np.uint8)
                labels = (np.arange(count) % 10).astype(np.uint8) + first
                stem = f"gzip/emnist-{subset}-{part}"
                packed.writestr(f"{stem}-images-idx3-ubyte.gz", gzip.compress(idx(pixels)))
                packed.writestr(f"{stem}-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))
                if subset == "letters":
                    letters += [pixels.transpose(0, 2, 1)[:, None], labels - 1]
    patch.setattr(datasets.EMNIST, "url", f"{address}gzip.zip")
    patch.setattr(datasets.EMNIST, "md5", md5((folder / "gzip.zip").read_bytes()))
    return letters


def serve_usps(given: Given, patch: Patch, tmp: Path) -> list[np.ndarray]:
    """Each line has a label from 1 to 10, and pixels between -1 and 1."""
    folder, address = given
    random, written, parts = np.random.RandomState(0), [], {}
    for part, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        pixels, labels = random.randint(0, 256, (20, 1, 16, 16)), np.arange(20) % 10
        values = (2 * (pixels + 0.5) / 255 - 1).reshape(20, -1)
        lines = [
            f"{label + 1} " + " ".join(f"{at + 1}:{value:.6f}" for at, value in enumerate(row))
            for label, row in zip(labels, values, strict=True)
        ]
        content = bz2.compress("\n".join(lines).encode())
        (folder / name).write_bytes(content)
        parts[part] = [address + name, name, md5(content)]
        written += [pixels, labels]
    patch.setattr(datasets.USPS, "split_list", parts)
    return written


def serve_svhn(given: Given, patch: Patch, tmp: Path) -> list[np.ndarray]:
    """The digit 0 has the label 10."""
    folder, address = given
    random, written, parts = np.random.RandomState(0), [], {}
    for part in ("train", "test"):
        name = f"{part}_32x32.mat"
        pixels, labels = random.randint(0, 256, (20, 3, 32, 32)), np.arange(20) % 10
        stored = pixels.transpose(2, 3, 1, 0).astype(np.uint8)
        savemat(folder / name, {"X": stored, "y": np.where(labels, labels, 10)[:, None]})
        parts[part] = [address + name, name, md5((folder / name).read_bytes())]
        written += [pixels, labels]
    patch.setattr(datasets.SVHN, "split_list", parts)
    return written


SERVED = {
    "kmnist": serve_kmnist,
    "emnist-letters": serve_emnist,
    "usps": serve_usps,
    "svhn": serve_svhn,
}
Serve = Callable[[Given, Patch, Path], list[np.ndarray]]


@pytest.mark.parametrize(("name", "serve"), SERVED.items())
def test_it_is_downloaded_once_and_read_as_it_is(
    name: str,
    serve: Serve,
    mirror: Given,
    tmp_path: Path,
    monkeypatch: Patch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    written = serve(mirror, monkeypatch, tmp_path)
    data = tmp_path / "data"
    first = load(name, data)
    for found, expected in zip(images(first), written, strict=True):
        assert np.array_equal(found, expected)
    (home,) = data.iterdir()
    assert home.name == SOURCES[name].reader.name  # type: ignore[union-attr]
    for file in mirror[0].iterdir():
        file.unlink()
    assert load(name, data).digest == first.digest
    assert capfd.readouterr().out == ""


def test_all_subsets_of_emnist_come_with_one_download(
    mirror: Given, tmp_path: Path, monkeypatch: Patch
) -> None:
    serve_emnist(mirror, monkeypatch, tmp_path)
    load("emnist-digits", tmp_path / "data")
    (mirror[0] / "gzip.zip").unlink()
    digests = {load(f"emnist-{subset}", tmp_path / "data").digest for subset in EMNIST}
    assert len(digests) == len(EMNIST)
    raw = {file.name for file in (tmp_path / "data" / "EMNIST" / "raw").iterdir()}
    assert raw == {
        f"emnist-{subset}-{part}-{what}-ubyte"
        for subset in EMNIST
        for part in ("train", "test")
        for what in ("images-idx3", "labels-idx1")
    }


@pytest.mark.parametrize(("subset", "expected"), EMNIST.items())
def test_subsets_of_emnist_have_the_classes_that_torchvision_names(
    subset: str, expected: tuple[str, str]
) -> None:
    names = datasets.EMNIST.classes_split_dict[subset]
    assert names[subset == "letters" :] == [*expected[0]]


def test_kin_of_mnist_have_the_names_and_files_of_torchvision() -> None:
    for name, cls in (("fashion-mnist", datasets.FashionMNIST), ("kmnist", datasets.KMNIST)):
        assert [*SOURCES[name].names] == cls.classes  # type: ignore[attr-defined]
    for cls in (datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST):
        files = {Path(cls.__name__, "raw", Path(file).stem) for file, _ in cls.resources}
        assert {*Reader(cls.__name__).files()} == files


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST", "EMNIST"])
def test_files_of_the_format_of_mnist_are_read_as_by_torchvision(
    name: str, tmp_path: Path, emnist: Path
) -> None:
    write_mnist(tmp_path, name)
    data, options = (emnist, {"split": "letters"}) if name == "EMNIST" else (tmp_path, {})
    read = Reader(name, options.get("split", "")).parts(data)
    for part, train in zip(read, (True, False), strict=True):
        expected = getattr(datasets, name)(data, train=train, **options)
        assert np.array_equal(part.data, expected.data)
        assert np.array_equal(part.targets, expected.targets)


def test_classes_have_the_published_names(
    mirror: Given, tmp_path: Path, monkeypatch: Patch
) -> None:
    serve_emnist(mirror, monkeypatch, tmp_path)
    letters = load("emnist-letters", tmp_path / "data")
    assert letters.class_names == [*"abcdefghijklmnopqrstuvwxyz"]
    assert load("emnist-balanced", tmp_path / "data").class_names[9:12] == ["9", "A", "B"]
    assert load("emnist-digits", tmp_path / "data").class_names == []
    assert letters.test.prepared == ("rows and columns of the published images exchanged",)


@pytest.mark.parametrize("content", [b"torn", None])
@pytest.mark.parametrize(("name", "serve"), SERVED.items())
def test_a_damaged_file_is_named_and_may_be_deleted(
    name: str,
    serve: Serve,
    content: bytes | None,
    mirror: Given,
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    serve(mirror, monkeypatch, tmp_path)
    digest = load(name, tmp_path / "data").digest
    file = find(name, SOURCES[name].reader, tmp_path / "data")[-1]  # type: ignore[arg-type]
    file.write_bytes(file.read_bytes()[:-1] if content is None else content)
    with pytest.raises(DataError) as said:
        load(name, tmp_path / "data")
    assert f"damaged or not whole in {file.parent}: {file.name}. Delete" in str(said.value)
    file.unlink()
    assert load(name, tmp_path / "data").digest == digest


@pytest.mark.parametrize("name", SERVED)
def test_a_failed_download_says_which_files_are_missing(
    name: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "mirror").mkdir()
    SERVED[name]((tmp_path / "mirror", nobody), monkeypatch, tmp_path)
    with pytest.raises(DataError, match=f"{name}: files are missing in .*the download failed"):
        load(name, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []
