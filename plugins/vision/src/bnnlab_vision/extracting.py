"""Compute features of images with a network of torchvision."""

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlab.engine.building import expand
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.interfaces.examples import Examples
from bnnlab.seeds import child_seed, generator

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of ImageNet, by which torchvision's weights were trained."""


def make_network(name: str, weights: str, seed: int = 0) -> nn.Module:
    """Return a classification network of torchvision, in evaluation mode.

    Args:
        name: As in `torchvision.models.list_models`.
        weights: A file with a state dict; the name of weights that torchvision downloads, as
            DEFAULT; or none: they are drawn.
        seed: Of the weights that are drawn.

    Raises:
        UsageError: If there is no such network, or the weights do not fit.
    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UsageError(f"--model: torchvision has no {name!r}.{did_you_mean(name, known)}")
    file = expand(weights)
    try:
        if file.is_file():
            network: nn.Module = torchvision.models.get_model(name, weights=None)
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            return network.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(child_seed(seed, "network"))
            chosen = None if weights == "none" else weights
            network = torchvision.models.get_model(name, weights=chosen)
            return network.eval()
    except Exception as error:  # a file of weights can be damaged in any way
        raise UsageError(f"--weights: {weights} cannot be used for {name}: {error}") from error


class Extractor:
    """Computes what the last linear layer of a network gets.

    Args:
        network: In evaluation mode.
        resize: Side in pixels that images are resized to, bilinearly.
        crop: Side in pixels of what the network sees, at most `resize`.

    Raises:
        UsageError: If the network has no linear layer, or the crop is too large.
    """

    def __init__(self, network: nn.Module, resize: int, crop: int) -> None:
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise UsageError("--model: this network has no linear layer that features are given to")
        if crop > resize:
            raise UsageError(f"--crop: {crop} is larger than --resize {resize}")
        self._network, self._resize, self._crop = network, resize, crop
        layers[-1].register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, given: tuple[Tensor]) -> None:
        self._found = given[0].flatten(1)

    def __call__(self, images: Tensor, draws: torch.Generator | None) -> Tensor:
        """Return features `(B, F)` of images `(B, C, H, W)`, pixels in [0, 1].

        Args:
            images: With one or three channels.
            draws: On the CPU: chooses a place of the crop, and whether it is mirrored, per image;
                None for the centre.
        """
        images = images.expand(-1, 3, -1, -1)
        size = (self._resize, self._resize)
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
        mean, std = (images.new_tensor(each).view(3, 1, 1) for each in (MEAN, STD))
        with torch.inference_mode():
            self._network((self._cut(images, draws) - mean) / std)
        return self._found

    def _cut(self, images: Tensor, draws: torch.Generator | None) -> Tensor:
        room, crop = self._resize - self._crop, self._crop
        if draws is None:
            first = room // 2
            return images[:, :, first : first + crop, first : first + crop]
        places = torch.randint(room + 1, (len(images), 2), generator=draws).tolist()
        cuts = [
            image[:, top : top + crop, left : left + crop]
            for image, (top, left) in zip(images, places, strict=True)
        ]
        flip = torch.randint(2, (len(images), 1, 1, 1), generator=draws).bool().to(images.device)
        chosen = torch.stack(cuts)
        return torch.where(flip, chosen.flip(3), chosen)


def extract(
    part: Examples,
    extractor: Extractor,
    batch_size: int,
    passes: int,
    told: Callable[[int], object],
) -> tuple[np.ndarray, np.ndarray]:
    """Return features float32 `(N * passes, F)` and labels int64 of the examples of a part.

    Args:
        part: Images whose inputs are pixels in [0, 1].
        extractor: What computes them.
        batch_size: Images at a time.
        passes: With more than one, each pass draws crops and mirrors anew.
        told: Called with the number of images of each batch, after it.
    """
    x, y = [], []
    for number in range(passes):
        draws = generator(0, "crops", number) if passes > 1 else None
        for images, labels in part.batches(batch_size):
            x.append(extractor(images, draws).cpu())
            y.append(labels.cpu())
            told(len(labels))
    return torch.cat(x).numpy(), torch.cat(y).numpy()


def packed(arrays: Mapping[str, np.ndarray]) -> memoryview:
    """Return the content of a NumPy file (npz)."""
    file = io.BytesIO()
    np.savez(file, **dict[str, Any](arrays))
    return file.getbuffer()


def digest_of(network: nn.Module) -> str:
    """Return a digest of the weights of a network."""
    sha = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        sha.update(name.encode())
        sha.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()[:16]
