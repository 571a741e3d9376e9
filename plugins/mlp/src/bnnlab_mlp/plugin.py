"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

MLP = Component(
    kind=Kind.MODEL,
    name="mlp",
    target="bnnlab_mlp.mlp:MLP",
    summary="Multi-layer perceptron with binary or real weights.",
    source=(
        "Hubara, Courbariaux, Soudry, El-Yaniv and Bengio, 'Binarized Neural Networks', "
        "NeurIPS 2016 (arXiv 1602.02830)"
    ),
    options=(
        Option("hidden", list[int], [512, 512], "Units of each hidden layer.", minimum=1),
        Option(
            "weights",
            Literal["binary", "real"],
            "binary",
            "Weights of every layer, the first and the last included.",
            provides={"binary": ("binary-weights",), "real": ("real-weights",)},
        ),
        Option(
            "real_output",
            bool,
            False,
            "Whether the output layer's weights are real also where the others are binary.",
        ),
        Option(
            "activation",
            Literal["sign", "relu", "hardtanh", "gate", "reverse-binary-gate"],
            "sign",
            "Activation of the hidden layers.",
        ),
        Option(
            "surrogate",
            Literal["saturating", "identity", "polynomial"],
            "saturating",
            "Surrogate gradient of the sign activation.",
        ),
        Option(
            "norm",
            Literal["batch", "layer", "none"],
            "layer",
            "Normalisation before each hidden activation.",
        ),
        Option(
            "statistics",
            Literal["running", "per-task", "recalibrated"],
            "running",
            "With norm=batch: the statistics used at test; never those of the test batch.",
            requires={"per-task": ("task-ids",)},
        ),
        Option("affine", bool, False, "Whether normalisation learns a gain and a shift."),
        Option(
            "scale",
            Literal["none", "fan-in", "learned"],
            "fan-in",
            "Factor on a binary layer's sums: 1, 1/sqrt(inputs), or learned per unit.",
        ),
        Option("bias", bool, False, "Whether layers have real biases."),
        Option(
            "width",
            float,
            1.0,
            "With gate and reverse-binary-gate: the size of a sum where the output changes.",
            above=0,
            search=(0.8, 1.4),
        ),
        Option(
            "output_norm",
            bool,
            False,
            "Whether the logits are normalised too, as norm says.",
        ),
    ),
    provides=frozenset({"segments"}),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the model `mlp`."""
    return [MLP]
