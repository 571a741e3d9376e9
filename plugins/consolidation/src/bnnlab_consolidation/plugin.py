"""What this plugin offers. Imports no torch."""

from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

BASE = (
    Option("base", str, "sgd", "The optimizer that makes the steps; it keeps latent weights."),
    Option("base_options", list[str], [], "Its options, each as 'name=value'."),
    Option(
        "lr", float | None, None, "Its learning rate; 'none' for what it has by default.", above=0
    ),
)

EWC = Component(
    kind=Kind.OPTIMIZER,
    name="ewc",
    target="bnnlab_consolidation.ewc:EWC",
    summary="Elastic weight consolidation: a penalty on changes, weighted by Fisher information.",
    source=(
        "Kirkpatrick et al., 'Overcoming catastrophic forgetting in neural networks', PNAS "
        "114(13), 2017 (arXiv 1612.00796); online: Schwarz et al., 'Progress & Compress', ICML "
        "2018 (arXiv 1805.06370)"
    ),
    options=(
        Option(
            "strength",
            float,
            300.0,
            "lambda, the factor on the penalty; 0 for none.",
            minimum=0,
            search=(1.0, 1e4),
        ),
        Option(
            "variant",
            Literal["online", "offline"],
            "online",
            "'online': all tasks are held where the last one ended; 'offline': each where it did.",
        ),
        Option(
            "decay",
            float,
            1.0,
            "With variant=online: what remains of earlier tasks' Fisher information at each end.",
            minimum=0,
            maximum=1,
            search=(0.2, 1.0),
        ),
        Option(
            "fisher_samples",
            int,
            1000,
            "Examples per task that the Fisher information is found from; all if there are fewer.",
            minimum=1,
        ),
        *BASE,
    ),
    requires=frozenset({"gradients", "boundaries"}),
    state_bytes=16,
)

SI = Component(
    kind=Kind.OPTIMIZER,
    name="si",
    target="bnnlab_consolidation.si:SI",
    summary="Synaptic intelligence: a penalty on changes, weighted by effects on earlier losses.",
    source=(
        "Zenke, Poole and Ganguli, 'Continual Learning Through Synaptic Intelligence', ICML 2017 "
        "(arXiv 1703.04200)"
    ),
    options=(
        Option(
            "strength",
            float,
            30.0,
            "c, the factor on the penalty; 0 for none.",
            minimum=0,
            search=(0.1, 300.0),
        ),
        Option(
            "damping",
            float,
            0.1,
            "xi, which bounds the importance of parameters that hardly moved.",
            above=0,
            search=(1e-3, 1.0),
        ),
        *BASE,
    ),
    requires=frozenset({"gradients", "boundaries"}),
    state_bytes=20,
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the optimizers `ewc` and `si`."""
    return [EWC, SI]
