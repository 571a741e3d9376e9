"""The scenarios over a published subset of EMNIST."""

from typing import Annotated, Any, Literal

from bnnlab.markers import AtLeast
from bnnlab_vision.scenario import Scenario
from bnnlab_vision.scenarios import Chunked, Permuted, Rotated, Single, Split


class OverEmnist(Scenario):
    """Makes a subset of EMNIST the data set of the scenario that it is mixed into.

    Args:
        subset: The published subset. byclass: digits, capital and small letters. bymerge: the same,
            where letters that look alike in both are one class. balanced: as bymerge, equally many
            images per class. letters: both cases are one class. digits. mnist: as many as MNIST.
        given: Of the scenario.
    """

    def __init__(
        self,
        *,
        subset: Literal[
            "byclass", "bymerge", "balanced", "letters", "digits", "mnist"
        ] = "balanced",
        **given: Any,
    ) -> None:
        super().__init__(**{**given, "dataset": f"emnist-{subset}"})


class EmnistSingle(OverEmnist, Single):
    """The scenario `Single` over a subset of EMNIST."""


class EmnistPermuted(OverEmnist, Permuted):
    """The scenario `Permuted` over a subset of EMNIST."""


class EmnistRotated(OverEmnist, Rotated):
    """The scenario `Rotated` over a subset of EMNIST."""


class EmnistSplit(OverEmnist, Split):
    """The scenario `Split` over a subset of EMNIST.

    Args:
        given: Of the subset and the scenario.
    """

    def __init__(self, *, tasks: Annotated[int | None, AtLeast(1)] = None, **given: Any) -> None:
        super().__init__(tasks=tasks, **given)


class EmnistChunked(OverEmnist, Chunked):
    """The scenario `Chunked` over a subset of EMNIST."""
