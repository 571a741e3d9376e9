"""The model interface: a chain of segments that maps inputs to logits."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError, explain
from bnnlab.guards.module_state import undisturbed
from bnnlab.guards.probing import check_fits, checked_shape, numbers_or_tokens, one_tensor
from bnnlab.interfaces.conversion import Conversion
from bnnlab.interfaces.fused import keep_off_fused_paths
from bnnlab.interfaces.signs import binary_parameters, check_loaded


class Model(nn.Module):
    """A network as a chain of segments. It holds the deployed weights.

    The composition of the segments is the network, so a local rule can cut it between any two
    segments. A skip connection lies inside one segment.

    Args:
        segments: Modules applied one after the other; the last one returns the outputs: logits
            `(B, K)`, or what else the task's objective asks for.
        input_shape: Shape of one input without the batch, e.g. `(1, 28, 28)`. Rules with matrices
            of the activations' sizes need it.
        tokens: How many token ids there are, if inputs are token ids (int64, from 0); None for
            numbers (float32).

    Attributes:
        segments: The modules, an `nn.ModuleList`.
        input_shape: As given; None if unknown.
        tokens: As given.
        inference: A function of model and inputs that returns the logits in place of the segments'
            composition; None for the composition. A rule whose network settles by feedback sets it
            in `attach`. It is no `nn.Module`, which would become a part of the model.
        classes: The last dimension of the outputs, K logits or D real numbers, set from the stream;
            None if unknown.
        conversion: Which parts are binary and which are real, if `binarize` made the model.
        initial_latents: If the model was made from real weights: these weights, by the names of the
            binary parameters that are their signs. A method with latent weights begins with them.

    Raises:
        ValueError: If there is no segment.
        UsageError: If a segment does not take one tensor or has no values yet, or `input_shape` is
            not a shape.
    """

    inference: Callable[["Model", Tensor], Tensor] | None = None
    classes: int | None = None
    conversion: Conversion | None = None
    _stacked = False  # whether it is several models in one, see `bnnlab.families.stack`

    def __init__(
        self,
        segments: Iterable[nn.Module],
        input_shape: tuple[int, ...] | None = None,
        tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.segments = nn.ModuleList(segments)
        self.input_shape = None if input_shape is None else checked_shape(input_shape)
        self.tokens = tokens
        self.initial_latents: dict[str, Tensor] = {}
        if not len(self.segments):
            raise ValueError("a model needs at least one segment")
        for segment in self.segments:
            check_fits(segment)
            keep_off_fused_paths(segment)

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs `(B, *input_shape)` to the outputs, such as logits `(B, K)`.

        Raises:
            UsageError: If the last segment returns something other than a tensor.
        """
        if self.inference is not None:
            return self.inference(self, x)
        for segment in self.segments:
            x = segment(x)
        if not isinstance(x, Tensor) and not hasattr(x, "__torch_function__"):  # torch.fx's proxy
            raise UsageError(one_tensor(type(self.segments[-1]).__name__, x))
        return x

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        check_loaded(self, state_dict, prefix)  # before any part of it is loaded
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)

    def binary_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are exactly -1 or +1 between two steps, by name."""
        return binary_parameters(self)

    def select_task(self, task: int) -> None:
        """Call `select_task` of each part that has this method, with the index of a task."""
        for part in self.modules():
            select: Any = getattr(part, "select_task", None)
            if select is not None and part is not self:
                select(task)


def goes_by_task(part: nn.Module) -> bool:
    """Return whether a part has `select_task`, and does not say `by_task = False`.

    The method of a `Model` only asks its parts.
    """
    own = getattr(part, "select_task", None)
    asks_its_parts = getattr(own, "__func__", None) is Model.select_task
    return bool(own and not asks_its_parts and getattr(part, "by_task", True))


def segment_shapes(model: Model, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shape of each segment's output without the batch; the last is the logits' `(K,)`.

    Args:
        model: The model. It is run once, on zeros (or token ids 0) in evaluation mode, and left as
            it was.
        input_shape: Shape of one input without the batch.

    Raises:
        UsageError: As in `segment_outputs`; or if the last segment does not return floats `(B, K)`
            or `(B, ..., K)`.
    """
    refused: list[UsageError] = []
    with undisturbed(model), torch.no_grad():
        for x in map(torch.zeros_like, numbers_or_tokens(model, input_shape, model.tokens)):
            try:
                outputs = [*segment_outputs(model.eval(), x)]
                break
            except UsageError as error:
                refused.append(error)
        else:
            raise refused[0]
    shapes = [tuple(y.shape[1:]) for y in outputs]
    if not shapes[-1] or not outputs[-1].is_floating_point():
        found = f"(B, *{shapes[-1]}) of {outputs[-1].dtype}"
        raise UsageError(f"the model returns {found}, no logits (B, K)")
    return shapes


def segment_outputs(model: Model, x: Tensor) -> Iterator[Tensor]:
    """Yield each segment's output on inputs `(B, *input_shape)`.

    Raises:
        UsageError: If a segment cannot take its input, or returns something other than one tensor
            with B as its first dimension.
    """
    rows, shape = len(x), tuple(x.shape[1:])
    for number, segment in enumerate(model.segments, start=1):
        who, given = f"segment {number} of the model, {type(segment).__name__},", x.shape[1:]
        try:
            x = segment(x)
        except Exception as error:
            raise UsageError(
                f"{who} cannot take (B, {', '.join(map(str, given))}): {explain(error)}. "
                f"Inputs are {shape}"
            ) from error
        if not isinstance(x, Tensor) or not x.ndim or len(x) != rows:
            found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise UsageError(
                f"{who} makes {found} of a batch of {rows}, and not one tensor of {rows} rows: "
                "put the module that returns a tuple and the one that takes it into one segment"
            )
        yield x
