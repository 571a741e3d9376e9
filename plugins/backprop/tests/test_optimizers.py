"""Adam and SGD on latent weights against their equations, transcribed to float64 NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bnnlab import BinaryLinear, LatentOptimizer, Model
from bnnlab_backprop.optimizers import LatentAdam, LatentSGD
from bnnlab_testing.equations import Adam, Array, apart, float64, make_closure, make_model

STEPS = 20
CLASSES: dict[str, type[LatentOptimizer]] = {"adam": LatentAdam, "sgd": LatentSGD}


class SGD:
    """V <- .9 V + g, W <- W - lr V."""

    def __init__(self, value: Array, lr: float, decay: float) -> None:
        self.value, self.lr, self.decay, self.V = value, lr, decay, np.zeros_like(value)

    def step(self, g: Array) -> None:
        self.V = 0.9 * self.V + g + self.decay * self.value
        self.value = self.value - self.lr * self.V


class AdamW(Adam):
    """Loshchilov and Hutter, ICLR 2019, algorithm 2: a decay of 0.7, apart from the gradient."""

    def step(self, g: Array) -> None:
        self.value = self.value - self.lr * 0.7 * self.value
        super().step(g)


def recording(
    model: Model, closure: Callable[[], Tensor], grads: dict[str, Array]
) -> Callable[[], Tensor]:
    """Return a closure that copies the gradients before anything clips them."""

    def record() -> Tensor:
        loss = closure()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            grads[name] = float64(parameter.grad)
        return loss

    return record


def compare(
    name: str,
    dtype: torch.dtype,
    tolerance: float,
    *,
    lr: float,
    decay: float = 0.0,
    latent_clip: float | None = None,
    gradient_clip: float | None = None,
    real_lr: float | None = None,
    decoupled: bool = False,
) -> tuple[int, int]:
    """Train both for 20 steps; return how often a latent and a gradient were clipped."""
    model = make_model().to(dtype)
    binary = model.binary_parameters()
    optimizer = CLASSES[name](
        model,
        generator=torch.Generator().manual_seed(2),
        lr=lr,
        real_lr=real_lr,
        weight_decay=decay,
        latent_clip=latent_clip,
        gradient_clip=gradient_clip,
        **({"decoupled_decay": 0.7} if decoupled else {}),
    )
    method: Any = AdamW if decoupled else {"adam": Adam, "sgd": SGD}[name]
    papers = {
        key: method(float64(optimizer.state[p]["latent"]), lr, decay)
        if key in binary
        else method(float64(p), real_lr or lr, decay)
        for key, p in model.named_parameters()
    }
    at_bound = cut = 0
    grads: dict[str, Array] = {}
    for step in range(STEPS):
        optimizer.step(recording(model, make_closure(model, step), grads))
        factor = 1.0
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        if gradient_clip is not None and norm > gradient_clip:
            factor, cut = gradient_clip / (norm + 1e-6), cut + 1  # torch's 1e-6 of safety
        for key, paper in papers.items():
            paper.step(factor * grads[key])
            if key in binary and latent_clip is not None:
                at_bound += int((np.abs(paper.value) > latent_clip).sum())
                paper.value = np.clip(paper.value, -latent_clip, latent_clip)
        for key, p in binary.items():
            assert p.abs().eq(1).all(), f"{key} is not binary after step {step}"
    for key, p in model.named_parameters():
        wanted = papers[key].value
        found = float64(optimizer.state[p]["latent"] if key in binary else p)
        scale = np.abs(wanted).max()
        assert apart(found, wanted) < tolerance, key
        if key in binary:
            sure = np.abs(wanted) > tolerance * scale
            assert np.array_equal(float64(p)[sure], np.sign(wanted)[sure]), key
    return at_bound, cut


PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)]
)


@PRECISIONS
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize(("name", "lr"), [("adam", 0.005), ("sgd", 0.05)])
def test_20_steps_agree_with_the_equations(
    name: str, lr: float, decay: float, dtype: torch.dtype, tolerance: float
) -> None:
    compare(name, dtype, tolerance, lr=lr, decay=decay)


@PRECISIONS
def test_adam_with_decoupled_decay_agrees_with_the_equations(
    dtype: torch.dtype, tolerance: float
) -> None:
    compare("adam", dtype, tolerance, lr=0.005, real_lr=0.02, decoupled=True)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.1)])
def test_sgd_agrees_with_the_equations_in_half_precision(
    dtype: torch.dtype, tolerance: float
) -> None:
    compare("sgd", dtype, tolerance, lr=0.05, decay=0.01)


@PRECISIONS
@pytest.mark.parametrize(("name", "lr"), [("adam", 0.005), ("sgd", 0.05)])
def test_real_parameters_have_their_own_learning_rate(
    name: str, lr: float, dtype: torch.dtype, tolerance: float
) -> None:
    compare(name, dtype, tolerance, lr=lr, real_lr=lr / 7)


@PRECISIONS
@pytest.mark.parametrize(("name", "lr"), [("adam", 0.005), ("sgd", 0.05)])
def test_latent_weights_are_clipped_after_the_step(
    name: str, lr: float, dtype: torch.dtype, tolerance: float
) -> None:
    at_bound, _ = compare(name, dtype, tolerance, lr=lr, latent_clip=0.04)
    assert at_bound > 0


@PRECISIONS
@pytest.mark.parametrize(("name", "lr"), [("adam", 0.005), ("sgd", 0.05)])
def test_the_gradients_norm_over_all_parameters_is_clipped(
    name: str, lr: float, dtype: torch.dtype, tolerance: float
) -> None:
    _, cut = compare(name, dtype, tolerance, lr=lr, gradient_clip=0.5)
    assert cut > 0


@pytest.mark.parametrize("name", CLASSES)
def test_latent_weights_are_bounded_by_1_unless_told_otherwise(name: str) -> None:
    model = Model([BinaryLinear(3, 2)])
    optimizer = CLASSES[name](model, generator=torch.Generator().manual_seed(0), lr=5.0)
    (weight,) = model.parameters()

    def closure() -> Tensor:
        weight.grad = torch.ones_like(weight)
        return torch.zeros(())

    optimizer.step(closure)
    assert optimizer.state[weight]["latent"].eq(-1).all()
    assert weight.eq(-1).all()


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_of_real_weights_trains_as_with_torchs_own(name: str) -> None:
    def make() -> Model:
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
        torch.nn.init.constant_(net[1].bias, 0.1)
        with torch.no_grad():
            for index in (1, 3):
                net[index].weight.copy_(
                    torch.linspace(-1, 1, net[index].weight.numel()).view_as(net[index].weight)
                )
                net[index].bias.fill_(0.1)
        return Model([net])

    ours, theirs = make(), make()
    optimizer = CLASSES[name](ours, generator=torch.Generator(), lr=0.01)
    wanted: torch.optim.Optimizer = (
        torch.optim.Adam(theirs.parameters(), lr=0.01)
        if name == "adam"
        else torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9)
    )
    for step in range(5):
        a = optimizer.step(make_closure(ours, step))
        b = wanted.step(make_closure(theirs, step))
        torch.testing.assert_close(a, b)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CLASSES)
def test_the_gradient_passes_straight_through_to_a_latent_weight_of_any_size(name: str) -> None:
    """A latent weight far outside [-1, 1] still moves: nothing gates its gradient."""
    model = Model([BinaryLinear(1, 1)])
    optimizer = CLASSES[name](
        model, generator=torch.Generator().manual_seed(0), lr=0.5, latent_clip=None
    )
    (weight,) = model.parameters()
    latent = optimizer.state[weight]["latent"]
    latent.fill_(10.0)

    def closure() -> Tensor:
        weight.grad = torch.ones_like(weight)
        return torch.zeros(())

    optimizer.step(closure)
    assert latent.item() == pytest.approx(9.5)
    assert weight.item() == 1


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_whose_binary_parameters_are_not_binary_is_refused(name: str) -> None:
    model = make_model()
    with torch.no_grad():
        next(iter(model.binary_parameters().values())).view(-1)[0] = 0.5
    with pytest.raises(ValueError, match=r"segments\.0\.0\.weight"):
        CLASSES[name](model, generator=torch.Generator(), lr=0.01)
