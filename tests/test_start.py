"""What a command imports and searches before its work, and what torch's engine is given."""

import gc
import io
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import _FlopCounterMode

import bnnlab
from bnnlab.cli import console
from bnnlab.guards import collection
from bnnlab.interfaces.gradients import gradient_at, send_back
from bnnlab.nn.summary import summarise
from bnnlab.registry import requirements

HEAVY = {"torch._dynamo", "torch._inductor", "sympy", "scipy", "sklearn", "torchvision"}
COMMAND = f"""
import sys
from bnnlab.cli import main
code = main(sys.argv[1:])
print(code, *sorted({HEAVY} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.slow  # processes that import torch
@pytest.mark.parametrize(
    "words",
    [
        "run --steps 1 --quiet --set stream.tasks=1",
        "run --steps 1 --quiet --set stream.tasks=1 --rule bp --optimizer adam",
        "run --steps 1 --quiet --set stream.tasks=1 --rule hsic --set rule.groups=4",
        "run --steps 1 --quiet --set stream.tasks=1 --rule pepita",
        "info model mlp",
    ],
)
def test_a_command_imports_neither_torchs_compiler_nor_large_packages(
    words: str, tmp_path: Path
) -> None:
    call = [sys.executable, "-c", COMMAND, *words.split()]
    done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr.split()[-1] == "0", done.stderr


def test_a_gradient_is_sent_back_as_torch_does_it() -> None:
    layer, x = nn.Linear(5, 3), torch.randn(4, 5, requires_grad=True)
    given = torch.randn(4, 3)
    layer(x).backward(given)
    parameters = [layer.weight, layer.bias, x]
    expected = [p.grad.clone() for p in parameters if p.grad is not None]
    layer.zero_grad(), setattr(x, "grad", None)
    assert torch.equal(gradient_at(x, layer(x), given), expected[2])
    assert all(p.grad is None for p in parameters)
    send_back(layer(x), given)
    send_back(layer(x), given)
    for parameter, once in zip(parameters, expected, strict=True):
        assert torch.equal(parameter.grad, 2 * once)


def test_a_gradient_that_torch_would_sum_over_rows_is_refused() -> None:
    layer = nn.Linear(5, 3)
    with pytest.raises(ValueError, match=r"\(7, 4, 3\) was given for an output of shape \(4, 3\)"):
        send_back(layer(torch.randn(4, 5)), torch.randn(7, 4, 3))


def test_cycles_are_searched_for_again_after_a_block_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), collection.put_off():
        _ = 1 / gc.isenabled()
    with collection.put_off():
        with collection.put_off():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_torchs_counter_is_put_back() -> None:
    before = _FlopCounterMode.__torch_dispatch__
    summarise(bnnlab.create("model", "mlp", input_shape=(4,), classes=3, hidden=[5]))
    assert _FlopCounterMode.__torch_dispatch__ is before


def test_each_distribution_is_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, search = Counter[str](), requirements.distribution
    monkeypatch.setattr(requirements, "distribution", lambda n: asked.update([n]) or search(n))
    found = requirements.Found()
    for name in ("bnnlab-dfa", "bnnlab-mlp", "bnnlab-backprop"):
        assert requirements.unmet(name, found=found) == []
    assert asked["bnnlab"] == max(asked.values()) == 1


LONG = "incomprehensibilities"
TEXT = f"a table of some words, one of which is {LONG}"


@pytest.mark.parametrize("width", [24, 30, 40, 60, 61, 62, 80])
@pytest.mark.parametrize(
    ("heads", "numbers", "rows"),
    [
        (("plugin", "offers"), 0, [("acme", TEXT), (("x", "green"), "")]),
        (("a", "b", "c"), 2, [("one", 1.5, "12 k"), ("two", 10, "0 "), ("", "", "3\t4")]),
        ((), 0, [("", "provides", LONG), ("", "x", "宽宽 " * 9)]),
        (("long", "short"), 0, [(TEXT, "x"), ("y", "z")]),
        (("only",), 1, [(3,), ("",)]),
    ],
)
def test_a_table_has_the_lines_of_richs_table(
    width: int,
    heads: Sequence[str],
    numbers: int,
    rows: Sequence[Sequence[console.Part]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    made = console.table(heads, rows, numbers)
    shown = Console(file=io.StringIO(), width=width, highlight=False)
    if heads and shown.measure(made, options=shown.options.update(width=999)).minimum > width:
        return  # each cell is a line then
    shown.print(made)
    console.print_table(heads, rows, numbers)
    assert isinstance(shown.file, io.StringIO)
    assert capsys.readouterr().out == shown.file.getvalue()
