"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.hookspecs import hookimpl


def _rule(name: str, presynaptic: str, summary: str, source: str) -> Component:
    return Component(
        kind=Kind.RULE,
        name=name,
        target="bnnlab_pepita.rule:InputModulation",
        summary=summary,
        source=source,
        provides=frozenset({"gradients", "reevaluable", "any-loss"}),
        preset={"presynaptic": presynaptic},
    )


PEPITA = _rule(
    "pepita",
    "modulated",
    "PEPITA: a second forward pass, on the input plus the projected error.",
    "Dellaferrera and Kreiman, 'Error-driven Input Modulation: Solving the Credit Assignment "
    "Problem without a Backward Pass', ICML 2022 (arXiv 2201.11665)",
)
SIGPROP_TL = _rule(
    "sigprop-tl",
    "clean",
    "Signal propagation with a target loop: pepita with the inputs of the clean pass.",
    "Kohan, Rietman and Siegelmann, 'Signal Propagation: The Framework for Learning and Inference "
    "in a Forward Pass', IEEE TNNLS 2023 (arXiv 2204.01723), and 'Error Forward-Propagation', 2018 "
    "(arXiv 1808.03357); as in Crulis et al., 2024 (arXiv 2408.04460)",
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the rules `pepita` and `sigprop-tl`."""
    return [PEPITA, SIGPROP_TL]
