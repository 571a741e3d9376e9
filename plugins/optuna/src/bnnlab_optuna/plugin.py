"""What this plugin offers. Imports no optuna."""

from bnnlab.registry.components import Command, Component, Kind
from bnnlab.registry.hookspecs import hookimpl


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer the probe that prunes."""
    return [
        Component(
            kind=Kind.PROBE,
            name="pruning",
            target="bnnlab_optuna.pruning:Pruning",
            summary="Reports a run to its study of `bnn tune`, which may prune it.",
            source="Akiba, Sano, Yanase, Ohta and Koyama, Optuna, KDD 2019",
        )
    ]


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Offer the command that tunes."""
    return [Command("tune", "bnnlab_optuna.commands:tune", "Tune settings on validation data.")]
