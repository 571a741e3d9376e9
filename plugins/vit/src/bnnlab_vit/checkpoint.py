"""What a vision transformer's weights begin as: those of torchvision's, or of another run.

A real layer takes weights and biases as they are. A binary layer that takes the weights W of a real
one has sign(W) as its weights, their mean size per output as its scale (Rastegari et al.,
"XNOR-Net", ECCV 2016, eq. 6), which is learned from there on, and W as its initial latent weights.
"""

import logging
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from bnnlab.errors import UsageError, first_line
from bnnlab.layers import sign
from bnnlab.model import Model
from bnnlab.records import CHECKPOINT

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
"""torchvision's names, in the versions that there have been, and ours."""


@torch.no_grad()
def start_from(model: Model, path: Path) -> None:
    """Give a vision transformer the weights of a file or of a run's folder.

    torchvision's positions are interpolated to another number of patches by its own function. What
    the checkpoint cannot say stays as it was drawn: a classifier for another number of classes (the
    log says so), and what binary attention has besides.

    Args:
        model: Of `bnnlab_vit.network`.
        path: A file of torchvision's state, or the folder of a run of `vit`, `bvit` or `hybrid`.

    Raises:
        UsageError: If it cannot be read, or is of another depth, width or patch size.
    """
    state, last = _read(path), len(model.segments) - 1
    if "conv_proj.weight" in state:
        state = _renamed(_resized(state, model), last)
    _fit_tokens(state, model)
    binary, parameters = model.binary_parameters(), dict(model.named_parameters())
    classifier = f"segments.{last}.classifier."
    for name in [name for name in binary if name in state]:
        scale = f"{name.removesuffix('weight')}scale"
        if scale not in state:  # they are real weights
            state[scale] = state[name].abs().mean(1)
            model.initial_latents[name] = state[name].float()
        state[name] = sign(state[name])
    if len(state[f"{classifier}bias"]) != len(parameters[f"{classifier}bias"]):
        log.warning("%s is for another number of classes: its classifier is not taken", path)
        state = {name: value for name, value in state.items() if not name.startswith(classifier)}
    for name in parameters.keys() | state.keys():
        mine, found = parameters.get(name), state.get(name)
        if found is None and (name.startswith(classifier) or ".product." in name):
            continue
        if mine is None or found is None or mine.shape != found.shape:
            raise UsageError(
                f"model.checkpoint: {name} is {_shape(found)} in {path}, and {_shape(mine)} in "
                "this model: patch, dim, depth, mlp_ratio, pooling and the images must be those "
                "that it was made with"
            )
        mine.copy_(found)


def _shape(value: Tensor | None) -> str:
    return "missing" if value is None else str(tuple(value.shape))


def _read(path: Path) -> dict[str, Tensor]:
    file = path / CHECKPOINT if path.is_dir() else path
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for what it cannot read
        raise UsageError(
            f"model.checkpoint: {file} cannot be read as saved weights: {first_line(error)}"
        ) from error
    state = found.get("model", found) if isinstance(found, dict) else {}
    known = ("conv_proj.weight", "segments.0.patches.weight")
    if not any(name in state for name in known):
        raise UsageError(
            f"model.checkpoint: {path} holds no vision transformer: neither {known[0]}, as in "
            f"torchvision's, nor {known[1]}, as in a run of vit, bvit or hybrid"
        )
    return dict(state)


def _resized(state: dict[str, Tensor], model: Model) -> dict[str, Tensor]:
    """Interpolate torchvision's positions to square images of the model's size."""
    assert model.input_shape is not None
    _, height, width = model.input_shape
    if height != width:
        return state
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
    """Leave the class token out, with its position, where the model has none."""
    mine = model.get_parameter("segments.0.position").shape[1]
    position = state["segments.0.position"]
    if "segments.0.token" in state and position.shape[1] == mine + 1:
        del state["segments.0.token"]
        state["segments.0.position"] = position[:, 1:]
