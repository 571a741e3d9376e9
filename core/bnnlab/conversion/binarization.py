"""Binarise an arbitrary torch module and cut it into segments."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from torch import nn

from bnnlab.conversion.recording import record
from bnnlab.conversion.segments import segments_of
from bnnlab.conversion.selection import Policy, select
from bnnlab.conversion.selfcheck import self_check
from bnnlab.conversion.uses import read_in, unseen
from bnnlab.errors import UsageError
from bnnlab.guards.module_state import all_or_nothing
from bnnlab.guards.probing import check_fits, probe_inputs
from bnnlab.interfaces.fused import keep_off_fused_paths
from bnnlab.interfaces.model import Model
from bnnlab.nn.layers import BINARY, Scale, Sign, Surrogate, weight_of

log = logging.getLogger(__name__)

_ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.GELU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU,
    nn.Hardswish, nn.LeakyReLU, nn.RReLU, nn.PReLU, nn.Softplus, nn.Sigmoid,
)  # fmt: skip


def binarize(
    module: nn.Module,
    policy: Literal["inner", "all"] | Policy = "inner",
    *,
    scale: Scale = "fan-in",
    activations: Literal["keep", "sign"] = "keep",
    surrogate: Surrogate = "saturating",
    input_shape: tuple[int, ...] | None = None,
    tokens: int | None = None,
) -> Model:
    """Make the weight layers of a module binary, in place, and return it as a `Model`.

    Linear layers, convolutions and transposed convolutions become binary. Each layer stays the same
    object, so frozen parameters, shared parameters and hooks stay. It starts from the signs of its
    real weights and keeps its bias. 0 becomes +1, and -0 becomes -1; the log warns if a layer has
    many zeros.

    These stay real: subclasses of such layers, layers whose weight is computed (a norm, pruning) or
    sparse, is shared with something real, or is read by other code than the layer itself.
    `Model.conversion` and the log say for each part what it became, and why.

    With `input_shape`, the module is run on two probe inputs. Its outputs must be the same with
    gradients, without gradients, under `torch.inference_mode`, and segment by segment. If anything
    is refused, the module is put back as it was.

    Args:
        module: Takes one tensor and returns one.
        policy: `inner` leaves the first and the last of these layers real, as is usual; `all`
            leaves none real; or a function that takes a layer's name and the layer, and returns
            whether it becomes binary.
        scale: Scale of the binary layers: `none`, `fan-in`, `learned` or `latent`.
        activations: `keep` them, or `sign` to turn every activation module of torch into a `Sign`.
        surrogate: Surrogate gradient of the signs, as in `Sign`.
        input_shape: Shape of one input without the batch. Rules such as dfa need it.
        tokens: How many token ids there are, if inputs are token ids. By default the probe inputs
            are numbers where the module takes some.

    Raises:
        ValueError: If no layer is left to binarise, or an argument is none of its choices.
        UsageError: If the module does not take and return one tensor, has no values yet, changes
            its inputs, or does not give the same outputs on every path; or if a weight to binarise
            is not finite.

    Example:
        >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.Linear(32, 10))
        >>> model = binarize(net, input_shape=(64,))
        >>> list(model.binary_parameters())
        ['segments.1.0.weight']
        >>> print(model.conversion)
        1,024 of 3,392 weights became binary, in 1 part; these stay real:
          2,048 in 0 (Linear): the policy leaves the first layer real
          320 in 3 (Linear): the policy leaves the last layer real
    """
    if activations not in ("keep", "sign"):
        raise ValueError(f"activations {activations!r}: choose 'keep' or 'sign'")
    Sign(surrogate)
    check_fits(module)
    graph = record(module)
    x = None if input_shape is None else probe_inputs(module, input_shape, tokens=tokens)
    layers, conversion, missed = select(module, policy, graph, x)
    zeros = _zeros(layers)
    with all_or_nothing(module, map(weight_of, layers)):
        for layer in layers:
            BINARY[type(layer)].take_over(layer, scale)
        signs = _activations_to_signs(module, surrogate) if activations == "sign" else []
        keep_off_fused_paths(module)
        if not read_in(module, graph).isdisjoint(map(weight_of, layers)):
            graph = record(module)  # a forward was called as such, and is another one now
        segments = segments_of(module, graph)
        if x is not None:
            self_check(module, segments, x)
            _check_signs(layers)
    model = Model(segments, input_shape, tokens)
    model.conversion = replace(conversion, signs=tuple(signs))
    log.log(logging.WARNING if missed else logging.INFO, "binarize: %s", model.conversion)
    if zeros:
        log.warning("binarize: 0 becomes +1, and -0 becomes -1: %s", ", ".join(zeros))
    unknown = unseen(module, graph, layers) if x is None and not callable(policy) else ""
    if unknown:
        log.warning(
            "binarize: not known how %s and others are used, in code that cannot be recorded: "
            "pass input_shape=(...), of one input, and it is tried",
            unknown,
        )
    return model


def _zeros(layers: Mapping[nn.Module, str]) -> list[str]:
    """Return the layers with more than 1 % of weights that are 0, in words for a warning."""
    found = []
    for layer, name in layers.items():
        weight, who = weight_of(layer).detach(), name or type(layer).__name__
        if not bool(weight.isfinite().all()):
            raise UsageError(
                f"the weight of {who!r} is not finite, and has no signs to start from: "
                "load or draw it anew, or keep the layer real by a policy"
            )
        share = float((weight == 0).float().mean())
        if share > 0.01:
            found.append(f"{share:.0%} of the weights of {who!r}")
    return found


def _check_signs(layers: Mapping[nn.Module, str]) -> None:
    for layer, name in layers.items():
        if not bool(weight_of(layer).abs().eq(1).all()):
            raise UsageError(f"running the module changes the weight of {name!r}: see its hooks")


def _activations_to_signs(module: nn.Module, surrogate: Surrogate) -> list[str]:
    """Turn the activation modules of torch into `Sign`, in place; return their names."""
    found: list[tuple[str, nn.Module]] = [
        (name, p) for name, p in module.named_modules() if isinstance(p, _ACTIVATIONS)
    ]
    if not found:
        raise ValueError(
            f"activations 'sign': {type(module).__name__} has no activation module of torch; "
            "activations that its forward calls as functions (F.relu) cannot be replaced"
        )
    for name, part in found:
        if type(part) not in _ACTIVATIONS or "forward" in vars(part):
            kind = type(part).__name__
            raise ValueError(
                f"activations 'sign': {name!r} ({kind}) has a class or a forward of its own, which "
                "would be lost: put a Sign or an activation of torch there"
            )
        part.__class__ = Sign
        part._parameters.clear()  # of PReLU
        part.surrogate = surrogate  # type: ignore[assignment]
    return [name for name, _ in found]
