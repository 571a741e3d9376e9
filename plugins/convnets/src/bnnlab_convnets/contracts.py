"""What the contracts of the test kit are told of what this plugin offers."""

import pytest

from bnnlab_testing import ModelContract


def ends(last: int, layer: str = "0") -> dict[str, str]:
    """The weights that `keep=first-and-last` names, in a model of `last + 1` segments."""
    return {
        "segments.0.0.weight": "the first weight layer",
        f"segments.{last}.{layer}.weight": "the last weight layer",
    }


class TwinContract(ModelContract):
    """Of models whose class, with all its options, is that of another model here."""

    test_no_option_is_ignored = None
    test_what_it_has_with_each_value_is_declared = None


class TestConvNet(ModelContract):
    name = "convnet"
    options = {"channels": [6, 8], "hidden": [16], "groups": 2}


class TestConvNetWithEverything(ModelContract):
    name = "convnet"
    options = {"channels": [8, 6], "kernel": [5, 3], "stride": [1, 2], "padding": [2, 1],
               "pooling": ["avg", "none"], "hidden": [], "norm": "layer", "affine": True,
               "activation": "reverse-binary-gate", "scale": "latent", "block_dropout": 0.1,
               "output_norm": True}  # fmt: skip
    without_effect = {"groups": "five logits are not in groups of equal size"}


class TestRealConvNet(ModelContract):
    name = "convnet"
    options = {"channels": [8], "hidden": [16], "weights": "real", "activation": "relu",
               "dropout": 0.5, "block_norm": False, "bias": True, "groups": 2,
               "init": "he-uniform"}  # fmt: skip


class TestVGGBinaryConnectWithEverything(ModelContract):
    name = "vgg-binaryconnect"
    options = {"width": 0.05, "activations": "binary", "keep": "first-and-last",
               "scale": "learned", "surrogate": "polynomial"}  # fmt: skip
    real = ends(8)


class TestVGGBinaryConnect(ModelContract):
    name = "vgg-binaryconnect"
    options = {"width": 0.05}


@pytest.mark.slow  # it has the layers of what is above
class TestVGG16(ModelContract):
    name = "vgg16"
    options = {"width": 0.05}
    real = ends(15)


@pytest.mark.slow  # it has the layers of what is above
class TestVGG19(TwinContract):
    name = "vgg19"
    options = {"width": 0.05}
    real = ends(18)


@pytest.mark.slow  # there are 11 million weights
class TestResNet18(ModelContract):
    name = "resnet18"
    real = ends(9)


@pytest.mark.slow  # there are 24 million weights
class TestResNet50(TwinContract):
    name = "resnet50"
    real = ends(17)


@pytest.mark.slow  # its layers are tested in test_networks
class TestMobileNetV2(TwinContract):
    name = "mobilenet_v2"
    options = {"width": 0.1}
    real = ends(31)


@pytest.mark.slow  # its layers are tested in test_networks
class TestMobileNetV3Small(TwinContract):
    name = "mobilenet_v3_small"
    options = {"width": 0.1, "keep": "none", "remove_skips": True}


class TestMLPMixer(ModelContract):
    name = "mlp-mixer"
    options = {"patch": 2, "dim": 12, "depth": 2}
    real = ends(5)


class TestRealMLPMixerWithoutSkips(ModelContract):
    name = "mlp-mixer"
    options = {"patch": 2, "dim": 12, "depth": 1, "weights": "real", "activations": "real",
               "remove_skips": True}  # fmt: skip


@pytest.mark.slow  # a network that test_networks looks at is converted in the same way
class TestTorchvision(TwinContract):
    name = "torchvision"
    options = {"architecture": "squeezenet1_1"}
    input_shape = (3, 20, 20)
    real = ends(17, "classifier.1")
