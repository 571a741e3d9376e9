"""The wheel, in an environment without torch and without bnnlab, predicts a file that is given."""

import json
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import wheels
from programs import perceptron

import bnnlab_runtime

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[1]
MEASURE = """
import json, subprocess, sys, time
begin = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=True)
seconds = time.perf_counter() - begin
import resource
used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB
print(json.dumps({"out": done.stdout, "seconds": seconds, "MB": used / 1024}))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return the programs of an environment with the wheel, and what it needs from the index."""
    folder = tmp_path_factory.mktemp("installed")
    (wheel,) = wheels.build([PROJECT], folder)
    names = zipfile.ZipFile(wheel).namelist()
    assert "bnnlab_runtime/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]
    home = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    limits = PROJECT.parent / "constraints.txt"
    pip = [home / "bin" / "pip", "install", "--quiet", "--constraint", limits, wheel]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"numba cannot be had: {done.stderr[-300:]}")
    return home / "bin"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a model of the size of MNIST's images, a file of 1,000 images, and the classes."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    model = perceptron(rng, (1, 28, 28), 2048, 10).write(folder / "m.bnn")
    images = rng.integers(0, 256, (1000, 28, 28)).astype(np.uint8)
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes())
    return model, path, bnnlab_runtime.load(model, "numpy").predict(images).tolist()


def run(environment, *words):
    """Run a command in the environment, and nothing of ours on its path."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [environment / "python", "-c", MEASURE, *map(str, words)]
    done = subprocess.run(words, env=own, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_torch_and_bnnlab_are_not_there(environment):
    code = "from importlib.util import find_spec as f; print(f('torch'), f('bnnlab'))"
    assert run(environment, environment / "python", "-c", code)["out"] == "None None\n"


@pytest.mark.parametrize(("backend", "most"), [("numba", 200), ("numpy", 60)])
def test_a_file_is_predicted_in_little_memory(environment, files, backend, most):
    model, path, expected = files
    words = [environment / "bnnlab-predict", model, path, "--backend", backend]
    for which in ("first", "second"):
        done = run(environment, *words)
        print(f"{backend}, {which} time: {done['seconds']:.2f} s, {done['MB']:.0f} MB")  # noqa: T201
        assert [*map(int, done["out"].split())] == expected
    assert done["MB"] < most


def test_the_numpy_backend_imports_no_numba(environment, files):
    code = (
        "import sys, bnnlab_runtime; bnnlab_runtime.load(sys.argv[1], 'numpy');"
        "print({'numba', 'llvmlite'} & {*sys.modules})"
    )
    assert run(environment, environment / "python", "-c", code, files[0])["out"] == "set()\n"


def test_an_error_is_one_line_and_exit_code_2(environment, files, tmp_path):
    (tmp_path / "bad.bnn").write_bytes(files[0].read_bytes()[:100])
    words = [environment / "python", "-m", "bnnlab_runtime", tmp_path / "bad.bnn", files[1]]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
