"""What the tests of input modulation share: models, batches, and copies of gradients."""

import torch
from torch import Tensor, nn

from bnnlab import Model
from bnnlab_testing.equations import draws


def gradients(model: Model) -> dict[str, Tensor]:
    """Return copies of the gradients that there are, by name."""
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
def arbitrary(*segments: nn.Module, shape: tuple[int, ...]) -> Model:
    """Return a model in float64 whose gains are near 1, and other real parameters near 0."""
    model = Model(segments, shape).double()
    binary = model.binary_parameters()
    for seed, (name, parameter) in enumerate(model.named_parameters()):
        if name not in binary:
            noise = torch.randn(parameter.shape, generator=draws(seed), dtype=torch.float64)
            is_gain = parameter.ndim == 1 and not name.endswith("bias")
            parameter.copy_(0.4 * noise + is_gain)
    return model


def noise_for(model: Model, seed: int = 0, count: int = 6) -> tuple[Tensor, Tensor]:
    """Return a batch of noise that a model takes, and labels of three classes."""
    assert model.input_shape is not None
    inputs = torch.randn(count, *model.input_shape, generator=draws(seed))
    targets = torch.randint(0, 3, (count,), generator=draws(seed + 1000))
    return inputs.to(next(model.parameters())), targets
