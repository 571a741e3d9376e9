"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl

_MENG = (
    "Meng, Bachmann and Khan, 'Training Binary Neural Networks using the Bayesian Learning Rule', "
    "ICML 2020"
)

TWO_MOONS = Component(
    kind=Kind.STREAM,
    name="two-moons",
    target="bnnlab_tables.made:TwoMoons",
    summary="Two half circles in the plane, which are two classes.",
    source=f"Pedregosa et al., 'Scikit-learn', JMLR 12, 2011; {_MENG}",
)

SNELSON_LIKE = Component(
    kind=Kind.STREAM,
    name="snelson-like",
    target="bnnlab_tables.made:Curve",
    summary="A noisy curve: one number from one number, with or without a gap.",
    source="after Snelson and Ghahramani, 'Sparse Gaussian Processes using Pseudo-inputs', NeurIPS "
    f"2005; {_MENG}",
    requires=frozenset({"any-loss"}),
)

DIABETES = Component(
    kind=Kind.STREAM,
    name="diabetes",
    target="bnnlab_tables.diabetes:Diabetes",
    summary="How far a disease has come after a year, from ten measurements.",
    source="Efron, Hastie, Johnstone and Tibshirani, 'Least Angle Regression', Annals of "
    "Statistics 32(2), 2004",
    requires=frozenset({"any-loss"}),
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the three streams."""
    return [TWO_MOONS, SNELSON_LIKE, DIABETES]
