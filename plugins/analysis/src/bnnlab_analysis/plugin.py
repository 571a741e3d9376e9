"""What this plugin offers. Imports no torch."""

from bnnlab.engine.result import MEASURES
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

UNCERTAINTY = {
    f"uncertainty.{name}": about
    for name, about in {
        "nll": ("nats, from 0", "negative log-likelihood"),
        "brier": ("0 to 2", "Brier score, summed over the classes"),
        "ece": ("0 to 1", "expected calibration error"),
        "entropy": ("bits, from 0", "mean entropy of the mean prediction"),
        "aleatoric": ("bits, from 0", "mean entropy of each draw's prediction"),
        "epistemic": ("bits, from 0", "entropy minus aleatoric"),
        "ood_auroc": ("0 to 1", "out-of-distribution detection by the entropy"),
        "ood_auroc_recent": ("0 to 1", "the same over the last tasks"),
        "ood_auroc_tasks": ("0 to 1", "the same per task"),
        "ood_auroc_epistemic": ("0 to 1", "by the epistemic part"),
        "reliability.count": ("examples, from 0", "per bin of confidence"),
        "reliability.confidence": ("0 to 1", "mean per bin"),
        "reliability.accuracy": ("0 to 1", "per bin"),
    }.items()
}
"""Unit or range, and meaning, of the parts of `uncertainty`."""
DIAGNOSIS = {
    "diagnosis.angle": ("degrees, 0 to 180", "between the rule's gradient and the exact one"),
    "diagnosis.norm": ("from 0", "length of the rule's gradient"),
    "diagnosis.exact_norm": ("from 0", "length of the exact one"),
    "diagnosis.window": ("0 to 1", "share of the inputs of signs with a surrogate gradient"),
}
"""The same of the parts of `diagnosis`."""


_SCORES = (
    Component(
        kind=Kind.PROBE,
        name="top-k",
        target="bnnlab_analysis.scores:TopK",
        summary="How often the class is among the k most probable ones, per task.",
        source="Russakovsky et al., 'ImageNet Large Scale Visual Recognition Challenge', IJCV 2015",
        measures={"top_k_accuracy": ("0 to 1", "per task seen")},
    ),
    Component(
        kind=Kind.PROBE,
        name="real-errors",
        target="bnnlab_analysis.scores:RealErrors",
        summary="Root mean squared and mean absolute error of real numbers, per task.",
        source="Willmott and Matsuura, 'Advantages of the mean absolute error over the root "
        "mean square error', Climate Research 2005",
        measures={
            "rmse": ("units of the targets", "root mean squared error, per task seen"),
            "mae": ("units of the targets", "mean absolute error, per task seen"),
        },
    ),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the probes."""
    return [
        Component(
            kind=Kind.PROBE,
            name="weights",
            target="bnnlab_analysis.weights:Weights",
            summary="Flips, latent weights and learned scales per layer, after each task.",
            source="Helwegen et al., 'Latent Weights Do Not Exist', NeurIPS 2019",
            measures=_known("flips"),
        ),
        Component(
            kind=Kind.PROBE,
            name="uncertainty",
            target="bnnlab_analysis.uncertainty:Uncertainty",
            summary="Calibration, entropies and out-of-distribution detection.",
            source="Guo et al., 'On Calibration of Modern Neural Networks', ICML 2017",
            measures=_known("uncertainty") | UNCERTAINTY,
        ),
        Component(
            kind=Kind.PROBE,
            name="confusion",
            target="bnnlab_analysis.confusion:Confusion",
            summary="Which classes are taken for which, and the accuracy on each class.",
            source="Sokolova and Lapalme, 'A systematic analysis of performance measures for "
            "classification tasks', Information Processing and Management 2009",
            measures={
                "confusion": (
                    "examples",
                    "of all tasks seen: [class, predicted class, examples], where not 0",
                ),
                "class_accuracy": ("0 to 1", "per class, over all tasks seen"),
                "class_names": ("text", "per class; empty if the stream has none"),
            },
        ),
        Component(
            kind=Kind.PROBE,
            name="diagnosis",
            target="bnnlab_analysis.diagnosis:GradientDiagnosis",
            summary="The angle between the rule's gradient and the exact one, per segment.",
            source="Lillicrap et al., 'Random synaptic feedback weights', Nature Comm. 2016",
            measures=_known("diagnosis") | DIAGNOSIS,
        ),
        Component(
            kind=Kind.PROBE,
            name="fresh",
            target="bnnlab_analysis.fresh:Fresh",
            summary="Plasticity: a fresh model also learns each task alone.",
            source="Dohare et al., 'Loss of plasticity in deep continual learning', Nature 2024",
            measures=_known("fresh_accuracy", "plasticity"),
        ),
        *_SCORES,
    ]


def _known(*names: str) -> dict[str, tuple[str, str]]:
    """Return unit and meaning of measures that each result has, measured or not."""
    return {name: (MEASURES[name].unit, MEASURES[name].meaning) for name in names}
