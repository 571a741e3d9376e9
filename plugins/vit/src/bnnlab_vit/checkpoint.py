"""Initial weights of a vision transformer from torchvision or from another run.

A real layer copies weights and biases. A binary layer makes three things of real weights W: its
weights sign(W), its initial scale, the mean of |W| per output (Rastegari et al., "XNOR-Net", ECCV
2016, eq. 6), and its initial latent weights W.
"""

import logging
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.signs import sign
from bnnlab.settings.text import read_config
from bnnlab.storage.checkpoint import CHECKPOINT, MAGIC, read, unpack
from bnnlab.storage.folder import CONFIG

log = logging.getLogger("bnnlab.vit")

_NAMES = (
    (r"^conv_proj\.", "segments.0.patches."),
    (r"^class_token$", "segments.0.token"),
    (r"^encoder\.pos_embedding$", "segments.0.position"),
    (r"^encoder\.ln\.", "segments.last.norm."),
    (r"^heads\.head\.", "segments.last.classifier."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attention.qkv."),
    (r"\.self_attention\.out_proj\.", ".attention.out."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
)
"""Names of all versions of torchvision, and ours."""


@torch.no_grad()
def start_from(model: Model, path: Path) -> None:
    """Copy the weights of a file or of a run's folder into a vision transformer.

    torchvision's own function interpolates torchvision's positions to another number of patches.
    Two things may keep their random initial values: the classifier, if the checkpoint has none for
    this number of classes (the log says so), and the parameters of binary attention.

    Args:
        model: A `VisionTransformer`.
        path: A file of torchvision's state, or the folder of a run of `vit`, `bvit` or `hybrid`.

    Raises:
        UsageError: If the checkpoint cannot be read, has another depth, width or patch size, or has
            binary layers where the model has real ones.
    """
    state, parameters = _read(path), dict(model.named_parameters())
    last = len(model.segments) - 1
    if "conv_proj.weight" in state:
        state = _renamed(_resized(state, model), last)
    _fit_tokens(state, model)
    said = read_config(path / CONFIG)["model"] if path.is_dir() else {}
    _agree(path, "depth", sum(name.endswith(".norm1.weight") for name in state), last - 1)
    heads = model.get_submodule("segments.1.attention").heads  # in the shape of nothing
    _agree(path, "heads", said.get("heads", heads), heads)
    _binarise(state, model)
    optional = {name for name in parameters if ".product." in name}
    classifier = {name for name in parameters if name.startswith(f"segments.{last}.classifier.")}
    if any(_shape(state.get(name)) != _shape(parameters[name]) for name in classifier):
        log.warning("%s has no classifier for these classes: it begins as drawn", path)
        optional |= classifier
        state = {name: value for name, value in state.items() if name not in classifier}
    for name in [*parameters, *sorted(state.keys() - parameters.keys())]:
        mine, found = parameters.get(name), state.get(name)
        if found is None and name in optional:
            continue
        if mine is None and name.endswith((".scale", ".log_alpha", ".shift")):
            raise UsageError(
                f"model.checkpoint: {path} holds binary layers where this model has real ones: "
                f"{name.rpartition('.')[0]}"
            )
        if mine is None or found is None or mine.shape != found.shape:
            raise UsageError(
                f"model.checkpoint: {name} is {_shape(found)} in {path}, and {_shape(mine)} in "
                "this model: patch, dim, mlp_ratio, pooling and the images must be those that it "
                "was made with"
            )
        mine.copy_(found)


def _agree(path: Path, option: str, theirs: object, mine: object) -> None:
    if theirs != mine:
        raise UsageError(
            f"model.checkpoint: {option} is {theirs} in {path} and {mine} here; take "
            f"--set model.{option}={theirs}"
        )


def _binarise(state: dict[str, Tensor], model: Model) -> None:
    """Replace real weights of the state by signs and scales where the model is binary."""
    for name in [name for name in model.binary_parameters() if name in state]:
        scale = f"{name.removesuffix('weight')}scale"
        if scale not in state:
            W = state[name]
            state[scale], model.initial_latents[name] = W.abs().mean(1), W.float()
        state[name] = sign(state[name])


def _shape(value: Tensor | None) -> str:
    return "missing" if value is None else str(tuple(value.shape))


def _read(path: Path) -> dict[str, Tensor]:
    file = path / CHECKPOINT if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"model.checkpoint: there is no {file}")
    content = file.read_bytes()
    if path.is_dir() or content.startswith(MAGIC):
        found: Any = read(file, old=True)
    else:
        try:
            found = unpack(file, content)
        except UsageError as error:
            raise UsageError(
                f"model.checkpoint: {error} Was it made with "
                "torch.save(network.state_dict(), FILE)?"
            ) from error
    state = found.get("model", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not {*map(type, state.values())} <= {Tensor, nn.Parameter}:
        raise UsageError(
            f"model.checkpoint: {file} holds no state_dict (a dict from names to tensors)"
        )
    known = ("conv_proj.weight", "segments.0.patches.weight")
    if not any(name in state for name in known):
        raise UsageError(
            f"model.checkpoint: {path} holds no vision transformer: neither {known[0]}, as in "
            f"torchvision's, nor {known[1]}, as in a run of vit, bvit or hybrid"
        )
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if broken:
        raise UsageError(f"model.checkpoint: {broken[0]} is not finite in {path}")
    return dict(state)


def _resized(state: dict[str, Tensor], model: Model) -> dict[str, Tensor]:
    """Interpolate torchvision's positions. They are for square images only."""
    from torchvision.models.vision_transformer import interpolate_embeddings  # takes seconds

    assert model.input_shape is not None
    _, height, width = model.input_shape
    if height != width:
        raise UsageError(
            f"model.checkpoint: torchvision's positions are of square images, and images are "
            f"{height}x{width} here"
        )
    patch = state["conv_proj.weight"].shape[-1]
    return dict(interpolate_embeddings(height, patch, OrderedDict(state)))


def _renamed(state: dict[str, Tensor], last: int) -> dict[str, Tensor]:
    def ours(name: str) -> str:
        for theirs, replacement in _NAMES:
            name = re.sub(theirs, replacement, name)
        name = name.replace("segments.last", f"segments.{last}")
        block = re.compile(r"^encoder\.layers\.encoder_layer_(\d+)")
        return block.sub(lambda found: f"segments.{int(found[1]) + 1}", name)

    return {ours(name): value for name, value in state.items()}


def _fit_tokens(state: dict[str, Tensor], model: Model) -> None:
    """Remove the class token and its position if the model has none."""
    mine = model.get_parameter("segments.0.position").shape[1]
    position = state["segments.0.position"]
    if "segments.0.token" in state and position.shape[1] == mine + 1:
        del state["segments.0.token"]
        state["segments.0.position"] = position[:, 1:]
