"""Which layers of a module become binary, and why the others stay real."""

from collections.abc import Callable, Container, Mapping, Sequence

from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from bnnlab.conversion.obstacles import TABLES, obstacles, shared_with_real
from bnnlab.conversion.uses import calls_of, ends, read_in
from bnnlab.interfaces.conversion import Conversion, Part
from bnnlab.interfaces.signs import is_binary
from bnnlab.nn.layers import WEIGHT_LAYERS, weight_of

Policy = Callable[[str, nn.Module], bool]
"""Takes a layer's name and the layer; returns whether it becomes binary."""


def select(
    module: nn.Module, policy: str | Policy, graph: fx.Graph | None, x: Tensor | None
) -> tuple[dict[nn.Module, str], Conversion, bool]:
    """Choose the layers that become binary.

    Args:
        module: The module.
        policy: `inner`, `all` or a function of name and layer.
        graph: The module's operations; None if they could not be recorded.
        x: Probe inputs; None if the module is not to be run.

    Returns:
        The layers with their names; the record of all parts; and whether a part stays real that
        the policy wants binary.

    Raises:
        ValueError: If no layer is left, or the policy is unknown.
        UsageError: If policy `inner` cannot know which layers are the first and the last.
    """
    if not callable(policy) and policy not in ("inner", "all"):
        raise ValueError(f"policy {policy!r}: choose 'inner', 'all' or a function (name, layer)")
    parts = _parts_with_weights(module)
    cannot = obstacles(module, parts)
    able = _without(cannot, parts)
    calls, read = calls_of(module, able, x) if x is not None else ([], read_in(module, graph))
    for layer, name in able.items():
        if weight_of(layer) in read:
            cannot[name] = "its weight is read by others than the layer itself"
        elif x is not None and layer not in calls:
            cannot[name] = "it is not called at test, though others may read its weight"
    able = _without(cannot, able)
    by_policy = _left_real(module, policy, graph, able, calls)
    cannot |= shared_with_real(module, _without(by_policy, able))
    layers = _without(by_policy | cannot, able)
    if not layers:
        who = "the policy" if callable(policy) else f"policy {policy!r}"
        said = "".join(f"; {name or 'it'}: {why}" for name, why in cannot.items())
        raise ValueError(
            f"no weight layer to binarise: {len(able)} of nn.Linear and the convolutions found"
            + (f", all kept real by {who}; try policy='all'" if by_policy else "")
            + said
        )
    binary = {part for part in parts if part in layers or is_binary(part)}
    missed = any(
        name in cannot and part not in binary and _is_wanted(part, name, policy)
        for part, name in parts.items()
    )
    return layers, _conversion(parts, binary, by_policy | cannot, x is not None), missed


def _parts_with_weights(module: nn.Module) -> dict[nn.Module, str]:
    """Return the parts that have weights of their own, with their names."""
    return {
        part: name
        for name, part in module.named_modules()
        if _weights_of(part) or isinstance(part, WEIGHT_LAYERS)
        if "parametrizations" not in name.split(".")
    }


def _weights_of(part: nn.Module) -> list[Tensor]:
    """Return the parameters of two dimensions or more that are a part's own."""
    own = [*part.parameters(recurse=False)]
    if parametrize.is_parametrized(part):
        own += part.get_submodule("parametrizations").parameters()
    return [parameter for parameter in own if parameter.ndim > 1]


def _conversion(
    parts: Mapping[nn.Module, str],
    binary: Container[nn.Module],
    reasons: Mapping[str, str],
    checked: bool,
) -> Conversion:
    counted: set[Tensor] = set()
    found = []
    for part, name in parts.items():
        own = _weights_of(part)
        count = sum(p.numel() for p in own if p not in counted)
        counted.update(own)
        found.append(
            Part(name, type(part).__name__, count, "" if part in binary else reasons[name])
        )
    return Conversion(
        tuple(part for part in found if not part.reason),
        tuple(part for part in found if part.reason),
        checked=checked,
    )


def _without(names: Container[str], parts: Mapping[nn.Module, str]) -> dict[nn.Module, str]:
    return {part: name for part, name in parts.items() if name not in names}


def _left_real(
    module: nn.Module,
    policy: str | Policy,
    graph: fx.Graph | None,
    able: Mapping[nn.Module, str],
    calls: Sequence[nn.Module],
) -> dict[str, str]:
    """Return the layers that could become binary but stay real by the policy, with the reason."""
    if callable(policy):
        left = [name for layer, name in able.items() if not policy(name, layer)]
        return dict.fromkeys(left, "the policy leaves it real")
    if policy == "all" or not able:
        return {}
    first, last = ends(module, graph, able, calls)
    reasons = {able[layer]: "the policy leaves the last layer real" for layer in last}
    return reasons | {able[layer]: "the policy leaves the first layer real" for layer in first}


def _is_wanted(part: nn.Module, name: str, policy: str | Policy) -> bool:
    """Return whether the policy wants a part with weights to become binary."""
    if callable(policy):
        return isinstance(part, WEIGHT_LAYERS) and policy(name, part)
    return not isinstance(part, TABLES)
