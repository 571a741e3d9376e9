"""What weights begin as: torchvision's, or another run's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import VisionTransformer

import bnnlab
from bnnlab import Model, UsageError

SIZES = {"patch": 4, "dim": 24, "depth": 2, "heads": 3, "mlp_ratio": 2.0, "pooling": "token"}


def theirs(image_size: int = 16, classes: int = 7) -> VisionTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = VisionTransformer(image_size, 4, 2, 3, 24, 48, num_classes=classes)
        for parameter in network.parameters():  # heads, tokens and biases begin at 0
            torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def ours(name: str, checkpoint: Path, **options: Any) -> Model:
    model = bnnlab.create(
        "model",
        name,
        **{"input_shape": (3, 16, 16), "classes": 7, **SIZES, **options},
        checkpoint=str(checkpoint),
    )
    assert isinstance(model, Model)
    return model.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    file = tmp_path / "vit.pth"
    torch.save(theirs().state_dict(), file)
    return file


def images(side: int = 16) -> Tensor:
    return torch.randn(5, 3, side, side, generator=torch.Generator().manual_seed(2))


def test_vit_is_torchvisions_network(saved: Path) -> None:
    torch.testing.assert_close(ours("vit", saved)(images()), theirs()(images()))


def test_the_names_of_older_versions_are_known(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    old = {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for name, value in state.items()
    }
    torch.save(old, saved)
    torch.testing.assert_close(ours("vit", saved)(images()), theirs()(images()))


def test_positions_are_interpolated_to_larger_images(saved: Path) -> None:
    model = ours("vit", saved, input_shape=(3, 32, 32))
    position = model.get_parameter("segments.0.position")
    mine = theirs().get_parameter("encoder.pos_embedding")
    assert position.shape == (1, 65, 24)
    torch.testing.assert_close(position[:, 0], mine[:, 0])
    corners = mine[0, 1:].view(4, 4, 24)[::3, ::3]  # which interpolation leaves alone
    torch.testing.assert_close(position[0, 1:].view(8, 8, 24)[::7, ::7], corners)


def test_a_classifier_of_other_classes_is_left_as_drawn(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, fresh = (
        ours("vit", saved, classes=4),
        bnnlab.create("model", "vit", input_shape=(3, 16, 16), classes=4, **SIZES),
    )
    assert "it begins as drawn" in caplog.text
    last = "segments.3.classifier.weight"
    assert torch.equal(model.get_parameter(last), fresh.get_parameter(last))
    first = "segments.0.patches.weight"
    assert torch.equal(model.get_parameter(first), theirs().get_parameter("conv_proj.weight"))


def test_without_a_class_token_its_position_goes_too(saved: Path) -> None:
    model = ours("vit", saved, pooling="mean")
    torch.testing.assert_close(
        model.get_parameter("segments.0.position"),
        theirs().get_parameter("encoder.pos_embedding")[:, 1:],
    )


@pytest.mark.parametrize("options", [{}, {"attention": "binary"}])
def test_binary_layers_begin_as_the_signs_of_real_ones(
    saved: Path, options: dict[str, Any]
) -> None:
    model, network = ours("bvit", saved, **options), theirs()
    W = network.get_parameter("encoder.layers.encoder_layer_1.self_attention.in_proj_weight")
    layer = model.get_submodule("segments.2.attention.qkv")
    assert torch.equal(layer.get_parameter("weight"), W.sign())
    torch.testing.assert_close(layer.get_parameter("scale"), W.abs().mean(1))
    assert model.initial_latents.keys() == model.binary_parameters().keys()
    for name in ("adam", "sgd", "meta"):
        optimizer = bnnlab.create("optimizer", name, model)
        assert torch.equal(optimizer.state[layer.get_parameter("weight")]["latent"], W)


def test_latents_of_another_time_are_not_taken(saved: Path) -> None:
    """Weights that have been learned since are not thrown back."""
    model = ours("hybrid", saved)
    weight = model.get_parameter("segments.1.mlp.fc1.weight")
    with torch.no_grad():
        weight[0, 0] *= -1
    state = bnnlab.create("optimizer", "adam", model).state
    assert torch.equal(state[weight]["latent"].sign(), weight)
    other = model.get_parameter("segments.1.mlp.fc2.weight")
    assert torch.equal(state[other]["latent"], model.initial_latents["segments.1.mlp.fc2.weight"])


def run(folder: Path, model: str, **options: Any) -> Path:
    """Train for an epoch on a few digits, and return the run's folder."""
    sizes = {"patch": 4, "dim": 8, "depth": 1, "heads": 2}
    result = bnnlab.run(
        rule="bp",
        optimizer="adam",
        model={"name": model, **sizes, **options},
        stream={"name": "digits", "validation": 0.9},
        epochs=1,
        device="cpu",
        out=folder,
        name=model,
    )
    assert result.folder is not None
    return result.folder


@pytest.mark.parametrize(("source", "target"), [("vit", "vit"), ("vit", "bvit"), ("bvit", "bvit")])
def test_a_run_begins_where_another_ended(tmp_path: Path, source: str, target: str) -> None:
    before = bnnlab.load(run(tmp_path, source))
    folder = tmp_path / source
    sizes = {"patch": 4, "dim": 8, "depth": 1, "heads": 2, "checkpoint": str(folder)}
    model = bnnlab.create("model", target, input_shape=(1, 8, 8), classes=10, **sizes).eval()
    x = torch.randn(3, 1, 8, 8)
    if source == target:
        assert torch.equal(model(x), before(x))
        assert not model.initial_latents
    else:
        W = before.get_parameter("segments.1.mlp.fc1.weight")
        assert torch.equal(model.get_parameter("segments.1.mlp.fc1.weight"), W.sign())


def test_heads_that_no_shape_shows_are_compared_with_the_runs(tmp_path: Path) -> None:
    folder = run(tmp_path, "vit")
    sizes = {"patch": 4, "dim": 8, "depth": 1, "heads": 4, "checkpoint": str(folder)}
    with pytest.raises(UsageError, match=r"heads is 2 in .* and 4 here; take --set model\.heads=2"):
        bnnlab.create("model", "bvit", input_shape=(1, 8, 8), classes=10, **sizes)


def test_a_run_is_loaded_without_what_it_began_as(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    first = run(tmp_path / "first", "vit")
    second = run(tmp_path, "bvit", checkpoint=str(first))
    x = torch.randn(3, 1, 8, 8)
    logits = bnnlab.load(second)(x)
    first.rename(tmp_path / "elsewhere")
    assert torch.equal(bnnlab.load(second)(x), logits)


def test_what_does_not_fit_is_said(saved: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"depth": 3}, r"depth is 2 in .* and 3 here; take --set model\.depth=2"),
        ({"depth": 1}, "depth is 2 in .* and 1 here"),
        ({"dim": 12}, r"segments\.0\.token is \(1, 1, 24\) in .*, and \(1, 1, 12\) in this model"),
        ({"input_shape": (3, 16, 8)}, "positions are of square images, and images are 16x8 here"),
    ):
        with pytest.raises(UsageError, match=message):
            ours("vit", saved, **options)
    binary = run(tmp_path, "bvit")
    sizes = {"patch": 4, "dim": 8, "depth": 1, "heads": 2, "checkpoint": str(binary)}
    with pytest.raises(UsageError, match="holds binary layers where this model has real ones"):
        bnnlab.create("model", "vit", input_shape=(1, 8, 8), classes=10, **sizes)


def test_a_checkpoint_without_a_classifier_will_do(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = torch.load(saved, weights_only=True)
    torch.save({name: v for name, v in state.items() if not name.startswith("heads")}, saved)
    ours("vit", saved)
    assert "it begins as drawn" in caplog.text


def test_files_that_are_no_weights_are_refused(saved: Path, tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    cases: list[tuple[Any, str]] = [
        ({"weight": torch.zeros(1)}, "holds no vision transformer"),
        ({"model": 3}, "holds no state_dict"),
        ([1], "holds no state_dict"),
        ({"conv_proj.weight": 3}, "holds no state_dict"),
        ({**torch.load(saved, weights_only=True), "encoder.ln.bias": torch.tensor([torch.nan])},
         "encoder.ln.bias is not finite"),
    ]  # fmt: skip
    for content, message in cases:
        torch.save(content, file)
        with pytest.raises(UsageError, match=message):
            ours("vit", file)
    file.write_text("text")
    with pytest.raises(UsageError, match=r"cannot be read: .* Was it made with torch\.save"):
        ours("vit", file)
    with pytest.raises(UsageError, match=r"there is no .*nothing\.pth"):
        ours("vit", tmp_path / "nothing.pth")
    with pytest.raises(UsageError, match=r"there is no .*state\.pt"):
        ours("vit", tmp_path)  # a folder, of no run
