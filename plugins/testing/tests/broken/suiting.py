"""Components that the usual toy does not suit."""

from typing import Any

import torch
from torch import Tensor, nn

from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.rule import Batch
from bnnlab_testing import toy
from broken import found_by, models


class ForLinearLayers(toy.ToyRule):
    """Refuses convolutions."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        if any(parameter.ndim > 2 for parameter in model.parameters()):
            raise UsageError("it needs linear layers")


@found_by("test_a_toy_suits_it", "refuse by a UsageError what .* failed in attach.*RuntimeError")
class BreaksAtConvolutions(toy.ToyRule):
    """Multiplies a weight as if it was a matrix."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        super().attach(model, generator)
        self.products = [
            each @ torch.ones(each.shape[1]) for each in model.parameters() if each.ndim > 1
        ]


@found_by("test_a_toy_suits_it", "no toy suits it .conv: .*; mlp: .*: override make_model")
class ForNothing(toy.ToyRule):
    """Refuses every model."""

    def attach(self, model: Model, generator: torch.Generator) -> None:
        raise UsageError("it needs something else")


class Table(nn.Module):
    """Has a row for each of ten ids."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.rows(x.long())
        return rows[..., 0]


@found_by(
    "test_logits_have_a_row_per_example_and_a_column_per_class",
    "cannot take .* normal numbers, torch.float32 .*: IndexError.* `tokens`, the number of ids",
)
class LooksUpRows(models.Fine):
    """Takes ids, and does not say so."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.segments.insert(0, Table())


@found_by("test_token_ids_are_learned_from", "with token ids: RuntimeError.* Refuse in attach")
class NeedsNumbers(toy.ToyRule):
    """Needs inputs with gradients, and does not say so."""

    def differentiate(self, model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
        return super().differentiate(model, batch._replace(inputs=batch.inputs + 0.1))
