"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl


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
        ),
        Component(
            kind=Kind.PROBE,
            name="uncertainty",
            target="bnnlab_analysis.uncertainty:Uncertainty",
            summary="Calibration, entropies and out-of-distribution detection.",
            source="Guo et al., 'On Calibration of Modern Neural Networks', ICML 2017",
        ),
        Component(
            kind=Kind.PROBE,
            name="diagnosis",
            target="bnnlab_analysis.diagnosis:GradientDiagnosis",
            summary="The angle between the rule's gradient and the exact one, per segment.",
            source="Lillicrap et al., 'Random synaptic feedback weights', Nature Comm. 2016",
        ),
        Component(
            kind=Kind.PROBE,
            name="fresh",
            target="bnnlab_analysis.fresh:Fresh",
            summary="Plasticity: a fresh model also learns each task alone.",
            source="Dohare et al., 'Loss of plasticity in deep continual learning', Nature 2024",
        ),
    ]
