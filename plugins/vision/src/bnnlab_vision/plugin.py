"""What this plugin offers. Nothing here imports torch."""

from collections.abc import Mapping
from typing import Any, Literal

from bnnlab.components import Component, Kind, Option
from bnnlab.hookspecs import hookimpl

_CIFAR = (
    "Krizhevsky, Learning multiple layers of features from tiny images, "
    "technical report, University of Toronto, 2009"
)
_DATASETS = {
    "digits": (
        "Alpaydin and Kaynak, Optical recognition of handwritten digits, "
        "UCI Machine Learning Repository, 1998"
    ),
    "mnist": (
        "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document "
        "recognition, Proc. IEEE 86(11), 1998"
    ),
    "fashion-mnist": (
        "Xiao, Rasul and Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking "
        "machine learning algorithms, arXiv:1708.07747, 2017"
    ),
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}
_PERMUTED = (
    "Goodfellow et al., An empirical investigation of catastrophic forgetting in gradient-based "
    "neural networks, arXiv:1312.6211, 2013; Kirkpatrick et al., Overcoming catastrophic "
    "forgetting in neural networks, PNAS 114(13), 2017"
)
_SPLIT = (
    "Zenke, Poole and Ganguli, Continual learning through synaptic intelligence, ICML 2017; "
    "van de Ven and Tolias, Three scenarios for continual learning, arXiv:1904.07734, 2019"
)
_LABORIEUX = (
    "Laborieux, Ernoult, Hirtzlin and Querlioz, Synaptic metaplasticity in binarized neural "
    "networks, Nat. Commun. 12:2549, 2021"
)

_TASK_IDS = Option(
    "task_ids",
    bool,
    False,
    "Whether the model may be told which task it is tested on.",
    provides={True: ("task-ids",)},
)
_INCREMENTAL = Option(
    "incremental",
    Literal["class", "task"],
    "class",
    "'class': choose among all classes; 'task': among those of the task, which is known at test.",
    provides={"task": ("task-ids",)},
)
_VALIDATION = Option(
    "validation",
    float,
    0.0,
    "Share of the training data that is held out, from 0 to below 1; never taken from the test.",
    minimum=0,
    below=1,
)
_UNKNOWN = Option(
    "unknown",
    str,
    "permutation",
    "What belongs to no task, for out-of-distribution detection: a data set of equal shape, or "
    "'permutation' for the test images with their pixels in an order of their own.",
)


def _tasks(default: int, help: str) -> Option:
    return Option("tasks", int, default, help, minimum=1)


def _stream(
    name: str,
    scenario: str,
    summary: str,
    source: str,
    *options: Option,
    preset: Mapping[str, Any] | None = None,
) -> Component:
    return Component(
        Kind.STREAM,
        name,
        f"bnnlab_vision.scenarios:{scenario}",
        summary,
        source,
        (*options, _VALIDATION, _UNKNOWN),
        provides=frozenset() if scenario == "Single" else frozenset({"boundaries"}),
        preset=preset or {},
    )


def _streams_over(dataset: str, paper: str) -> list[Component]:
    preset = {"dataset": dataset}
    return [
        _stream(dataset, "Single", f"{dataset}, all at once.", paper, preset=preset),
        _stream(
            f"permuted-{dataset}",
            "Permuted",
            f"{dataset} again and again, the pixels in another order in each task.",
            f"{paper}; {_PERMUTED}",
            _tasks(10, "Number of tasks, each with a permutation of its own."),
            _TASK_IDS,
            preset=preset,
        ),
        _stream(
            f"split-{dataset}",
            "Split",
            f"The classes of {dataset}, some in each task.",
            f"{paper}; {_SPLIT}",
            _tasks(5, "Number of tasks; divides the number of classes."),
            _INCREMENTAL,
            preset=preset,
        ),
        _stream(
            f"chunked-{dataset}",
            "Chunked",
            f"The training data of {dataset} in equal parts, none seen twice.",
            f"{paper}; {_LABORIEUX}",
            _tasks(10, "Number of parts, equal up to one example."),
            preset=preset,
        ),
    ]


@hookimpl
def bnnlab_components() -> list[Component]:
    """Return four streams for each data set, and the sequence of data sets."""
    streams = [
        stream for dataset, paper in _DATASETS.items() for stream in _streams_over(dataset, paper)
    ]
    sequence = _stream(
        "sequence",
        "Sequence",
        "One data set after another, of equal input shape.",
        _LABORIEUX,
        Option(
            "datasets",
            list[str],
            ["mnist", "fashion-mnist"],
            f"The data sets in order, of: {', '.join(_DATASETS)}.",
        ),
        _TASK_IDS,
    )
    return [*streams, sequence]
