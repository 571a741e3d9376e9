"""The command reads a model and a file of images, and prints a class a line."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from programs import perceptron

import bnnlab_runtime
from bnnlab_runtime.__main__ import main
from bnnlab_runtime.stored import read_images


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (12, 5, 7)).astype(np.uint8)


@pytest.fixture
def made():
    return perceptron(np.random.default_rng(0))


def header(text):
    """Return the start of a .npy file."""
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode()


def idx(array, code=8):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.tobytes()


def written(folder, images):
    """Return files of every kind that hold the images."""
    np.save(folder / "x.npy", images)
    np.savez(folder / "x.npz", images)
    np.savez_compressed(folder / "y.npz", images=images, labels=np.zeros(3))
    (folder / "x-idx3-ubyte").write_bytes(idx(images))
    (folder / "x-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (folder / "x.npy.gz").write_bytes(gzip.compress((folder / "x.npy").read_bytes()))
    for name, other in (("x.npy", "x.NPY"), ("x.npz", "x"), ("x.npy.gz", "x.zipped")):
        (folder / other).write_bytes((folder / name).read_bytes())
    return sorted(folder.glob("[xy]*"))


def test_every_kind_of_file_is_read(tmp_path, images):
    files = written(tmp_path, images)
    assert len(files) == 9
    for file in files:
        assert (read_images(file) == images).all(), file
        assert read_images(file).dtype == np.uint8
    real = np.array([[1.5, -2]], ">f4")
    (tmp_path / "real").write_bytes(idx(real, 13))
    assert (read_images(tmp_path / "real") == real).all()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x", b""),
        ("x", b"not of this kind"),
        ("x", idx(np.zeros((3, 2), np.uint8))[:-1]),
        ("x", b"\0\0\x08\x04\0\0"),
        ("x.gz", b"no gzip"),
        ("x.gz", gzip.compress(idx(np.zeros(9, np.uint8)), mtime=0)[:-9]),
        ("x.npy", b"\x93NUMPY\x01\0\0\0"),
        ("x.npz", b"PK\x03\x04"),
        ("x.npz", b"x"),
        ("x.npy", header("{'a': (")),
        ("x.npy", header("(" * 5000)),
        ("x.npy", header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}")),
    ],
)
def test_other_files_are_refused(name, data, tmp_path, made, capsys):
    (tmp_path / name).write_bytes(data)
    path = made.write(tmp_path / "m.bnn")
    assert main([str(path), str(tmp_path / name), "--backend", "numpy"]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(f"error: {tmp_path / name} is no .npy, .npz or IDX file of images")
    assert error.count("\n") == 1


def test_several_arrays_need_a_name(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(1), b=np.zeros(2))
    with pytest.raises(ValueError, match="arrays a, b; one must be called images"):
        read_images(tmp_path / "x.npz")


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_class_a_line(backend, tmp_path, made, images, capsys, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # or the command would set it
    path = made.write(tmp_path / "m.bnn")
    np.save(tmp_path / "x.npy", images)
    told = [str(path), str(tmp_path / "x.npy"), "--backend", backend]
    model = bnnlab_runtime.load(path, backend)
    assert main(told) == 0
    assert [*map(int, capsys.readouterr().out.split())] == model.predict(images).tolist()
    assert main([*told, "--probabilities", "--threads", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [[*map(float, line.split())] for line in lines]
    np.testing.assert_allclose(found, model.probabilities(images), rtol=1e-5)
    assert main([*told, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == model.predict(images).tolist()


def test_names_of_classes_are_printed(tmp_path, made, images, capsys):
    made.program["classes"] = ["cat", "a dog", "\x1b[31mred"]
    path = made.write(tmp_path / "m.bnn")
    np.save(tmp_path / "x.npy", images)
    assert main([str(path), str(tmp_path / "x.npy"), "--backend", "numpy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {*lines} <= {"cat", "a dog", r"\x1b[31mred"}
    assert len(lines) == 12


def test_what_is_wrong_is_said_in_one_line(tmp_path, made, images, capsys):
    path = made.write(tmp_path / "m.bnn")
    np.save(tmp_path / "x.npy", images)
    (tmp_path / "bad.bnn").write_bytes(path.read_bytes()[:-1])
    shape = "{'descr': '|u1', 'fortran_order': False, 'shape': (5000000000000, 1, 5, 7)}"
    (tmp_path / "huge.npy").write_bytes(header(shape))
    for count, name in ((1, "one"), (2, "two")):
        made.program["tasks"] = [{"name": "a", "classes": None}] * count
        made.write(tmp_path / f"{name}.bnn")
    for model, file, more, said in (
        (path, tmp_path / "no.npy", [], "No such file"),
        (tmp_path / "no.bnn", tmp_path / "x.npy", [], "No such file"),
        (tmp_path / "bad.bnn", tmp_path / "x.npy", [], "bad.bnn: tensor '3.a'"),
        (path, tmp_path / "x.npy", ["--task", "3"], "task 3: the model has no tasks"),
        (path, tmp_path / "huge.npy", [], "there is too little memory: "),
        (tmp_path / "two.bnn", tmp_path / "x.npy", [], "which task? Give its number, 0 to 1: "),
        (tmp_path / "one.bnn", tmp_path / "x.npy", ["--task", "1"], "the model has 1 task, from 0"),
        (path, tmp_path / "x.npy", ["--threads", "0"], "threads must be 1 or more"),
    ):
        assert main([str(model), str(file), "--backend", "numpy", *more]) == 2
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        assert error.startswith("error: ")
        assert said in error


COMMAND = [sys.executable, "-m", "bnnlab_runtime"]


def command(*words, **given):
    """Run the command in a process of its own; return its exit code and what it says of errors."""
    called = [*COMMAND, *map(str, words), "--backend", "numpy"]
    done = subprocess.run(called, stderr=subprocess.PIPE, text=True, check=False, **given)
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_an_output_that_fails_is_said_in_one_line(tmp_path, made, images):
    path = made.write(tmp_path / "m.bnn")
    np.save(tmp_path / "x.npy", images)
    with Path("/dev/full").open("w") as full:
        found = command(path, tmp_path / "x.npy", stdout=full)
    assert found == (2, "error: the output cannot be written: No space left on device\n")
    found = command(path, tmp_path / "x.npy", preexec_fn=lambda: os.close(1))
    assert found == (2, "error: the output is closed\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_images_may_come_through_a_pipe(tmp_path, images):
    os.mkfifo(tmp_path / "pipe")
    for file in written(tmp_path, images):
        given = (tmp_path / "pipe", file.read_bytes())
        writer = threading.Thread(target=write_and_hold, args=given)
        writer.start()
        assert (read_images(tmp_path / "pipe") == images).all(), file
        writer.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_model_is_a_file_and_no_pipe(tmp_path, made, images):
    os.mkfifo(tmp_path / "pipe")
    content = made.write(tmp_path / "m.bnn").read_bytes()
    writer = threading.Thread(target=write_and_hold, args=(tmp_path / "pipe", content))
    writer.start()
    with pytest.raises(ValueError, match="a pipe or a device, whose size is not known"):
        bnnlab_runtime.load(tmp_path / "pipe", "numpy")
    writer.join()


def write_and_hold(pipe, content):
    with suppress(BrokenPipeError), pipe.open("wb") as file:
        file.write(content)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_an_interruption_is_said_in_one_line(heard, tmp_path, made):
    os.mkfifo(tmp_path / "pipe")
    path = made.write(tmp_path / "m.bnn")
    words = [path, tmp_path / "pipe", "--backend", "numpy"]
    with (
        subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True) as process,
        (tmp_path / "pipe").open("wb"),  # waits until the command reads
    ):
        process.send_signal(signal.SIGINT)
        said = process.communicate()[1]
    assert (process.returncode, said) == (130, "error: interrupted\n")


@pytest.mark.parametrize(("threads", "told"), [(1, None), (2, "1")])
def test_numpy_has_one_thread_where_the_command_has_several(threads, told, tmp_path, made, images):
    path = made.write(tmp_path / "m.bnn")
    np.save(tmp_path / "x.npy", images)
    words = [path, tmp_path / "x.npy", "--backend", "numpy", f"--threads={threads}"]
    code = """if True:
        import os, sys
        from bnnlab_runtime.__main__ import main
        class Finder:
            def find_spec(name, *_):
                if name == "numpy":
                    print(os.environ.get("OPENBLAS_NUM_THREADS"), file=sys.stderr)
        sys.meta_path.insert(0, Finder)
        sys.exit(main())
    """
    own = {name: text for name, text in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    called = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(called, env=own, capture_output=True, text=True, check=True)
    assert done.stderr == f"{told}\n"


def test_what_is_done_to_images_before_is_noted(tmp_path, made, images, capsys):
    made.program["input"]["prepared"] = ["turned by 30 degrees", "\x1b[31mred"]
    path = made.write(tmp_path / "m.bnn")
    np.save(tmp_path / "x.npy", images)
    assert main([str(path), str(tmp_path / "x.npy"), "--backend", "numpy"]) == 0
    out, said = capsys.readouterr()
    assert (len(out.splitlines()), said) == (
        12,
        "note: the model takes images turned by 30 degrees, \\x1b[31mred\n",
    )
    with (tmp_path / "out").open("w") as file:
        found = command(path, tmp_path / "x.npy", stdout=file, preexec_fn=close_errors)
    assert found == (0, "")
    assert (tmp_path / "out").read_text() == out


def close_errors():
    os.close(2)
