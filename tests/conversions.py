"""What tests of conversions share: transformers, and what became of their parts."""

from typing import Any

from torch import Tensor, nn

from bnnlab import Model


def reasons(model: Model) -> dict[str, str]:
    assert model.conversion is not None
    return {part.name: part.reason for part in model.conversion.real}


def binary(model: Model) -> list[str]:
    assert model.conversion is not None
    return [part.name for part in model.conversion.binary]


def encoder(**more: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **more)


class Reader(nn.Module):
    """Token ids, 0 for padding, become logits."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embed, self.encode = nn.Embedding(9, 8), nn.TransformerEncoder(encoder(), 2)
        self.head = nn.Linear(8, 9)
        if tied:
            self.head.weight = self.embed.weight

    def train(self, mode: bool = True) -> Any:
        """Return nothing, as a `train` of one's own easily does."""
        super().train(mode)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.encode(self.embed(ids), src_key_padding_mask=ids.eq(0))
        y: Tensor = self.head(x.mean(1))
        return y
