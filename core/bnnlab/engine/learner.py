"""Model, rule, optimizer and progress as one state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bnnlab.engine.progress import Progress
from bnnlab.errors import UsageError
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.optimizer import Optimizer
from bnnlab.interfaces.rule import LearningRule


@dataclass
class Learner:
    """A model, its rule and its optimizer, and how far they are: all that training changes."""

    model: Model
    rule: LearningRule
    optimizer: Optimizer
    progress: Progress = field(default_factory=Progress)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {name: part.state_dict() for name, part in vars(self).items()}

    def load_state_dict(self, state: Mapping[str, Any], source: Path) -> None:
        """Restore what `state_dict` returned, see `restore`."""
        restore(source, state, **vars(self))


def restore(source: Path, state: Mapping[str, Any], **parts: Any) -> None:
    """Load each part's state by its name, from a checkpoint of the run's folder `source`.

    Raises:
        UsageError: If a state does not fit, or binary weights are not -1 and +1.
    """
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except Exception as error:  # a state of something else breaks a component in any way
            said = f"the checkpoint in {source} does not fit its run.toml: {name}"
            raise UsageError(f"{said}: {' '.join(str(error).split())}") from error
