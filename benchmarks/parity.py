"""How near each method comes to its equations: what the plugins' own tests compare, measured.

    python benchmarks/parity.py

Runs the tests that train a method beside its transcription (mostly float64 NumPy), and notes every
comparison that they make with `bnnlab_testing.equations.apart` or `np.testing.assert_allclose`.
Prints the tables of docs/results/parity.md; exits with 1 where a test fails, or a row has none.
"""

import importlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]
SMALL = 1e-9
"""A relative difference is of arrays with a larger number in them: some gradients are rounding."""


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        methods: Components, as the table names them.
        compared: What both sides have done, and what is then compared.
        steps: How many, or the constant of the test's module that says it.
        test: The test, and a part of the names of those of its cases that are meant.
        dtype: Of the model, where the case does not say it.
    """

    methods: str
    compared: str
    steps: int | str
    test: tuple[str, str]
    dtype: torch.dtype = torch.float64


OPTIMIZERS = "test_optimizer.py::test_25_steps_agree_with_the_papers_equations"
TWO = "two networks, and the same gradients"
OWN = "each side trains a network of its own: gradients of every step, latent weights at the end"
ONE = "gradients of all parameters"
ROWS = (
    Row("`bp`", "gradients, beside autograd over the whole network", 1,
        ("backprop/tests/test_rule.py::test_gradients_and_loss_are_those_of_autograd", ""),
        torch.float32),
    Row("`adam`", "latent weights, real parameters", "STEPS",
        ("backprop/tests/test_optimizers.py::test_20_steps_agree_with_the_equations", "adam")),
    Row("`adam`, `decoupled_decay`", "latent weights, real parameters", "STEPS",
        ("backprop/tests/test_optimizers.py::"
         "test_adam_with_decoupled_decay_agrees_with_the_equations", "")),
    Row("`sgd`", "latent weights, real parameters", "STEPS",
        ("backprop/tests/test_optimizers.py::test_20_steps_agree_with_the_equations", "sgd")),
    Row("`meta`", "latent weights, real parameters", "STEPS",
        ("metaplasticity/tests/test_optimizer.py::test_20_steps_agree_with_the_papers_equations",
         "")),
    Row("`beakers`", "latent weights, and the chain behind them", "STEPS",
        ("metaplasticity/tests/test_beakers.py::test_20_steps_agree_with_the_equations", "")),
    Row("`bop`", "averages, real parameters; every sign after every step", "STEPS",
        ("bop/tests/test_optimizer.py::"
         "test_25_steps_agree_with_the_papers_equations_flip_for_flip", "")),
    Row("`bayesbinn`", "lambda, over two tasks", "STEPS",
        ("bayesbinn/tests/test_optimizer.py::"
         "test_25_steps_in_two_tasks_agree_with_the_papers_equations", "")),
    Row("`bayesbinn`, `train_draws=0`", "lambda, over two tasks", "STEPS",
        ("bayesbinn/tests/test_optimizer.py::"
         "test_25_steps_at_the_mean_weights_agree_with_the_equation_in_numpy", "")),
    Row("`bayesbinn`, `mode=sign`", "lambda", "STEPS",
        ("bayesbinn/tests/test_optimizer.py::"
         "test_25_steps_of_mode_sign_agree_with_the_average_in_numpy", ""), torch.float32),
    Row("`mesu`", "mu, sigma, real parameters", "STEPS", (f"mesu/tests/{OPTIMIZERS}", "-mesu")),
    Row("`bgd`", "mu, sigma, real parameters", "STEPS", (f"mesu/tests/{OPTIMIZERS}", "-bgd")),
    Row("`bimu`", "lambda, real parameters", "STEPS", (f"bimu/tests/{OPTIMIZERS}", "")),
    Row("`bhu`", "lambda", "STEPS",
        ("bimu/tests/test_optimizer.py::test_bhu_agrees_with_its_own_equations", "")),
    Row("`ewc`", "weights, penalties, over three tasks with given Fisher information", "STEPS",
        ("consolidation/tests/test_optimizer.py::"
         "test_25_steps_over_tasks_agree_with_the_papers_equations", "ewc")),
    Row("`si`", "weights, penalties, omega, over three tasks", "STEPS",
        ("consolidation/tests/test_optimizer.py::"
         "test_25_steps_over_tasks_agree_with_the_papers_equations", "-si]")),
    Row("`dfa`", OWN, "STEPS",
        ("dfa/tests/test_rule.py::test_20_training_steps_agree_with_numpy", "dfa")),
    Row("`drtp`", OWN, "STEPS",
        ("dfa/tests/test_rule.py::test_20_training_steps_agree_with_numpy", "drtp")),
    Row("`fa`, `sign-symmetric`, `kolen-pollack`", "the same, and the feedback weights", "STEPS",
        ("feedback/tests/test_equations.py::test_20_training_steps_agree_with_numpy", "")),
    Row("`hsic`", ONE, 1, ("hsic/tests/test_rule.py::test_gradients_agree_with_numpy", "")),
    Row("`pepita`", ONE, 3,
        ("pepita/tests/test_equations.py::test_gradients_agree_with_numpy", "modulated")),
    Row("`sigprop-tl`", ONE, 3,
        ("pepita/tests/test_equations.py::test_gradients_agree_with_numpy", "clean")),
    Row("`eqprop` with `bop`", "outputs, biases, scaling factors; every sign after every step",
        "BATCHES", ("eqprop/tests/test_published.py::test_20_batches_agree_flip_for_flip", "")),
    Row("`bptt`", "gradients, beside differences of the loss", 1,
        ("eqprop/tests/test_rule.py::"
         "test_bptt_through_all_steps_is_the_derivative_of_the_relaxed_loss", "")),
    Row("`replay`, `er-ace`, `derpp`", ONE + ", also at weight draws", 1,
        ("rehearsal/tests/test_equations.py::test_a_step_with_past_examples", "")),
    Row("`lwf`", ONE + ", also at weight draws", 1,
        ("rehearsal/tests/test_equations.py::test_lwf_is_taught_by_the_model_before_the_task", "")),
    Row("`distill`", "the loss, and its gradient at the logits", 1,
        ("vit/tests/test_distillation.py::test_loss_and_gradient_are_those_of_the_equation", ""),
        torch.float32),
    Row("models `vit`, `hybrid`, `bvit`", "logits", 1,
        ("vit/tests/test_blocks.py::test_logits_are_those_of_the_equations", "")),
)  # fmt: skip


class Largest:
    """The largest difference that was seen, and in how many cases."""

    def __init__(self) -> None:
        self.absolute = self.relative = 0.0

    def note(self, found: Any, wanted: Any) -> None:
        """Take two arrays that should be equal."""
        found, wanted = (np.asarray(each, np.float64) for each in (found, wanted))
        if found.size:
            apart, size = np.abs(found - wanted).max(), np.abs(wanted).max()
            self.absolute = max(self.absolute, float(apart))
            if size > SMALL:
                self.relative = max(self.relative, float(apart / size))

    def __str__(self) -> str:
        return f"{self.absolute:.1e}; {self.relative:.1e}" if self.absolute else "0"


class Recorder:
    """A plugin of pytest: runs the tests of the rows alone, and notes what they compare."""

    def __init__(self) -> None:
        self.seen: defaultdict[tuple[Row, torch.dtype], Largest] = defaultdict(Largest)
        self.cases: defaultdict[Row, int] = defaultdict(int)
        self.steps: dict[Row, int] = {}
        self.modules: dict[str, Any] = {}
        self.now: Largest | None = None

    def noting(self, compare: Callable[..., Any]) -> Callable[..., Any]:
        """Return a comparison that is noted, too."""

        def both(found: Any, wanted: Any, *arguments: Any, **options: Any) -> Any:
            if self.now is not None:
                self.now.note(found, wanted)
            return compare(found, wanted, *arguments, **options)

        return both

    def pytest_configure(self) -> None:
        """Note the comparisons of tests that are imported from now on."""
        equations = importlib.import_module("bnnlab_testing.equations")
        for module, name in ((equations, "apart"), (np.testing, "assert_allclose")):
            setattr(module, name, self.noting(getattr(module, name)))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests of the rows."""
        items[:] = [item for item in items if row_of(item) is not None]

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: Any) -> Iterator[None]:
        """Note what this test compares."""
        row = row_of(item)
        assert row is not None
        given = getattr(item, "callspec", None)
        dtype = given.params.get("dtype", row.dtype) if given else row.dtype
        steps = row.steps
        self.steps[row] = steps if isinstance(steps, int) else getattr(item.module, steps)
        self.cases[row] += 1
        self.modules[item.path.stem] = item.module
        self.now = self.seen[row, dtype]
        yield
        self.now = None


def row_of(item: pytest.Item) -> Row | None:
    """Return the row that a test belongs to."""
    for row in ROWS:
        test, case = row.test
        name = item.nodeid.partition(test)
        if name[1] and name[2][:1] in ("", "[") and case in name[2]:
            return row
    return None


def table(recorder: Recorder) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| method | compared | steps | cases | float64 | float32 | test |"
    yield "|---|---|---|---|---|---|---|"
    for row in ROWS:
        found = (recorder.seen.get((row, dtype)) for dtype in (torch.float64, torch.float32))
        path, _, test = row.test[0].partition("::")
        cells = [row.methods, row.compared, recorder.steps[row], recorder.cases[row],
                 *("" if each is None else each for each in found),
                 f"`plugins/{path}` `{test}`"]  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |"


def ties(published: Any) -> Iterator[str]:
    """Yield the lines of a table: signs that differ where states, and so sums, are equal."""
    usual = published.NETS["conv"]
    pooled = {"input_shape": (2, 13, 13), "padding": 0, "pooling": [2, 2]}
    nets = {
        "powers of two": published.NETS["conv, equal states"],
        "others": usual._replace(model={**usual.model, **pooled}),
    }
    yield "| scaling factors | signs | differ after 1, 5, 20 batches |"
    yield "|---|---|---|"
    for name, net in nets.items():
        model, rule, optimizer = net.make()
        theirs, apart = published.Published(net, model), []
        for batch, (x, labels) in enumerate(net.batches(), start=1):
            optimizer.step(rule.closure(model, (x, labels)))
            sign = published.drawn_sign(rule, batch)
            theirs.step(x.numpy(), labels.numpy(), sign * net.rule["beta"])
            pairs = zip(published.layers(model), theirs.w, strict=True)
            apart.append(sum(int((one.weight.detach().numpy() != w).sum()) for one, w in pairs))
        count = sum(w.size for w in theirs.w)
        yield f"| {name} | {count} | {apart[0]}, {apart[4]}, {apart[-1]} |"


def main() -> int:
    """Run the tests, and print both tables."""
    recorder = Recorder()
    files = dict.fromkeys(str(ROOT / "plugins" / row.test[0].partition("::")[0]) for row in ROWS)
    words = ["-q", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    failed = pytest.main([*words, *files], plugins=[recorder])
    lacking = [row.methods for row in ROWS if row not in recorder.steps]
    if failed or lacking:
        print(f"No table: tests failed, or have no case for {', '.join(lacking) or 'a row'}.")
        return 1
    print(*table(recorder), "", *ties(recorder.modules["test_published"]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
