"""A sign for each step."""

from typing import Any

import torch
from torch import Tensor

from bnnlab import seeds
from bnnlab.interfaces.model import Model
from bnnlab_eqprop.inference import RelaxingRule


class SigningRule(RelaxingRule):
    """A rule with a sign that is drawn for each step, by a seed and the number of the step.

    Args:
        options: Options of `RelaxingRule`.
    """

    sign_seed: Tensor
    batches: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("sign_seed", torch.zeros((), dtype=torch.int64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Take the model's segments for layers, and draw what decides the signs."""
        super().attach(model, generator)
        self.sign_seed.random_(generator=generator)
        self._host: tuple[int, int] | None = None

    def step_started(self) -> None:
        """Count the steps: until the next one, there is a sign of its own."""
        self.batches.add_(1)
        if self._host is not None:
            self._host = self._host[0], self._host[1] + 1

    def _load_from_state_dict(self, *args: Any, **given: Any) -> None:
        super()._load_from_state_dict(*args, **given)
        self._host = None

    def sign(self) -> int:
        """Return -1 or +1. The host reads seed and number once, and counts on."""
        if self._host is None:
            self._host = int(self.sign_seed), int(self.batches)
        seed, batch = self._host
        generator = seeds.generator(seed, "sign", batch)
        return int(torch.randint(0, 2, (), generator=generator)) * 2 - 1
