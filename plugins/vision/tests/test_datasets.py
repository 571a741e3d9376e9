import gzip
import hashlib
import socket
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision import datasets

from bnnlab.errors import DataError, UsageError
from bnnlab_vision.datasets import find_source
from bnnlab_vision.source import Dataset

CPU = torch.device("cpu")
RAW, WHOLE = Path("MNIST", "raw"), "damaged or not whole"
Writer = Callable[..., list[np.ndarray]]


def load(name: str, data: Path, device: torch.device) -> Dataset:
    return find_source(name).load(data, device, seed=0)


def tensors(dataset: Dataset) -> list[torch.Tensor]:
    parts = dataset.train, dataset.test
    return [tensor for part in parts for tensor in part.raw(torch.arange(len(part)))]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every address at a local port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for cls in (datasets.MNIST, datasets.FashionMNIST):
        monkeypatch.setattr(cls, "mirrors", [address])
    for cls in (datasets.CIFAR10, datasets.CIFAR100):
        monkeypatch.setattr(cls, "url", address + cls.filename)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(
    tmp_path: Path, write_mnist: Writer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[np.ndarray]]:
    """Serve a small MNIST at its only mirror, on this machine; give what is in it."""
    arrays = write_mnist(tmp_path / "origin")
    (tmp_path / "mirror").mkdir()
    resources = []
    for file in sorted((tmp_path / "origin" / RAW).iterdir()):
        packed = gzip.compress(file.read_bytes(), mtime=0)
        (tmp_path / "mirror" / f"{file.name}.gz").write_bytes(packed)
        resources.append((f"{file.name}.gz", hashlib.md5(packed).hexdigest()))
    handler = partial(Quiet, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    yield arrays
    server.shutdown()
    server.server_close()
    thread.join()


def test_digits_are_those_of_scikit_learn_each_once(tmp_path: Path) -> None:
    digits = load("digits", tmp_path, CPU)
    pixels, labels, test_pixels, test_labels = tensors(digits)
    assert pixels.shape == (1437, 1, 8, 8)
    assert test_pixels.shape == (360, 1, 8, 8)
    ours = torch.cat([pixels, test_pixels]).flatten(1)
    labelled = torch.cat([ours, torch.cat([labels, test_labels])[:, None]], 1)
    bunch = load_digits()
    theirs = np.concatenate([bunch.data, bunch.target[:, None]], 1)
    assert sorted(labelled.tolist()) == sorted(theirs.astype(int).tolist())


def test_an_mnist_folder_is_read_as_it_was_written(tmp_path: Path, write_mnist: Writer) -> None:
    images, labels, test_images, test_labels = write_mnist(tmp_path)
    mnist = load("mnist", tmp_path, CPU)
    expected = [images[:, None], labels, test_images[:, None], test_labels]
    for found, written in zip(tensors(mnist), expected, strict=True):
        assert np.array_equal(found.numpy(), written)
    assert [tensor.dtype for tensor in tensors(mnist)] == [torch.uint8, torch.int64] * 2


def test_a_cifar10_folder_is_read_as_it_was_written(tmp_path: Path, write_cifar10: Writer) -> None:
    pixels, labels, test_pixels, test_labels = write_cifar10(tmp_path)
    expected = [pixels.reshape(20, 3, 32, 32), labels, test_pixels.reshape(10, 3, 32, 32)]
    found = tensors(load("cifar10", tmp_path, CPU))
    for one, written in zip(found, [*expected, test_labels], strict=True):
        assert np.array_equal(one.numpy(), written)


def test_the_digest_tells_contents_apart(tmp_path: Path, write_mnist: Writer) -> None:
    arrays = write_mnist(tmp_path / "a")
    write_mnist(tmp_path / "b", seed=1)
    parts = (a.astype("<i8" if a.ndim == 1 else "u1").tobytes() for a in arrays)
    expected = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    assert load("mnist", tmp_path / "a", CPU).digest == expected
    assert load("mnist", tmp_path / "b", CPU).digest != expected


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'minst'\. Did you mean 'mnist'\?"):
        load("minst", Path(), CPU)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "folder", "files"),
    [
        ("mnist", "MNIST/raw", ["train-images-idx3-ubyte,", "t10k-labels-idx1-ubyte"]),
        ("fashion-mnist", "FashionMNIST/raw", ["train-labels-idx1-ubyte,"]),
        ("cifar10", "cifar-10-batches-py", ["data_batch_1,", "test_batch,", "batches.meta."]),
        ("cifar100", "cifar-100-python", ["train, test, meta."]),
    ],
)
def test_missing_data_says_where_it_was_looked_for_and_what_to_put_there(
    name: str, folder: str, files: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError) as caught:
        load(name, tmp_path / "data", CPU)
    message = str(caught.value)
    assert message.startswith(
        f"{name}: files are missing in {tmp_path / 'data' / folder}; the download"
    )
    assert "refused" in message
    assert "\n" not in message
    assert all(file in message for file in files)
    assert list((tmp_path / "data").iterdir()) == []
    assert capfd.readouterr().out == ""
    assert socket.getdefaulttimeout() is None


def test_missing_data_is_fetched(
    served: list[np.ndarray], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "new" / "data"
    mnist = load("mnist", data, CPU)
    pixels, _, _, test_labels = tensors(mnist)
    assert np.array_equal(pixels[:, 0].numpy(), served[0])
    assert test_labels.tolist() == served[3].tolist()
    assert [path.name for path in data.iterdir()] == ["MNIST"]
    assert len(list((data / RAW).iterdir())) == 4
    assert capfd.readouterr().out == ""


def test_fetching_completes_a_folder_and_overwrites_nothing(
    served: list[np.ndarray], tmp_path: Path, write_mnist: Writer
) -> None:
    own = write_mnist(tmp_path, seed=1)
    (tmp_path / RAW / "t10k-images-idx3-ubyte").unlink()
    mnist = load("mnist", tmp_path, CPU)
    pixels, _, test_pixels, _ = tensors(mnist)
    assert np.array_equal(pixels[:, 0].numpy(), own[0])
    assert np.array_equal(test_pixels[:, 0].numpy(), served[2])


@pytest.mark.usefixtures("served")
def test_a_folder_that_cannot_be_written_is_no_failure_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="they cannot be written: NotADirectoryError") as refused:
        load("mnist", tmp_path / "file" / "data", CPU)
    assert refused.value.exit_code == 2


@pytest.mark.usefixtures("served")
def test_a_download_that_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *good, (name, _) = datasets.MNIST.resources
    monkeypatch.setattr(datasets.MNIST, "resources", [*good, (name, "0" * 32)])
    with pytest.raises(DataError, match="the download failed"):
        load("mnist", tmp_path / "data", CPU)
    assert list((tmp_path / "data").iterdir()) == []


def idx(magic: int, *sizes: int, body: bytes) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in (magic, *sizes)) + body


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("train-images-idx3-ubyte", b"", WHOLE),
        ("train-images-idx3-ubyte", idx(0x803, 40, 28, 28, body=b"\1" * 99), WHOLE),
        ("train-images-idx3-ubyte", b"<html>not found</html>", WHOLE),
        ("t10k-labels-idx1-ubyte", idx(0x803, 1, 1, 1, body=b"\1"), WHOLE),
        ("t10k-images-idx3-ubyte", idx(0x803, 20, 5, 5, body=b"\1" * 500), r"\(1, 5, 5\)"),
        ("t10k-labels-idx1-ubyte", idx(0x801, 19, body=b"\1" * 19), "20 images but 19 labels"),
        ("t10k-labels-idx1-ubyte", idx(0x801, 20, body=b"\x0a" * 20), "labels beyond 0 to 9"),
    ],
    ids=[
        "empty",
        "truncated",
        "not-idx",
        "images",
        "other-shape",
        "too-few-labels",
        "other-labels",
    ],
)
def test_a_damaged_mnist_folder_is_named_and_not_replaced(
    file: str, content: bytes, why: str, tmp_path: Path, write_mnist: Writer
) -> None:
    write_mnist(tmp_path)
    (tmp_path / RAW / file).write_bytes(content)
    with pytest.raises(DataError, match=why) as caught:
        load("mnist", tmp_path, CPU)
    message = str(caught.value)
    if why == WHOLE:
        assert message.startswith(f"mnist: {WHOLE} in {tmp_path / RAW}: {file}. Delete these files")
    else:
        assert message.startswith(f"mnist: the files in {tmp_path / RAW} are damaged: ")
        assert message.endswith("Delete this folder to download it again.")
    assert (tmp_path / RAW / file).read_bytes() == content


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("checked", [True, False], ids=["checksum", "pickle"])
def test_a_damaged_cifar10_folder_is_named(
    checked: bool, tmp_path: Path, write_cifar10: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "two").write_bytes(b"torn")
    if not checked:
        unchecked = [[name, None] for name, _ in datasets.CIFAR10.train_list]
        monkeypatch.setattr(datasets.CIFAR10, "train_list", unchecked)
    why = f"{WHOLE} in .*: two" if checked else "the files in .*cifar-10-batches-py are damaged"
    with pytest.raises(DataError, match=why):
        load("cifar10", tmp_path, CPU)
