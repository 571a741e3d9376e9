"""Adam and SGD on latent weights against their equations, transcribed to float64 NumPy."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab import BinaryConv2d, BinaryLinear, LatentOptimizer, Model, Sign
from bnnlab_backprop.optimizers import LatentAdam, LatentSGD

STEPS = 20
CLASSES: dict[str, type[LatentOptimizer]] = {"adam": LatentAdam, "sgd": LatentSGD}


def make_model() -> Model:
    """A convolutional and two linear binary layers, and real biases, scales, gains and shifts."""
    draws = torch.Generator().manual_seed(1)
    return Model(
        [
            nn.Sequential(
                BinaryConv2d(1, 4, 3, bias=True, scale="learned", generator=draws),
                nn.Flatten(),
                nn.LayerNorm(4 * 6 * 6),
                Sign(),
            ),
            nn.Sequential(BinaryLinear(144, 20, bias=True, generator=draws), nn.Hardtanh()),
            BinaryLinear(20, 10, scale="learned", generator=draws),
        ],
        input_shape=(1, 8, 8),
    )


def make_closure(
    model: Model, seed: int, grads: dict[str, np.ndarray] | None = None
) -> Callable[[], Tensor]:
    """A batch's closure, which copies the gradients before anything clips them."""
    draws = torch.Generator().manual_seed(seed)
    inputs = torch.randn(16, 1, 8, 8, generator=draws).to(next(model.parameters()))
    targets = torch.randint(0, 10, (16,), generator=draws)

    def closure() -> Tensor:
        for parameter in model.parameters():
            parameter.grad = None
        with torch.enable_grad():
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
        if grads is not None:
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None
                grads[name] = float64(parameter.grad)
        return loss.detach()

    return closure


def float64(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy().copy()


class Adam:
    """Kingma and Ba, algorithm 1, with an L2 penalty in the gradient."""

    def __init__(self, W: np.ndarray, lr: float, decay: float) -> None:
        self.W, self.lr, self.decay = W, lr, decay
        self.m, self.v, self.t = np.zeros_like(W), np.zeros_like(W), 0

    def step(self, g: np.ndarray) -> None:
        g = g + self.decay * self.W
        self.t += 1
        self.m = 0.9 * self.m + (1 - 0.9) * g
        self.v = 0.999 * self.v + (1 - 0.999) * g * g
        m_hat, v_hat = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        self.W = self.W - self.lr * m_hat / (np.sqrt(v_hat) + 1e-8)


class SGD:
    """V <- .9 V + g, W <- W - lr V."""

    def __init__(self, W: np.ndarray, lr: float, decay: float) -> None:
        self.W, self.lr, self.decay, self.V = W, lr, decay, np.zeros_like(W)

    def step(self, g: np.ndarray) -> None:
        self.V = 0.9 * self.V + g + self.decay * self.W
        self.W = self.W - self.lr * self.V


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
    )
    method: Any = {"adam": Adam, "sgd": SGD}[name]
    papers = {
        key: method(float64(optimizer.state[p]["latent"]), lr, decay)
        if key in binary
        else method(float64(p), real_lr or lr, decay)
        for key, p in model.named_parameters()
    }
    at_bound = cut = 0
    grads: dict[str, np.ndarray] = {}
    for step in range(STEPS):
        optimizer.step(make_closure(model, step, grads))
        factor = 1.0
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        if gradient_clip is not None and norm > gradient_clip:
            factor, cut = gradient_clip / (norm + 1e-6), cut + 1  # torch's 1e-6 of safety
        for key, paper in papers.items():
            paper.step(factor * grads[key])
            if key in binary and latent_clip is not None:
                at_bound += int((np.abs(paper.W) > latent_clip).sum())
                paper.W = np.clip(paper.W, -latent_clip, latent_clip)
        for key, p in binary.items():
            assert p.abs().eq(1).all(), f"{key} is not binary after step {step}"
    for key, p in model.named_parameters():
        wanted = papers[key].W
        found = float64(optimizer.state[p]["latent"] if key in binary else p)
        scale = np.abs(wanted).max()
        assert np.abs(found - wanted).max() < tolerance * scale, key
        if key in binary:
            sure = np.abs(wanted) > 1e-6 * scale
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
def test_training_goes_on_bit_for_bit_from_a_state_dict(name: str) -> None:
    def make(model: Model) -> LatentOptimizer:
        return CLASSES[name](model, generator=torch.Generator().manual_seed(2), lr=0.01)

    model = make_model()
    optimizer = make(model)
    for step in range(3):
        optimizer.step(make_closure(model, step))
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    again = make_model()
    again.load_state_dict(weights)
    resumed = make(again)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    for step in range(3, 6):
        optimizer.step(make_closure(model, step))
        resumed.step(make_closure(again, step))
    ours, theirs = model.state_dict(), again.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_whose_binary_parameters_are_not_binary_is_refused(name: str) -> None:
    model = make_model()
    with torch.no_grad():
        next(iter(model.binary_parameters().values())).view(-1)[0] = 0.5
    with pytest.raises(ValueError, match=r"segments\.0\.0\.weight"):
        CLASSES[name](model, generator=torch.Generator(), lr=0.01)
