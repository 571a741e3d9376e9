"""The two forward passes, seen at the weight layers in order of execution."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules import activation

from bnnlab.interfaces.gradients import send_back
from bnnlab.nn.layers import WEIGHT_LAYERS
from bnnlab.nn.normalization import BatchNorm

_NORMS = (BatchNorm, nn.modules.batchnorm._BatchNorm)
_ACTIVATIONS = tuple(getattr(activation, name) for name in activation.__all__)

Hook = Callable[[nn.Module, Any, Any], Tensor | None]


def _is_activation(module: nn.Module) -> bool:
    """Return whether it is one of torch's, or another's module without anything in it."""
    if isinstance(module, _ACTIVATIONS):
        return True
    empty = not [*module.children(), *module.parameters(), *module.buffers()]
    return empty and not type(module).__module__.startswith("torch")


class Pass(ABC):
    """A forward pass that follows the weight layers in order of execution; the last is the output.

    The activity h of a hidden one is the output of the first activation after it, before the next
    weight layer, that has its output's shape; else its own output. Autograd sees each layer alone.

    Args:
        layers: How many weight layers are executed.
    """

    def __init__(self, layers: int) -> None:
        self.layers, self.seen = layers, 0
        self._latest: tuple[Tensor, Tensor, int] | None = None

    @abstractmethod
    def hidden(self, z: Tensor, h: Tensor, positions: int) -> None:
        """Take a hidden layer's output z, with its graph, and its activity h, of equal shape.

        The layer's weights are used at so many positions of an example.
        """

    @abstractmethod
    def output(self, z: Tensor) -> Tensor:
        """Take the output layer's output z, with its graph; return what later modules get."""

    @abstractmethod
    def normalise(self, norm: nn.Module, x: Tensor) -> Tensor | None:
        """Take the input x of batch normalisation in training; return another output, or None."""

    def run(self, model: nn.Module, tensors: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the logits at these inputs, with `tensors` in place of those of these names."""
        handles = []
        try:
            for module in model.modules():
                hook = self._hook(module)
                if hook is not None:
                    handles.append(module.register_forward_hook(hook))
                if isinstance(module, WEIGHT_LAYERS):
                    handles.append(module.register_forward_pre_hook(_cut))
            logits: Tensor = functional_call(model, dict(tensors), (inputs,))
            return logits
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, module: nn.Module) -> Hook | None:
        if isinstance(module, WEIGHT_LAYERS):
            return self._weighed
        if isinstance(module, _NORMS):
            return self._normalised if module.training else None
        return self._activated if _is_activation(module) else None

    def _normalised(self, norm: nn.Module, args: tuple[Tensor, ...], _: Tensor) -> Tensor | None:
        return self.normalise(norm, args[0])

    def _weighed(self, layer: nn.Module, _args: Any, z: Tensor) -> Tensor:
        self._settle()
        self.seen += 1
        if self.seen == self.layers:
            return self.output(z)
        x = z.detach()
        channels = z.shape[-1 if isinstance(layer, nn.Linear) else 1]
        self._latest = z, x.clone(), z[0].numel() // channels  # what follows may change x in place
        return x

    def _activated(self, _module: nn.Module, _args: Any, h: Any) -> None:
        if self._latest and isinstance(h, Tensor) and h.shape == self._latest[0].shape:
            z, _, positions = self._latest
            self._latest = z, h.detach().clone(), positions
            self._settle()

    def _settle(self) -> None:
        if self._latest is not None:
            self.hidden(*self._latest)
            self._latest = None


def _cut(_layer: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.detach() for x in args)


class CleanPass(Pass):
    """Keeps what the modulated pass is compared with.

    Args:
        layers: How many weight layers are executed.
        keep_graphs: Whether the layers are taught at this pass's presynaptic activities.

    Attributes:
        h: The hidden layers' activities, in order.
        z: The layers' own outputs with their graphs, in order, if they are kept.
        statistics: Of every batch normalisation in training, in order: mean and variance.
        top: The output layer's own output, which the logits depend on.
    """

    top: Tensor

    def __init__(self, layers: int, keep_graphs: bool) -> None:
        super().__init__(layers)
        self.keep_graphs = keep_graphs
        self.h, self.z = deque[Tensor](), deque[Tensor]()
        self.statistics = deque[tuple[Tensor, Tensor]]()

    def hidden(self, z: Tensor, h: Tensor, positions: int) -> None:  # noqa: ARG002
        """Keep the activity."""
        self.h.append(h)
        if self.keep_graphs:
            self.z.append(z)

    def output(self, z: Tensor) -> Tensor:
        """Have the logits depend on the output layer's output alone."""
        if self.keep_graphs:
            self.z.append(z)
        self.top = z.detach().requires_grad_()
        return self.top.clone()  # what follows may change it in place

    def normalise(self, norm: nn.Module, x: Tensor) -> None:  # noqa: ARG002
        """Keep the statistics."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(x.detach(), axes, correction=0)
        self.statistics.append((mean, variance))


class ModulatedPass(Pass):
    """Teaches each layer when its activity arises.

    Args:
        layers: How many weight layers are executed.
        clean: The clean pass over the same examples, which is used up.
        delta: The gradient of the batch-mean loss at the output layer's own output.
        power: The gradient of a hidden layer is a sum over n positions, over n^power.
    """

    def __init__(self, layers: int, clean: CleanPass, delta: Tensor, power: float) -> None:
        super().__init__(layers)
        self.clean, self.delta, self.power = clean, delta, power

    def hidden(self, z: Tensor, h: Tensor, positions: int) -> None:
        """Teach by the difference of the activities, over the batch size."""
        self._teach(z, (self.clean.h.popleft() - h) / (len(h) * positions**self.power))

    def output(self, z: Tensor) -> Tensor:
        """Teach by the error."""
        self._teach(z, self.delta)
        return z.detach()

    def _teach(self, z: Tensor, signal: Tensor) -> None:
        if self.clean.keep_graphs:
            z = self.clean.z.popleft()
        if z.requires_grad:
            send_back(z, signal)

    def normalise(self, norm: Any, x: Tensor) -> Tensor:
        """Normalise by the clean pass's statistics."""
        mean, variance = self.clean.statistics.popleft()
        gain, shift = (*norm.parameters(), None, None)[:2]
        return F.batch_norm(x, mean, variance, gain, shift, eps=norm.eps)
