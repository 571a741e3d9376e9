"""EWC and SI against the equations of their papers, transcribed to float64 NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bnnlab
from bnnlab import BatchNorm, BinaryLinear, Model, Optimizer, Sign, TaskContext
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.rule import Batch
from bnnlab.interfaces.stream import Task
from bnnlab_consolidation import ewc as ewc_module
from bnnlab_consolidation.consolidation import Consolidation
from bnnlab_consolidation.ewc import EWC, sum_of_squares
from bnnlab_consolidation.si import SI
from bnnlab_testing import toy
from bnnlab_testing.equations import constant, float64, make_model

STEPS = 25
TASK_ENDS = (7, 14, 21)
KINDS: dict[str, type[Consolidation]] = {"ewc": EWC, "si": SI}


def make_task(index: int = 0, classes: int = 10, examples: int = 40) -> Task:
    draws = torch.Generator().manual_seed(100 + index)
    pixels = torch.randn(examples, 1, 8, 8, generator=draws)
    labels = torch.randint(0, classes, (examples,), generator=draws)
    mean, std = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    part = Examples(pixels, labels, torch.arange(examples), mean, std)
    return Task(index, "noise", part, part)


def context(model: Model, task: Task | None = None) -> TaskContext:
    return TaskContext(task or make_task(), model, toy.ToyRule(), 16, 15)


def make_closure(model: Model, seed: int) -> Callable[[], Tensor]:
    batch = make_task(seed, examples=16).train.batch(torch.arange(16))
    inputs = batch[0].to(next(model.parameters()))
    return toy.ToyRule().closure(model, Batch(inputs, batch[1]))


def make(kind: type[Consolidation], model: Model, **options: Any) -> Any:
    return kind(model, generator=torch.Generator().manual_seed(2), **options)


def make_base(model: Model, base: str, **options: Any) -> Optimizer:
    """The base as a consolidating optimizer from `make` has it."""
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(2)))
    made: Optimizer = bnnlab.create("optimizer", base, model, seed=seed, **options)
    return made


def train(model: Model, optimizer: Optimizer, steps: int, *, ends: tuple[int, ...] = ()) -> None:
    for step in range(steps):
        optimizer.step(make_closure(model, step))
        if step in ends:
            optimizer.task_ended(context(model, make_task(step)))


def assert_close(found: Tensor, wanted: np.ndarray, tolerance: float, what: str) -> None:
    scale = max(np.abs(wanted).max(), 1e-30)
    assert np.abs(float64(found) - wanted).max() < tolerance * scale, what


def assert_same(model: Model, other: Model) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


# ---------------------------------------------------------------------- the equations


class PaperSGD:
    """SGD with momentum on one array, and the array's values at the tasks' ends."""

    def __init__(self, theta: np.ndarray, lr: float, momentum: float, clip: float) -> None:
        self.theta, self.lr, self.momentum, self.clip = theta, lr, momentum, clip
        self.velocity = np.zeros_like(theta)
        self.start = theta.copy()

    def step(self, g: np.ndarray) -> None:
        before = self.theta
        self.velocity = self.momentum * self.velocity + g + self.penalty()
        self.theta = np.clip(before - self.lr * self.velocity, -self.clip, self.clip)
        self.moved(g, self.theta - before)

    def penalty(self) -> np.ndarray:
        """The base alone has none."""
        return np.zeros_like(self.theta)

    def moved(self, g: np.ndarray, change: np.ndarray) -> None:
        """Only synaptic intelligence listens."""


class PaperEWC(PaperSGD):
    """Kirkpatrick et al., eq. 3, as a sum over tasks; online as in Schwarz et al."""

    def __init__(self, *sgd: Any, lam: float, gamma: float | None) -> None:
        super().__init__(*sgd)
        self.lam, self.gamma = lam, gamma
        self.ends: list[tuple[np.ndarray, np.ndarray]] = []

    def penalty(self) -> np.ndarray:
        each = [F_k * (self.theta - theta_k) for F_k, theta_k in self.ends]
        return self.lam * np.sum([np.zeros_like(self.theta), *each], axis=0)

    def task_ended(self, F_k: np.ndarray) -> None:
        if self.gamma is not None:
            for F_before, _ in self.ends:
                F_k = F_k + self.gamma * F_before
            self.ends = []
        self.ends.append((F_k, self.theta.copy()))


class PaperSI(PaperSGD):
    """Zenke et al., eqs. 3-5."""

    def __init__(self, *sgd: Any, c: float, xi: float) -> None:
        super().__init__(*sgd)
        self.c, self.xi = c, xi
        self.omega, self.Omega = np.zeros_like(self.theta), np.zeros_like(self.theta)

    def penalty(self) -> np.ndarray:
        return 2 * self.c * self.Omega * (self.theta - self.start)

    def moved(self, g: np.ndarray, change: np.ndarray) -> None:
        self.omega -= g * change

    def task_ended(self, _: object) -> None:
        self.Omega += np.maximum(0, self.omega) / ((self.theta - self.start) ** 2 + self.xi)
        self.omega = np.zeros_like(self.theta)
        self.start = self.theta.copy()


def run_both(
    optimizer: Consolidation, model: Model, papers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give both the same gradients, and the same Fisher information at three tasks' ends."""
    names = dict(model.named_parameters())
    draws = torch.Generator().manual_seed(5)
    for step in range(STEPS):
        grads = {}
        plain = make_closure(model, step)

        def closure(plain: Any = plain, grads: dict[str, np.ndarray] = grads) -> Tensor:
            loss: Tensor = plain()
            grads.update({n: float64(p.grad) for n, p in names.items() if p.grad is not None})
            return loss

        optimizer.step(closure)
        assert grads.keys() == names.keys()
        for name, paper in papers.items():
            paper.step(grads[name])
        if step in TASK_ENDS:
            fisher = {n: torch.rand(p.shape, generator=draws).to(p) for n, p in names.items()}
            for each in fisher.values():
                each.mul_(each > 0.3)  # some are 0 in one task, some in all
            monkeypatch.setattr(EWC, "_find_fisher", lambda *_, found=fisher: dict(found))
            kept = {name: float64(each) for name, each in fisher.items()}
            optimizer.task_ended(context(model))
            for name, paper in papers.items():
                paper.task_ended(kept[name])


CASES: dict[str, tuple[type[Consolidation], dict[str, Any], type[PaperSGD], dict[str, Any]]] = {
    "ewc, offline": (
        EWC,
        {"strength": 0.4, "variant": "offline"},
        PaperEWC,
        {"lam": 0.4, "gamma": None},
    ),
    "ewc, online": (
        EWC,
        {"strength": 0.4, "decay": 0.7},
        PaperEWC,
        {"lam": 0.4, "gamma": 0.7},
    ),
    "si": (SI, {"strength": 0.5, "damping": 0.05}, PaperSI, {"c": 0.5, "xi": 0.05}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_25_steps_over_tasks_agree_with_the_papers_equations(
    case: str, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The offline quadratic, one for all, is compared with the sum over tasks."""
    kind, options, paper, symbols = CASES[case]
    model = make_model().to(dtype)
    given = ["momentum=0.5", "latent_clip=0.2"]
    optimizer = make(kind, model, lr=0.05, base_options=given, **options)
    binary = model.binary_parameters()
    papers = {
        name: paper(
            float64(optimizer.theta(p)), 0.05, 0.5, 0.2 if name in binary else np.inf, **symbols
        )
        for name, p in model.named_parameters()
    }
    run_both(optimizer, model, papers, monkeypatch)
    for name, p in model.named_parameters():
        assert_close(optimizer.theta(p), papers[name].theta, tolerance, name)
        penalty, wanted = optimizer.penalty(p), papers[name].penalty()
        assert np.abs(wanted).max() > 0, "nothing is compared"
        assert penalty is not None
        if dtype is torch.float64:  # a difference of near numbers: too few digits in float32
            assert_close(options["strength"] * penalty, wanted, 1e-8, f"penalty of {name}")
        # The realised change of a float32 near 1 has too few digits: the normalisation's gains.
        if kind is SI and (dtype is torch.float64 or name in binary):
            state, other = optimizer.state[p], papers[name]
            assert_close(state["si_omega"], other.omega, tolerance, f"omega of {name}")
            assert_close(state["si_Omega"], other.Omega, tolerance, f"Omega of {name}")
        if name in binary:
            assert p.abs().eq(1).all(), name


# ---------------------------------------------------------------------- Fisher information


def loop_over_examples(
    model: Model, task: Task, inputs: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for x, y in zip(inputs, targets, strict=True):
        model.zero_grad()
        F.cross_entropy(task.mask(model(x[None])), y[None]).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            total[name] += p.grad**2
    return total


@pytest.mark.parametrize("make_it", [make_model, toy.make_real_model, toy.make_normalised_model])
@pytest.mark.parametrize("masked", [False, True])
def test_squares_of_all_examples_at_once_are_those_of_a_loop(
    make_it: Callable[[], Model], masked: bool
) -> None:
    model = make_it().eval()
    draws = torch.Generator().manual_seed(3)
    assert model.input_shape is not None
    inputs = torch.randn(9, *model.input_shape, generator=draws)
    classes = model(inputs[:1]).shape[1]
    allowed = torch.arange(classes) < 2
    task = make_task()
    if masked:
        task = Task(0, "two classes", task.train, task.test, classes=allowed)
    targets = torch.randint(0, 2, (9,), generator=draws)
    found = sum_of_squares(model, task, inputs, targets)
    for name, wanted in loop_over_examples(model, task, inputs, targets).items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-9)
        assert bool(found[name].any()), f"{name} has no gradient: nothing is compared"


def test_fisher_is_the_mean_over_labels_drawn_from_the_prediction() -> None:
    """For one linear layer it is known: the mean over x of x_j^2 p_i (1 - p_i)."""
    draws = torch.Generator().manual_seed(4)
    model = Model([nn.Sequential(nn.Flatten(), BinaryLinear(64, 3, generator=draws))], (1, 8, 8))
    task = make_task(examples=2000, classes=1)  # all of class 0: labels must not be looked at
    optimizer = make(EWC, model, fisher_samples=2000)
    optimizer.task_ended(context(model, task))
    (weight,) = model.parameters()
    inputs, _ = task.train.batch(torch.arange(2000))
    p = model(inputs).softmax(-1).detach()
    x = inputs.flatten(1) / 8  # scale "fan-in": 1 / sqrt(64)
    wanted = (p * (1 - p)).T @ x**2 / 2000
    ratio = optimizer.state[weight]["ewc_fisher"].mean(1) / wanted.mean(1)
    assert bool(((ratio - 1).abs() < 0.1).all()), ratio


@pytest.mark.parametrize("samples", [7, 40, 1000])
def test_fisher_is_a_mean_over_different_examples_all_if_there_are_fewer(
    samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def record(model: Model, task: Task, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        seen.append(inputs)
        each = {name: torch.ones_like(p) for name, p in model.named_parameters()}
        return {name: len(targets) * ones for name, ones in each.items()}

    monkeypatch.setattr(ewc_module, "sum_of_squares", record)
    model = make_model()
    monkeypatch.setattr(
        ewc_module, "GRADIENT_BYTES", 3 * 4 * sum(p.numel() for p in model.parameters())
    )
    optimizer = make(EWC, model, fisher_samples=samples)
    optimizer.task_ended(context(model))
    assert max(map(len, seen)) == 3, "gradients of three examples fit"
    assert len(torch.cat(seen).flatten(1).unique(dim=0)) == min(samples, 40)
    for parameter in model.parameters():
        torch.testing.assert_close(
            optimizer.state[parameter]["ewc_fisher"], torch.ones_like(parameter)
        )


@pytest.mark.parametrize("statistics", ["running", "recalibrated", "per-task"])
def test_batch_normalisation_is_used_as_at_test_and_left_alone(statistics: Any) -> None:
    def build() -> Model:
        draws = torch.Generator().manual_seed(1)
        first = [nn.Flatten(), BinaryLinear(64, 8, generator=draws), BatchNorm(8, statistics)]
        return Model([nn.Sequential(*first, Sign()), BinaryLinear(8, 10, generator=draws)])

    model = build()
    optimizer = make(EWC, model)
    model.train()
    model.segments[1].eval()  # every module goes back into its own mode
    train(model, optimizer, 3)
    norm = next(module for module in model.modules() if isinstance(module, BatchNorm))
    before = norm.mean.clone()
    assert bool(before.any()) == (statistics != "recalibrated")
    optimizer.task_ended(context(model))
    assert torch.equal(norm.mean, before) == (statistics != "recalibrated")
    assert model.segments[0].training
    assert not model.segments[1].training
    fisher = [optimizer.state[p]["ewc_fisher"] for p in model.parameters()]
    assert all(bool(each.isfinite().all()) and bool(each.any()) for each in fisher)
    for kind in KINDS.values():
        model = build()
        train(model, make(kind, model), 20, ends=(4, 9))
        assert all(bool(p.isfinite().all()) for p in model.parameters())


# ---------------------------------------------------------------------- as the base

BASES = ("sgd", "meta")


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_tasks_end_it_is_its_base_bit_for_bit(kind: str, base: str) -> None:
    model, other = make_model(), make_model()
    optimizer = make(KINDS[kind], model, base=base, strength=1000.0)
    train(model, optimizer, 10)
    train(other, make_base(other, base), 10)
    assert_same(model, other)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", KINDS)
def test_with_strength_0_it_is_its_base_bit_for_bit(kind: str, base: str) -> None:
    model, other, held = make_model(), make_model(), make_model()
    optimizer = make(KINDS[kind], model, base=base, strength=0.0)
    train(model, optimizer, 12, ends=(3, 7))
    train(other, make_base(other, base), 12)
    assert_same(model, other)
    train(held, make(KINDS[kind], held, base=base, strength=100.0), 12, ends=(3, 7))
    assert any(
        not torch.equal(one, two)
        for one, two in zip(held.parameters(), other.parameters(), strict=True)
    ), "the penalty does nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_options_reach_the_base(kind: str) -> None:
    model = make_model()
    given = ["beta1=0.5", "latent_clip='none'", " latent_init = 0.5", "gradient_clip=2"]
    optimizer = make(KINDS[kind], model, base="bnnlab-backprop/adam", base_options=given, lr=0.02)
    group = optimizer.base.param_groups[0]
    assert (group["lr"], group["betas"]) == (0.02, (0.5, 0.999))
    assert (optimizer.base.latent_clip, optimizer.base.gradient_clip) == (None, 2.0)
    latents = [optimizer.theta(p).abs().max() for p in model.binary_parameters().values()]
    assert 0.3 < max(latents) <= 0.5


def test_a_list_reaches_the_base() -> None:
    model = make_model()
    optimizer = make(EWC, model, base="meta", base_options=["m=[3.0, 2.0, 1]"])
    weights = model.binary_parameters().values()
    assert [optimizer.base.state[weight]["m"] for weight in weights] == [3.0, 2.0, 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_clipping_of_the_base_covers_the_penalty(kind: str) -> None:
    model = make_model()
    given = ["gradient_clip=0.001", "momentum=0.0"]
    optimizer = make(KINDS[kind], model, lr=1.0, base_options=given, strength=1e6)
    train(model, optimizer, 5, ends=(2,))
    before = [optimizer.theta(p).clone() for p in model.parameters()]
    optimizer.step(make_closure(model, 7))
    moved = [optimizer.theta(p) - old for p, old in zip(model.parameters(), before, strict=True)]
    assert torch.cat([each.flatten() for each in moved]).norm() <= 0.00101


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_calls_the_closure_once_and_returns_the_loss_alone(kind: str) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, strength=100.0)
    train(model, optimizer, 4, ends=(1,))
    losses = []
    closure = make_closure(model, 9)

    def counting() -> Tensor:
        losses.append(closure())
        return losses[-1]

    assert optimizer.step(counting) is losses[0]
    assert len(losses) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_the_caller_keeps_is_not_changed(kind: str) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, strength=100.0)
    train(model, optimizer, 4, ends=(1,))
    kept = {p: torch.ones_like(p) for p in model.parameters()}

    def closure() -> Tensor:
        for p, grad in kept.items():
            p.grad = grad
        return torch.zeros(())

    optimizer.step(closure)
    assert all(bool((grad == 1).all()) for grad in kept.values())


@pytest.mark.parametrize("kind", KINDS)
def test_schedulers_act_on_the_base(kind: str) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(model, optimizer, 1)
    scheduler.step()
    assert [group["lr"] for group in optimizer.base.param_groups] == [0.05, 0.05]
    other = make(KINDS[kind], make_model(), lr=0.3)
    other.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in other.base.param_groups] == [0.05, 0.05]
    assert other.base.state is other.state


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_hears_of_tasks_and_says_its_diagnostics(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    optimizer = make(KINDS[kind], model, base="meta", base_options=["m=auto"])
    told = context(model)
    optimizer.task_started(told)
    assert all(optimizer.base.state[w]["m"] != "auto" for w in model.binary_parameters().values())
    heard = []
    monkeypatch.setattr(optimizer.base, "task_ended", heard.append)
    monkeypatch.setattr(optimizer.base, "diagnostics", lambda: {"shown": 1.5})
    optimizer.task_ended(told)
    assert heard == [told]
    assert optimizer.diagnostics() == {"shown": 1.5}


def test_what_only_the_base_saves_is_restored() -> None:
    """A base with a generator of its own goes on with it, not with the wrapper's."""
    model, again = make_model(), make_model()
    optimizer, resumed = make(EWC, model), make(EWC, again)
    optimizer.base._generator = torch.Generator().manual_seed(11)
    resumed.base._generator = torch.Generator().manual_seed(12)
    torch.rand(5, generator=optimizer.base._generator)
    resumed.load_state_dict(optimizer.state_dict())
    pairs = ((optimizer, resumed), (optimizer.base, resumed.base))
    for one, two in pairs:
        assert torch.equal(one._generator.get_state(), two._generator.get_state())
    assert not torch.equal(resumed._generator.get_state(), resumed.base._generator.get_state())


# ---------------------------------------------------------------------- memory


def state_bytes(optimizer: Optimizer, parameter: Tensor) -> float:
    values = [v for v in optimizer.state[parameter].values() if isinstance(v, Tensor)]
    total = sum(v.numel() * v.element_size() for v in values if v.shape == parameter.shape)
    return total / parameter.numel()


@pytest.mark.parametrize("variant", ["offline", "online", "si"])
def test_memory_does_not_grow_with_tasks(variant: str) -> None:
    model = make_model()
    optimizer = make(SI, model) if variant == "si" else make(EWC, model, variant=variant)
    train(model, optimizer, 2, ends=(0,))
    once = {p: state_bytes(optimizer, p) for p in model.parameters()}
    train(model, optimizer, 10, ends=(1, 3, 5, 7))
    assert once == {p: state_bytes(optimizer, p) for p in model.parameters()}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("kind", "own"), [("ewc", 8), ("si", 12)])
def test_it_needs_8_or_12_bytes_beside_the_base(kind: str, own: int, base: str) -> None:
    model, alone = make_model(), make_model()
    optimizer, plain = make(KINDS[kind], model, base=base), make_base(alone, base)
    train(model, optimizer, 2, ends=(1,))
    train(alone, plain, 2)
    for p, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert state_bytes(optimizer, p) == state_bytes(plain, other) + own
    assert optimizer.base.state is optimizer.state, "nothing is kept anywhere else"


# ---------------------------------------------------------------------- degenerate input


def assert_finite(optimizer: Optimizer, model: Model) -> None:
    for p in model.parameters():
        assert bool(p.isfinite().all())
        for name, value in optimizer.state[p].items():
            assert bool(torch.as_tensor(value).isfinite().all()), name


@pytest.mark.parametrize("base", ["adam", "sgd"])
@pytest.mark.parametrize("value", [0.0, 1e6, 1e30])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_zero_and_huge_ones_leave_finite_numbers(
    kind: str, value: float, base: str
) -> None:
    """With 1e30 only SI's own sums are looked at: with such a loss a model predicts nothing."""
    if base == "adam" and value == 1e30:
        pytest.skip("the square of 1e30 is infinite in the base's own second moment")
    model = make_model()
    optimizer = make(KINDS[kind], model, base=base)
    ends = value < 1e30 or kind == "si"
    for step in range(4):
        optimizer.step(constant(model, value))
        if step == 1 and ends:
            optimizer.task_ended(context(model))
        assert_finite(optimizer, model)
    if value == 0:
        for p in model.parameters():
            penalty = optimizer.penalty(p)
            assert penalty is not None
            assert not bool(penalty.any()), "nothing moved, and still it is pulled"


@pytest.mark.parametrize("variant", ["offline", "online"])
@pytest.mark.parametrize("classes", [1, 10])
def test_one_example_of_one_class_is_a_task(variant: Any, classes: int) -> None:
    """With one class allowed the prediction is sure, and the Fisher information is 0."""
    model = make_model()
    task = make_task(examples=1, classes=1)
    allowed = torch.arange(10) < classes
    task = Task(0, "one", task.train, task.test, classes=allowed)
    optimizer = make(EWC, model, variant=variant, strength=1.0)
    for _ in range(3):
        optimizer.step(make_closure(model, 0))
        optimizer.task_ended(context(model, task))
        assert_finite(optimizer, model)
    fisher = [optimizer.state[p]["ewc_fisher"] for p in model.parameters()]
    assert any(bool(each.any()) for each in fisher) == (classes > 1)


def test_a_negative_omega_counts_as_none() -> None:
    """A path that goes up the loss gives no importance: the quadratic stays bounded."""
    model = make_model()
    optimizer = make(SI, model)
    optimizer.step(make_closure(model, 0))
    for p in model.parameters():
        optimizer.state[p]["si_omega"].fill_(-1.0)
    optimizer.task_ended(context(model))
    assert not any(bool(optimizer.state[p]["si_Omega"].any()) for p in model.parameters())


@pytest.mark.rounding
def test_omega_is_the_loss_that_the_steps_took_away() -> None:
    """Real weights, small steps: the sum of all omega is the drop of the loss (eq. 3)."""
    model, task = toy.make_real_model(), toy.make_task()
    optimizer = make(SI, model, lr=1e-4, base_options=["momentum=0.0"])
    batch = Batch(*next(task.train.batches(40)))
    closure = toy.ToyRule().closure(model, batch)
    start = float(closure())
    for _ in range(200):
        optimizer.step(closure)
    drop = start - float(closure())
    total = sum(float(optimizer.state[p]["si_omega"].sum()) for p in model.parameters())
    assert drop > 0.01
    assert total == pytest.approx(drop, rel=0.02)


# ---------------------------------------------------------------------- learning


def run(optimizer: str, tasks: int, seed: int, **options: Any) -> Any:
    settings = {f"optimizer.{name}": value for name, value in options.items()}
    return bnnlab.run(
        rule="bp",
        optimizer=optimizer,
        stream="permuted-digits",
        set={"stream.tasks": tasks, "model.hidden": [128], **settings},
        epochs=5,
        device="cpu",
        seed=seed,
    )


@pytest.mark.rounding
def test_elastic_weights_forget_less_than_their_base() -> None:
    """Five seeds forget from 0.23 to 0.33 less, and learn the newer task to 0.89 or more."""
    base = run("sgd", 2, 0)
    held = run("ewc", 2, 0, strength=1000.0, fisher_samples=200)
    assert held.forgetting < base.forgetting - 0.1
    assert held.accuracy[1][1] > 0.6


@pytest.mark.rounding
@pytest.mark.slow
def test_synaptic_intelligence_forgets_less_than_its_base() -> None:
    """Single seeds forget from 0.14 to 0.25 less, five together 0.2."""
    pairs = [(run("sgd", 3, seed), run("si", 3, seed)) for seed in range(5)]
    saved = sum(base.forgetting - held.forgetting for base, held in pairs) / len(pairs)
    assert saved > 0.08
    assert min(held.accuracy[2][2] for _, held in pairs) > 0.6
