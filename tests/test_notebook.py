"""Results in notebooks: HTML with the figures of the terminal, and the progress of a run."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from small_runs import SMALL

import bnnlab
from bnnlab import UsageError
from bnnlab.cli.display import result_lines
from bnnlab.engine import notebook
from bnnlab.engine.result import ABSENT, Result, told

KINDS = ("rule", "optimizer", "model", "stream")


def result(accuracy: list[list[float | None]], **more: Any) -> Result:
    measures = {**ABSENT, "accuracy": accuracy, "average_accuracy": 0.5, **more}
    return Result(
        status="complete",
        stop_reason=None,
        measures=measures,
        tasks=[f"task {n}" for n in range(len(accuracy))],
        protocol="abc",
        protocol_description={},
        seed=3,
        run_id="0",
        seconds=1.23,
        components={kind: {"name": f"a-{kind}"} for kind in KINDS},
        computed_on=[],
        changed_versions={},
        model=None,  # type: ignore[arg-type]
        folder=None,
    )


def shown(html: str) -> str:
    """Return the text of HTML, which must be well-formed."""
    return " ".join(" ".join(ElementTree.fromstring(f"<p>{html}</p>").itertext()).split())


def matrix(tasks: int) -> list[list[float | None]]:
    return [[None if on > n + 1 else 1 / (1 + n + on) for on in range(tasks)] for n in range(tasks)]


@pytest.mark.parametrize("tasks", [1, 2, 5, 100])
def test_a_result_is_shown_with_the_figures_of_the_terminal(
    tasks: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    found = result(
        matrix(tasks), flips=[0.25] * tasks, forgetting=0.125, uncertainty={"ece": 0.07}, acme=7
    )
    html = found._repr_html_()
    text = shown(html)
    assert text.startswith("a-rule + a-optimizer + a-model + a-stream, seed 3: complete")
    from bnnlab.cli.console import print_out

    for part in result_lines(found.as_dict()):
        print_out(part)
    printed = capsys.readouterr().out
    for number in re.findall(r"-?\d+\.\d+", printed):
        assert number in text, "the terminal shows another number"
    said = repr(found)
    assert said.splitlines()[0] == "a-rule + a-optimizer + a-model + a-stream, seed 3: complete"
    assert said.splitlines()[-1] == "protocol abc, 1.2 s"
    for _, value, meaning in told(found.as_dict()):
        assert f"{value}  {meaning}".rstrip() in said
    assert len(html) < 20_000
    assert ("after" in text) == (tasks > 1) == ("forgetting" in text)
    assert ("10 of 100 tasks are shown" in text) == (tasks == 100)


def test_of_one_task_there_is_no_matrix_and_nothing_that_needs_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from bnnlab.cli.display import print_result

    found = result([[0.925]], average_accuracy=0.925, flips=[0.25], untrained_accuracy=[0.1])
    print_result(found.as_dict(), None)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:3] for line in lines] == [
        ["accuracy", "92.5", "%"],
        ["untrained", "10.0", "%"],
        ["flips", "25.0", "%"],
        ["protocol", "abc,", "seed"],
    ]


def test_names_are_text_and_colours_can_be_read() -> None:
    odd = "<script>alert('1')</script>\n\"&"
    found = replace(
        result([[0.0, 1.0], [0.5, 0.75]]),
        components={kind: {"name": odd} for kind in KINDS},
        folder=Path(odd),
        stop_reason=odd,
    )
    html = found._repr_html_()
    assert "<script" not in html
    assert shown(html).count("<script>alert('1')</script>") == 6
    cells = re.findall(r"background:rgb\((\d+),(\d+),(\d+)\);color:#(\w+)\">([\d.]+)<", html)
    assert [cell[-1] for cell in cells] == ["0.0", "100.0", "50.0", "75.0"]
    for *colour, ink, _ in cells:
        red, green, blue = ((int(c) / 255) ** 2.2 for c in colour)
        light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        ratio = 1.05 / (light + 0.05) if ink == "fff" else (light + 0.05) / 0.05
        assert ratio > 3.5, "the number is not told from its background"
    assert "style" not in re.sub(r'style="[^"]*"', "", html)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from bnnlab.engine.html import matrix_html; "
        "matrix_html([[1.0]], []); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout == "False\n", answer.stderr


class Handle:
    """Stands for what IPython returns for a display that can be updated."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def update(self, progress: Any) -> None:
        ElementTree.fromstring(progress._repr_html_())
        self.seen.append(repr(progress))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for a notebook; return what it has shown."""
    seen: list[str] = []

    def display(progress: Any, display_id: bool) -> Handle:
        assert display_id
        handle = Handle(seen)
        handle.update(progress)
        return handle

    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=None)
    shows: Any = ModuleType("IPython.display")
    shows.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shows)
    monkeypatch.setattr(notebook, "REFRESH", 0)
    return seen


def test_a_notebook_shows_the_progress(kernel: list[str]) -> None:
    bnnlab.run(SMALL)
    assert kernel[0] == "0 %  starting"
    percents = [int(each.partition(" ")[0]) for each in kernel]
    assert percents == sorted(percents)
    assert any(re.search(r"task 2/2, epoch 1/2, \d+ s left$", each) for each in kernel)
    assert re.fullmatch(r"100 %  complete after \d+\.\d s", kernel[-1])


def test_a_run_that_does_not_end_says_how_to_go_on(
    kernel: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: notebook.Progress, *where: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(notebook.Progress, "stepped", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bnnlab.run(SMALL, out=tmp_path, name="a run")
    again = f"bnn run --resume '{tmp_path / 'a run'}'"
    assert kernel[-1] == f"0 %  not complete; to continue: {again}"
    with pytest.raises(KeyboardInterrupt):
        bnnlab.run(SMALL)
    assert kernel[-1] == "0 %  not complete"


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_a_script_and_a_terminal_of_ipython_show_nothing(
    kernel: list[str],
    shell: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: shell)
    bnnlab.run(SMALL, set={"epochs": 1, "stream.tasks": 1})
    assert not kernel
    assert capsys.readouterr() == ("", "")


def test_a_result_is_plotted_or_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bnnlab_plots")
    pytest.importorskip("matplotlib")
    figure = result(matrix(3)).plot()
    assert figure.get_suptitle() == "a-rule + a-optimizer + a-model + a-stream, seed 3"
    assert figure._repr_png_().startswith(b"\x89PNG")
    monkeypatch.setenv("BNNLAB_DISABLE", "bnnlab-plots")
    with pytest.raises(UsageError, match="needs bnnlab-plots, which is disabled"):
        result(matrix(3)).plot()


def test_the_picture_of_one_task_has_the_epochs_that_its_folder_holds(tmp_path: Path) -> None:
    pytest.importorskip("bnnlab_plots")
    pytest.importorskip("matplotlib")
    one = {"stream.tasks": 1, "epochs": 2}
    told, untold = bnnlab.run(SMALL, set=one, out=tmp_path), bnnlab.run(SMALL, set=one)
    (of_epochs,) = told.plot().axes[0].lines[1:]
    assert list(of_epochs.get_xdata()) == [1, 2]
    assert len(untold.plot().axes[0].lines) == 1
