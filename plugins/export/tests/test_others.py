"""Layers of others are exported as the known layers that they name; the page is run as it is."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnnlab
import bnnlab_runtime
from bnnlab import BinaryLinear, Model, RunError, Sign, UsageError
from bnnlab_export import export

PAGE = Path(__file__).parents[3] / "docs" / "deploying.md"
USE, OWN = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def layers() -> dict[str, Any]:
    """Return what the page defines."""
    made: dict[str, Any] = {}
    exec(OWN, made)
    return made


def network(middle: nn.Module, units: int = 70) -> Model:
    signs = nn.Sequential(BinaryLinear(9, units), Sign(), BinaryLinear(units, units), middle)
    return Model([signs, nn.Sequential(nn.Identity(), BinaryLinear(units, 3))], (9,))


def test_the_page_exports_and_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    exec(USE, made)
    assert made["found"].differing == 0
    assert made["model"].predict(made["images"]).shape == (5,)


def test_the_layer_of_the_page_is_exported(tmp_path: Path) -> None:
    layer = layers()["SteepSign"](70)
    layer.threshold.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    model = network(layer).eval()
    found = export(model, tmp_path / "model.bnn")
    assert (found.differing, found.steps["threshold"]) == (0, 2)
    assert model.segments[0][3] is layer
    x = torch.randn(50, 9, generator=torch.Generator().manual_seed(1))
    logits = bnnlab_runtime.load(tmp_path / "model.bnn").logits(x.numpy())
    np.testing.assert_allclose(logits, model(x).detach(), rtol=1e-4, atol=1e-4)


def test_one_layer_may_be_at_several_places_and_within_another(tmp_path: Path) -> None:
    shared = layers()["SteepSign"](70)
    holder = layers()["SteepSign"]

    class Twice(holder):  # type: ignore[misc,valid-type]
        def forward(self, x: Tensor) -> Tensor:
            return shared(shared(x) * 0.3)

        def exported_as(self) -> nn.Module:
            return Both()

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = self.other = shared

        def forward(self, x: Tensor) -> Tensor:
            signs: Tensor = self.other(self.one(x) * 0.3)
            return signs

    model = network(nn.Sequential(Twice(70), shared))
    assert export(model, tmp_path / "model.bnn").differing == 0


def test_what_it_says_is_compared_with_what_it_computes(tmp_path: Path) -> None:
    class Wrong(layers()["SteepSign"]):  # type: ignore[misc]
        def exported_as(self) -> nn.Module:
            return nn.Sequential(nn.BatchNorm1d(70, affine=False), nn.ReLU(), Sign())

    with pytest.raises(RunError, match="predictions differ"):
        export(network(Wrong(70)), tmp_path / "model.bnn")
    assert not [*tmp_path.iterdir()]


def other_forward() -> nn.Module:
    class Other(layers()["SteepSign"]):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square()

    return Other(70)


def hooked() -> nn.Module:
    layer: nn.Module = layers()["SteepSign"](70)
    layer.register_forward_hook(lambda *_: None)
    return layer


def saying(answer: Callable[[Any], Any]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        kind = type("Says", (layers()["SteepSign"],), {"exported_as": answer})
        layer: nn.Module = kind(70)
        return layer

    return made


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (other_forward, "ones_like() in 'segments.0.3' cannot be exported"),
        (hooked, "it has hooks"),
        (saying(lambda layer: layer.none), "there was: AttributeError: 'Says' object has no"),
        (saying(lambda _: "Sign"), "must return a module, and there was: Sign"),
        (saying(lambda _: nn.PReLU()), "prelu() in 'segments.0.3' cannot be exported"),
        (lambda: nn.PReLU(), "may say which ones compute the same, by a method exported_as"),
    ],
)
def test_what_cannot_be_taken_is_refused(
    layer: Callable[[], nn.Module], why: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        export(network(layer()), tmp_path / "model.bnn")
    assert why in str(refused.value)


def test_of_a_posterior_each_draw_is_asked(tmp_path: Path) -> None:
    """The thresholds are those of the draw, as `exported_as` is called for each."""
    model = network(layers()["SteepSign"](70))
    optimizer = bnnlab.create("optimizer", "bayesbinn", model, examples=100)
    found = export(model, tmp_path / "model.bnn", optimizer=optimizer, draws=2)
    assert (found.draws, found.differing) == (2, 0)
