"""Damaged files, and files of wrong programs, are refused in words, and take no memory."""

import copy
import json
import random
import tracemalloc

import numpy as np
import pytest
from programs import Made, conv_weight, perceptron, windows, write, write_raw

import bnnlab_runtime
from bnnlab_runtime.bits import pack

DAMAGED = 500


def network() -> Made:
    """Return a network with most operations, and two draws of two tasks."""
    rng = np.random.default_rng(1)

    def signs(*shape):
        return rng.integers(0, 2, shape).astype(np.float32) * 2 - 1

    def real(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    made = Made((3, 8, 8))
    made.add("normalise", tensors={"mean": real(3), "std": real(8, 8, 3)})
    made.add("conv", tensors={"weight": real(70, 3, 3, 3)}, groups=1, **windows(padding=1))
    flip = pack(signs(70) > 0)
    made.add("threshold", tensors={"t": real(70), "flip": flip})
    x = made.add("or_pool", tensors={"flip": flip}, ceil=False, **windows(2, 2))
    made.add(
        "bit_conv",
        tensors={"weight": conv_weight(signs(64, 3, 3, 70))},
        groups=1,
        **windows(padding=1),
    )
    made.add("row_threshold", groups=2)
    made.add(
        "bit_conv", tensors={"weight": conv_weight(signs(70, 1, 1, 64))}, groups=1, **windows(1)
    )
    y = made.add("affine", tensors={"a": real(70), "b": real(70)})
    made.add("unpack", x)
    made.add("conv", tensors={"weight": pack(signs(70, 9) > 0)}, groups=70, **windows(padding=1))
    made.add("norm_rows", tensors={"gain": real(70)}, groups=7, eps=1e-5)
    z = made.add("activate", function="ternary", width=0.5)
    made.add("add", y, z)
    made.add("pool", kind="avg", ceil=True, count_outside=False, **windows(2, 2))
    made.add("sign")
    made.add("flatten")
    made.add("bit_linear", tensors={"weight": conv_weight(signs(65, 2, 2, 70))})
    made.add("affine", tensors={"a": real(65)})
    made.add("linear", tensors={"weight": real(4, 65)})
    for v, name in ((v, name) for name in ("2.t", "16.weight") for v in range(4)):
        made.tensors[f"{name}@{v}"] = np.roll(made.tensors[name], v, -1)
    del made.tensors["2.t"], made.tensors["16.weight"]
    tasks = [{"name": "a", "classes": [0, 1]}, {"name": "b", "classes": None}]
    made.program |= {"outputs": 4, "draws": 2, "tasks": tasks, "classes": [*"wxyz"]}
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return network().write(tmp_path_factory.mktemp("whole") / "m.bnn")


def refused(path) -> str:
    """Return how a file is refused; it must be in words, and take at most twice its size."""
    tracemalloc.start()
    try:
        with pytest.raises(bnnlab_runtime.BadFile) as caught:
            bnnlab_runtime.load(path, "numpy")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * path.stat().st_size + (1 << 19), "an interpreter's objects take some"
    said = str(caught.value)
    assert 20 < len(said) < 500
    assert said.isprintable()
    return said


def test_the_whole_file_is_read(whole):
    model = bnnlab_runtime.load(whole, "numpy")
    images = np.random.default_rng(2).integers(0, 256, (3, 3, 8, 8)).astype(np.uint8)
    found = model.logits(images, 1)
    assert found.shape == (2, 3, 4)
    assert np.isfinite(found).all()
    compiled = bnnlab_runtime.load(whole, "numba")
    np.testing.assert_allclose(compiled.logits(images, 1), found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["cut", "flipped", "overwritten", "longer", "moved"])
def test_damaged_files_are_refused(kind, whole, tmp_path):
    """The same 500 files every time."""
    chance, given = random.Random(kind), whole.read_bytes()
    path = tmp_path / "damaged.bnn"
    for _ in range(DAMAGED // 5):
        data = bytearray(given)
        place = chance.choice([chance.randrange(len(data)), chance.randrange(6000)])
        if kind == "cut":
            del data[place:]
        elif kind == "flipped":
            data[place] ^= 1 << chance.randrange(8)
        elif kind == "overwritten":
            data[place : place + 9] = chance.randbytes(len(data[place : place + 9]))
        elif kind == "longer":
            data[place:place] = chance.randbytes(chance.randrange(1, 20))
        else:
            data[place : place + 40] = data[place : place + 40][::-1] + b"\0"
        if data != given:
            path.write_bytes(data)
            refused(path)


# ------------------------------------------------------------- a header that is wrong by purpose


def headers(made):
    """Yield wrong headers, with what is said, and the data."""
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    about = {"format": "bnnlab-1", "program": json.dumps(made.program), "digest": "0" * 64}
    start = {"__metadata__": about}
    zeros = bytes(64)
    yield {}, b"", "'__metadata__' is missing"
    yield b'["}', b"", "is no JSON text"
    yield b"[" * 100_000 + b"}", b"", "is no JSON text"
    yield b'{"a": ' * 50_000 + b"}" * 50_000, b"", "is no JSON text"
    yield b'{"a": NaN}', b"", "NaN is no number of JSON"
    yield b'{"a": 1, "a": 1}', b"", "a key is there twice"
    yield b'{"a": ' + b"9" * 5000 + b"}", b"", "is no JSON text"
    yield b'{"__metadata__": "\xff"}', b"", "is no JSON text"
    yield {"__metadata__": about | {"format": "bnnlab-2"}}, b"", "must be one of bnnlab-1"
    yield {"__metadata__": about | {"program": "\ud800"}}, b"", "'program' must be a text"
    yield {"__metadata__": about | {"more": ""}}, b"", "unknown 'more'"
    yield start, b"", "the digest is another"
    yield start, zeros, "end at byte 0 of 64"
    for change, said in (
        ({"dtype": "F64"}, "must be one of U64, I32, F32"),
        ({"dtype": ["F32"]}, "must be one of U64"),
        ({"shape": [-2]}, "must be whole, 1 to"),
        ({"shape": [0]}, "must be whole, 1 to"),
        ({"shape": [2.0]}, "must be whole, 1 to"),
        ({"shape": [True, 2]}, "must be whole, 1 to"),
        ({"shape": [2**40]}, "must be whole, 1 to"),
        ({"shape": [2**31 - 1] * 4}, "bytes, and lies at 0 to 8"),
        ({"shape": [1] * 70 + [2]}, "takes 8 bytes, and lies at"),
        ({"shape": 2}, "must be a list of whole numbers"),
        ({"data_offsets": [0, 2**62]}, "must be whole, 0 to 64"),
        ({"data_offsets": [8, 0]}, "lies at 8 to 0"),
        ({"data_offsets": [0]}, "a list of 2 whole numbers"),
        ({"data_offsets": [2, 10]}, "lies at 2 to 10"),
        ({"data_offsets": [8, 16]}, "leave a gap at byte 0"),
        ({"more": 1}, "unknown 'more'"),
    ):
        yield start | {"t": tensor | change}, zeros, said
    yield start | {"a": tensor, "b": tensor}, zeros[:8], "overlap"
    yield start | {"a": tensor}, zeros, "end at byte 8 of 64"
    yield start | {"a": 3}, zeros, "must be a JSON object"


def test_wrong_headers_are_refused(tmp_path):
    for header, data, said in headers(perceptron(np.random.default_rng(0))):
        assert said in refused(write_raw(tmp_path / "m.bnn", header, data)), said


def test_a_header_that_claims_too_much_is_not_read(tmp_path):
    path = tmp_path / "m.bnn"
    for length in (2**64 - 1, 2**63, 1 << 40, 1 << 24, 100):
        path.write_bytes(length.to_bytes(8, "little") + bytes(50))
        assert f"cannot have a header of {length}" in refused(path)
    for size in range(9):
        path.write_bytes(bytes(size))
        refused(path)


# ------------------------------------------------------- a program that is wrong by purpose


def changed(place, value):
    """Return a change of one field of the program, `place` are the keys to it."""

    def change(program):
        *outer, last = place
        for key in outer:
            program = program[key]
        if value is None and isinstance(program, dict):
            program[last] = None
        elif value is KeyError:
            del program[last]
        else:
            program[last] = value

    return change


STEP = ("steps",)
WRONG = [
    ((*STEP, 0, "op"), "exec", "must be one of activate, add"),
    ((*STEP, 0, "op"), None, "must be one of"),
    ((*STEP, 0, "inputs"), [1], "must be whole, 0 to 0"),
    ((*STEP, 4, "inputs"), [-1], "must be whole, 0 to 4"),
    ((*STEP, 4, "inputs"), [4, 4], "takes 1 input, and has 2"),
    ((*STEP, 4, "inputs"), [], "takes 1 input, and has 0"),
    ((*STEP, 4, "inputs"), [0], "takes bits (H, W, C), and is given uint8 3x8x8"),
    ((*STEP, 4, "inputs"), "4", "must be a list of whole numbers"),
    ((*STEP, 4, "tensors"), [], "must be a JSON object"),
    ((*STEP, 4, "tensors", "weight"), "nothing", "the file has no tensor 'nothing'"),
    ((*STEP, 4, "tensors", "weight"), "1.weight", "must be uint64 (18, any)"),
    ((*STEP, 4, "tensors", "weight"), 3, "must be a text"),
    ((*STEP, 4, "tensors", "bias"), "1.weight", "unknown 'bias'"),
    ((*STEP, 4, "tensors", "weight"), KeyError, "'weight' is missing"),
    ((*STEP, 4, "stride"), [-1, 1], "must be whole, 1 to"),
    ((*STEP, 4, "stride"), [0, 1], "must be whole, 1 to"),
    ((*STEP, 4, "stride"), 1, "list of 2 whole numbers"),
    ((*STEP, 4, "stride"), KeyError, "'stride' is missing"),
    ((*STEP, 4, "kernel"), [9, 9], "larger than the padded maps"),
    ((*STEP, 4, "kernel"), [2**31, 2**31], "must be whole, 1 to"),
    ((*STEP, 4, "dilation"), [9, 1], "larger than the padded maps"),
    ((*STEP, 4, "padding"), [2**16, 2**16], "larger than 67108864 numbers"),
    ((*STEP, 4, "groups"), 0, "must be whole, 1 to"),
    ((*STEP, 4, "groups"), 2, "no 2 groups of whole words"),
    ((*STEP, 4, "groups"), True, "must be whole, 1 to"),
    ((*STEP, 4, "more"), 1, "unknown 'more'"),
    ((*STEP, 1, "groups"), 3, "must be float32 (any, 3, 3, 1)"),
    ((*STEP, 9, "groups"), 3, "no 3 equal groups"),
    ((*STEP, 3, "padding"), [2, 2], "at most half its kernel"),
    ((*STEP, 3, "ceil"), 1, "must be true or false"),
    ((*STEP, 13, "dilation"), [5, 1], "larger than the padded maps"),
    ((*STEP, 13, "kind"), "min", "must be one of max, avg"),
    ((*STEP, 5, "groups"), 3, "no 3 equal groups"),
    ((*STEP, 10, "groups"), 4, "no 4 equal groups"),
    ((*STEP, 10, "eps"), -1, "must be from 0 to"),
    ((*STEP, 10, "eps"), "1", "must be a number"),
    ((*STEP, 11, "function"), "eval", "must be one of relu"),
    ((*STEP, 11, "slope"), 1, "unknown 'slope'"),
    ((*STEP, 12, "inputs"), [8], "takes 2 inputs of one shape"),
    ((*STEP, 12, "inputs"), [8, 0], "takes real, and is given uint8"),
    ((*STEP, 12, "inputs"), [8, 2], "takes 2 inputs of one shape, not"),
    ((*STEP, 18), {}, "'op' is missing"),
    ((*STEP, 18), 5, "must be a JSON object"),
    (("steps",), [], "has no steps"),
    (("steps",), {}, "must be a list of objects"),
    (("steps",), KeyError, "'steps' is missing"),
    (("format",), 2, "must be whole, 1 to 1"),
    (("made_by",), 1, "must be a text"),
    (("input", "shape"), [3, 8], "must be (C, H, W) or (F)"),
    (("input", "shape"), [2**31 - 1] * 3, "of at most 67108864 numbers"),
    (("input", "shape"), [4, 8, 8], "must be float32 (4,) or float32 (8, 8, 4)"),
    (("input", "dtype"), "uint16", "must be one of uint8, float32"),
    (("outputs",), 5, "4 names of classes for 5 outputs"),
    (("classes",), [1, 2, 3, 4], "must be a list of texts"),
    (("classes",), ["a"], "1 names of classes for 4 outputs"),
    (("objective",), "ranks", "must be one of classes, numbers"),
    (("tasks",), {}, "must be a list of objects"),
    (("tasks", 0, "classes"), [4], "must be whole, 0 to 3"),
    (("tasks", 0, "classes"), [1, 1], "must be different numbers"),
    (("tasks", 0, "classes"), [], "must be different numbers"),
    (("tasks",), None, "no step takes the tensor"),
    (("draws",), 0, "must be whole, 1 to"),
    (("draws",), 2**31, "must be whole, 1 to"),
    (("draws",), 60000, "are too many"),
    (("draws",), 3, "the file has no tensor '2.t'"),
    (("draws",), 1, "no step takes the tensor '16.weight@2' (4 such)"),
    (("run",), [], "must be a JSON object"),
    (("more",), 1, "unknown 'more'"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_programs_are_refused(number, tmp_path):
    place, value, said = WRONG[number]
    made = network()
    program = copy.deepcopy(made.program)
    changed(place, value)(program)
    assert said in refused(write(tmp_path / "m.bnn", json.dumps(program), made.tensors))


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("4.weight", np.full((18, 64), 2**63, np.uint64), "some above channel 70"),
        ("3.flip", np.full(2, 2**63, np.uint64), "some above channel 70"),
        ("9.weight", np.full((70, 1), 2**9, np.uint64), "some above channel 9"),
        ("16.weight@1", np.full((8, 65), 2**63, np.uint64), "some above channel 70"),
        ("16.weight@3", np.zeros((8, 66), np.uint64), "another shape in another variant"),
        ("2.t@2", np.zeros(70, np.int32), "must be float32 (70,)"),
        ("6.weight", np.zeros((1, 71), np.uint64), "must be float32 (71,)"),
        ("18.weight", np.zeros((5, 65), np.float32), "must give real 4, and gives real 5"),
        ("unused", np.zeros(1, np.float32), "no step takes the tensor 'unused' (1 such)"),
    ],
)
def test_wrong_tensors_are_refused(name, tensor, said, tmp_path):
    made = network()
    made.tensors[name] = tensor
    assert said in refused(made.write(tmp_path / "m.bnn"))


def test_a_program_that_ends_in_bits_is_refused(tmp_path):
    made = network()
    made.program["steps"] = made.program["steps"][:3]
    assert "the last step must give real 4, and gives bits" in refused(
        made.write(tmp_path / "m.bnn")
    )


def test_draws_that_do_not_differ_are_refused(tmp_path):
    made = perceptron(np.random.default_rng(0))
    made.program["draws"] = 2
    assert "no tensor differs between them" in refused(made.write(tmp_path / "m.bnn"))


def test_small_files_cannot_make_large_arrays(tmp_path):
    for shape, more, said in (
        ((1, 1, 1), [("conv", {"groups": 1, **windows(1, 1, 60_000)})], "padded maps (120001"),
        ((1, 8000, 8000), [("conv", {"groups": 1, **windows(1)})], "makes 128000000 numbers"),
        ((1, 1, 1), [("concat", {"inputs": [1] * 9000})] * 2 + [("concat", {"inputs": [3] * 9000})],
         "makes 81000000 numbers"),
    ):  # fmt: skip
        made = Made(shape)
        made.program["outputs"] = 1
        made.add("normalise")
        for name, given in more:
            inputs = given.pop("inputs", [])
            weight = {"weight": np.ones((2, 1, 1, 1), np.float32)}
            made.add(name, *inputs, tensors=weight if name == "conv" else None, **given)
        assert said in refused(made.write(tmp_path / "m.bnn"))
