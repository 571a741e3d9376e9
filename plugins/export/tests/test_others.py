"""Layers of others are exported as the known layers that they name; the page is run as it is."""

import itertools
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
from bnnlab.interfaces.signs import sign
from bnnlab_export import acceptance, export

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

    with pytest.raises(UsageError, match=r"'segments.0.3' \(Wrong\) .* computes something else: "):
        export(network(Wrong(70)), tmp_path / "model.bnn")
    assert not [*tmp_path.iterdir()]


class Scaled(nn.Module):
    """A layer that computes a function, which torch.fx cannot record, and says what it is."""

    def __init__(self, function: Callable[[Tensor], Tensor], made: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function, self.made = function, made

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def exported_as(self) -> Any:
        return self.made(self)


class Calls(nn.Module):
    """Calls `forward` of a layer itself."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        signs: Tensor = self.layer.forward(x)
        return signs


class Divided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 4


def test_where_no_class_changes_numbers_are_compared(tmp_path: Path) -> None:
    model = network(Sign())
    last = Scaled(lambda x: x / 4, lambda _: nn.Identity())
    model.segments[1].append(last)
    with pytest.raises(UsageError, match=r"'segments.1.2' \(Scaled\) .* numbers differ from the"):
        export(model, tmp_path / "model.bnn")
    last.made = lambda _: Divided()
    assert export(model, tmp_path / "model.bnn").differing == 0
    with pytest.raises(UsageError, match="numbers differ"):
        export(network(Calls(Scaled(lambda x: -sign(x), lambda _: Sign()))), tmp_path / "model.bnn")
    shifted = Scaled(lambda x: (x - 5).relu() + 5, lambda _: nn.ReLU())
    with pytest.raises(UsageError, match=r"'segments.0.3.0' .* by up to 5\."):
        export(network(nn.Sequential(shifted, Sign())), tmp_path / "model.bnn")


def test_what_differs_by_rounding_is_compared_in_float64(tmp_path: Path) -> None:
    def as_one_half(_: Any) -> nn.Module:
        norm = nn.BatchNorm1d(70, eps=0, affine=False)
        norm.running_mean = torch.full((70,), 0.5)
        return nn.Sequential(norm, Sign())

    layer = Scaled(lambda x: sign(x + 1e8 - 1e8 - 0.5), as_one_half)
    found = export(network(layer), tmp_path / "model.bnn")
    assert found.differing > 0
    assert found.unexplained == 0


def test_a_model_that_draws_is_refused(tmp_path: Path) -> None:
    drawn = itertools.cycle([1, -1])

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * next(drawn)  # torch.fx records a number

    model = network(Sign())
    noisy = Scaled(lambda x: x + 0.5 * torch.randn_like(x), lambda _: nn.Identity())
    for layer in (noisy, Constant()):
        model.segments[0][2] = nn.Sequential(BinaryLinear(70, 70), layer)
        for to in ("bnn", "torch"):
            with pytest.raises(UsageError, match="outputs change from one evaluation to the next"):
                export(model, tmp_path / "model", to=to)


def test_a_layer_that_knows_float32_alone_explains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ones, predicted = torch.eye(70), acceptance._predicted
    model = network(Scaled(lambda x: sign(x @ ones), lambda _: Sign()))

    def with_wrong(count: int) -> Callable[..., Tensor]:
        def patched(*given: Any) -> Tensor:
            found = predicted(*given)
            found[:count] = (found[:count] + 1) % 3
            return found

        return patched

    monkeypatch.setattr(acceptance, "_predicted", with_wrong(1))
    assert export(model, tmp_path / "model.bnn").unexplained == 1
    monkeypatch.setattr(acceptance, "_predicted", with_wrong(2))
    with pytest.raises(RunError, match=r"^2 of .*Does exported_as of 'segments.0.3' \(Scaled\)"):
        export(model, tmp_path / "model.bnn")


def test_a_setting_of_torch_is_put_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def leaking(_: Any) -> nn.Module:
        torch.set_default_dtype(torch.float64)
        return Sign()

    export(network(Scaled(sign, leaking)), tmp_path / "model.bnn")
    assert torch.get_default_dtype() == torch.float32
    assert "changed torch's default dtype: put back" in caplog.text
    caplog.clear()
    linear = nn.Linear(70, 70)
    made = Scaled(linear.forward, lambda _: copied(linear, nn.Linear(70, 70)))
    export(network(nn.Sequential(made, Sign())), tmp_path / "model.bnn")
    assert not caplog.text  # weights that are drawn on the way are no harm


def copied(one: nn.Module, other: nn.Module) -> nn.Module:
    other.load_state_dict(one.state_dict())
    return other


def test_an_instance_may_have_it_and_the_model_may_not(tmp_path: Path) -> None:
    layer = Scaled(sign, lambda _: None)
    layer.exported_as = Sign  # type: ignore[method-assign]
    model = network(layer)
    assert export(model, tmp_path / "model.bnn").differing == 0
    model.exported_as = Sign
    with pytest.raises(UsageError, match="the model itself has it"):
        export(model, tmp_path / "model.bnn")


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


class Unmade(nn.Module):
    def __init__(self) -> None:
        pass


class Tupled(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return (x,)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (other_forward, "ones_like() in 'segments.0.3' cannot be exported"),
        (hooked, "it has hooks"),
        (saying(lambda layer: layer.none), "exported_as raised AttributeError: 'Says' object has"),
        (saying(lambda _: "Sign"), "must return a module, and there was: 'Sign'."),
        (lambda: Scaled(lambda x: x[:, :5], lambda _: Sign()), "of shape (500, 5) on cpu"),
        (
            lambda: nn.Sequential(Scaled(sign, lambda _: Sign()), nn.Linear(7, 70)),
            "it fails: Runti",
        ),
        (saying(lambda _: None), "must return a module, and there was: None."),
        (saying(lambda layer: nn.Sequential(layer)), "has the layer itself in it"),
        (saying(lambda layer: nn.Sequential(type(layer)(70))), "has the layer itself in it"),
        (saying(lambda _: nn.Sequential(Unmade())), "a module without super().__init__()"),
        (saying(lambda _: nn.Linear(70, 7)), "gives torch.float32 of shape (500, 7) on cpu, and"),
        (saying(lambda _: nn.Flatten(0)), "gives torch.float32 of shape (35000,) on cpu, and"),
        (saying(lambda _: Tupled()), "gives tuple, and the layer torch.float32 of shape"),
        (saying(lambda _: nn.Linear(70, 70).double()), "fails on what reaches the layer: Runtime"),
        (saying(lambda _: nn.Linear(70, 70, device="meta")), "'segments.0.3' (Says) cannot be"),
        (
            lambda: Scaled(nn.ELU(), lambda layer: layer.function),
            "elu() in 'segments.0.3' in what Scaled.exported_as returned cannot be exported: it "
            "is of no known kind. Known are adaptive_avg_pool2d, ",
        ),
        (
            lambda: nn.ELU(),
            "it is of no known kind. Known are adaptive_avg_pool2d, add, add_, avg_pool2d, cat, "
            "concat, div, dropout, flatten, gelu, hardsigmoid, hardswish, hardtanh, iadd, imul, "
            "isub, leaky_relu, max_pool2d, mean, mul, prelu, relu, relu6, relu_, reshape, sigmoid, "
            "silu, softplus, sub, tanh, truediv, view. A layer of your own may say which known "
            "layers compute the same, by a method exported_as.",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused(
    layer: Callable[[], nn.Module], why: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        export(network(layer()), tmp_path / "model.bnn")
    assert why in str(refused.value)
    assert "returned" not in why or "A layer of your own" not in str(refused.value)


def test_of_a_posterior_each_draw_is_asked(tmp_path: Path) -> None:
    """The thresholds are those of the draw, as `exported_as` is called for each."""
    model = network(layers()["SteepSign"](70))
    optimizer = bnnlab.create("optimizer", "bayesbinn", model, examples=100)
    found = export(model, tmp_path / "model.bnn", optimizer=optimizer, draws=2)
    assert (found.draws, found.differing) == (2, 0)
