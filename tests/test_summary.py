"""What a model stores and computes, against arithmetic and torchvision's own figures."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

from bnnlab import (
    BatchNorm,
    BinaryConv1d,
    BinaryConv2d,
    BinaryConvTranspose1d,
    BinaryLinear,
    Model,
    Sign,
    UsageError,
    cut,
)
from bnnlab.nn.summary import Counts, summarise


def model() -> Model:
    return Model(
        [
            nn.Sequential(BinaryConv2d(3, 8, 3, padding=1), BatchNorm(8), Sign()),
            nn.Sequential(BinaryConv2d(8, 6, 3, stride=2, groups=2, bias=True), Sign()),
            nn.Sequential(nn.Flatten(), nn.Linear(6 * 3 * 3, 5)),
        ],
        (3, 8, 8),
    )


def test_each_segment_is_counted_by_hand() -> None:
    first, second, third = summarise(model())
    assert first.counts == Counts(8 * 3 * 9, 16, 0, 8 * 8 * 8 * 3 * 9)  # the image is not binary
    assert second.counts == Counts(6 * 4 * 9, 6, 6 * 3 * 3 * 4 * 9, 0)
    assert third.counts == Counts(0, 5 * 54 + 5, 0, 5 * 54)
    assert [row.output for row in (first, second, third)] == [(8, 8, 8), (6, 3, 3), (5,)]
    assert first.contents == "BinaryConv2d, BatchNorm, Sign"


def test_other_convolutions_and_token_ids_are_counted_by_hand() -> None:
    embed = nn.Sequential(nn.Embedding(7, 4), Sign())
    up = BinaryConvTranspose1d(6, 2, 4, stride=2)
    net = Model([embed, nn.Sequential(BinaryConv1d(6, 6, 3), Sign()), up], (6,))
    first, second, third = summarise(net)
    assert first.counts == Counts(0, 28, 0, 0)
    assert second.counts == Counts(6 * 6 * 3, 0, 6 * 2 * 6 * 3, 0)
    assert third.counts == Counts(6 * 2 * 4, 0, 6 * 2 * 2 * 4, 0)  # each input is spread over 2 x 4
    assert third.output == (2, 6)


class Recurrent(nn.Module):
    """Calls layers by keyword, and recurrent ones, whose kernels torch does not look into."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.read = kind(4, 8, bidirectional=True, batch_first=True)
        self.pair, self.head = nn.Bilinear(16, 4, 3), BinaryLinear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(input=self.pair(self.read(x)[0][:, -1], x[:, 0]).sign())
        return y


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_and_bilinear_layers_are_counted_by_hand(
    kind: type[nn.RNNBase], gates: int
) -> None:
    (row,) = summarise(Model([Recurrent(kind)], (5, 4)))
    of_read = 5 * 2 * gates * 8 * (4 + 8)
    assert (row.counts.binary_macs, row.counts.other_macs) == (3 * 2, of_read + 16 * 4 * 3)


class Encoder(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = super().forward(input).mean(1)
        return y


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_torchs_encoder_is_counted_where_its_kernels_are_fused(mode: Any) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).requires_grad_(False)
    with mode():
        (row,) = summarise(Model([Encoder(layer)], (5, 8)))
    assert row.counts.other_macs == 5 * (4 * 8 * 8 + 2 * 8 * 12) + 2 * 5 * 5 * 8


class CrossAttention(nn.Module):
    """Three queries meet five keys."""

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x[:, :, :3], x, x)


def test_attention_is_counted_by_hand() -> None:
    (row,) = summarise(Model([CrossAttention()], (2, 5, 4)))
    assert row.counts.other_macs == 2 * 3 * 5 * (4 + 4)


def test_a_model_of_another_dtype_is_counted_and_one_that_does_not_fit_is_refused() -> None:
    first, second = summarise(Model([nn.Flatten(), nn.Linear(4, 2)], (2, 2)).double())
    assert (first.counts.other_macs, second.counts.other_macs) == (0, 8)
    with pytest.raises(UsageError, match=r"segment 2 of the model, Linear, cannot take \(B, 4\)"):
        summarise(Model([nn.Linear(4, 4), nn.Linear(5, 2)], (4,)))


def test_sizes_count_a_bit_for_a_sign_and_four_bytes_for_a_real_number() -> None:
    counts = Counts(binary=12, real=3)
    assert counts.bytes_packed == 2 + 12
    assert counts.bytes_unpacked == 60
    assert counts.share == 0.8


def test_shared_parameters_are_counted_once() -> None:
    layer = BinaryLinear(4, 4)
    first, second = summarise(Model([layer, layer], (4,)))
    assert (first.counts.binary, second.counts.binary) == (16, 0)
    assert first.counts.other_macs == second.counts.other_macs == 16


def test_the_model_is_left_as_it_was() -> None:
    each = model().train()
    each.segments[1].eval()
    before = {name: value.clone() for name, value in each.state_dict().items()}
    state = torch.get_rng_state()
    summarise(each)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in each.state_dict().items())
    assert [segment.training for segment in each.segments] == [True, False, True]
    assert not any(module._forward_hooks for module in each.modules())


def test_a_model_without_an_input_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="input_shape="):
        summarise(Model([nn.Linear(2, 2)]))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("shufflenet_v2_x0_5", "vit_b_32")),
    ],
)
def test_the_totals_are_those_that_torchvision_publishes(name: str) -> None:
    with torch.device("meta"):  # what the weights are takes time to draw, and does not matter
        network = get_model(name, weights=None)
    network.to_empty(device="cpu")
    published = get_model_weights(name).DEFAULT.meta  # type: ignore[attr-defined]
    total = sum((row.counts for row in summarise(Model(cut(network), (3, 224, 224)))), Counts())
    assert total.real == published["num_params"]
    assert total.other_macs == pytest.approx(published["_ops"] * 1e9, rel=0.02)
