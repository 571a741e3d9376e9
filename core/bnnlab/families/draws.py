"""Backpropagation at several weight draws in one pass."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch, Draws
from bnnlab.nn.dropout import Dropout
from bnnlab.nn.normalization import BatchNorm
from bnnlab.nn.stacked import ELEMENTWISE

log = logging.getLogger(__name__)


def backpropagate(model: Model, batch: Batch, draws: Mapping[str, Tensor]) -> Draws | None:
    """Return loss, logits and gradients at S weight draws; None if one pass cannot do it.

    If all modules take a leading draw dimension, each layer is one batched product for all draws.
    Otherwise `torch.func.vmap` maps the whole network over the draws. A model with batch
    normalisation or dropout in training mode is left alone: its statistics must see one draw after
    another, and each draw has masks of its own.
    The `draws` are the values of each drawn parameter by name, `(S, *shape)`.
    """

    def forward(drawn: Mapping[str, Tensor], shared: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(model, {**shared, **drawn}, (batch.inputs,))
        return logits

    if _takes_draws(model, batch.inputs, draws):
        return _differentiate(forward, model, batch, draws)
    kinds = (BatchNorm, nn.modules.batchnorm._BatchNorm, Dropout)
    if any(isinstance(module, kinds) and module.training for module in model.modules()):
        return None
    mapped = vmap(forward, in_dims=(0, None), randomness="different")
    try:
        with plain_attention():
            return _differentiate(mapped, model, batch, draws)
    except RuntimeError as error:  # vmap has no rule for something in this model: draw by draw
        log.debug("draws cannot be mapped: %s", error)
        return None


def _takes_draws(model: Model, inputs: Tensor, draws: Mapping[str, Tensor]) -> bool:
    """Return whether every module computes the same on `(B, D)` and on `(S, B, D)`.

    A stack of models has one more dimension in front of B.
    """
    chains = (Model.forward, nn.Sequential.forward, nn.ModuleList.forward)
    leaves = [module for module in model.modules() if type(module).forward not in chains]
    first = leaves[0]
    if isinstance(first, nn.Flatten) and (first.start_dim, first.end_dim) == (
        1 + model._stacked,
        -1,
    ):
        del leaves[0]  # it flattens the inputs, which have no draws
    elif inputs.ndim != 2 + model._stacked:  # a linear layer would take the batch for draws
        return False
    drawn = {model.get_submodule(name.rpartition(".")[0]) for name in draws}
    return all(
        getattr(leaf, "leading_draws", False) or (leaf not in drawn and type(leaf) in ELEMENTWISE)
        for leaf in leaves
    )


def _differentiate(
    forward: Callable[..., Tensor], model: Model, batch: Batch, draws: Mapping[str, Tensor]
) -> Draws:
    """Return loss, logits and gradients by one forward and one backward pass.

    `forward` maps the drawn and the other parameters, by name, to logits `(S, B, K)`. Gradients are
    taken by `torch.autograd`: `torch.func` would load torch's compiler.
    """
    count = len(next(iter(draws.values())))
    drawn = {name: values.detach().requires_grad_() for name, values in draws.items()}
    rest = {name: p for name, p in model.named_parameters() if name not in draws}
    with torch.enable_grad():
        logits = forward(drawn, rest)
        targets = batch.targets.repeat(count, *[1] * (batch.targets.ndim - 1))
        loss = batch.loss(logits.flatten(0, 1), targets)
        wanted = {**drawn, **{name: p for name, p in rest.items() if p.requires_grad}}
        found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    # The loss is the mean over the draws, so the gradient at one draw is S times what arrives.
    grads = {
        name: grad * count if name in drawn else grad[None]
        for name, grad in zip(wanted, found, strict=True)
        if grad is not None
    }
    return Draws(loss.detach(), logits.detach(), grads)


def plain_attention() -> AbstractContextManager[None]:
    """Return a context without fused attention kernels, for which vmap has no rule."""
    from torch.nn.attention import SDPBackend, sdpa_kernel  # a tenth of a second for few runs

    return sdpa_kernel(SDPBackend.MATH)
