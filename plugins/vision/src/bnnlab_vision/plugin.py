"""What this plugin offers. Nothing here imports torch."""

from dataclasses import replace
from typing import Literal

from bnnlab.registry.components import Component, Kind, Option
from bnnlab.registry.hookspecs import hookimpl

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
_AUGMENT = Option(
    "augment",
    Literal["none", "cifar", "cifar-edge", "imagenet"],
    "none",
    "How training images are changed at random: 'cifar', shifted by up to 4 pixels and mirrored "
    "(He et al. 2016); 'cifar-edge', the same with the edge repeated in place of black pixels "
    "(Laydevant et al. 2021); 'imagenet', cropped, enlarged and mirrored (Szegedy et al. 2015).",
)
_NORMALISE = Option(
    "normalise",
    bool,
    True,
    "Whether inputs are normalised per channel by the training data's mean and standard "
    "deviation; else they are pixels in [0, 1].",
)


def _tasks(default: int, help: str) -> Option:
    return Option("tasks", int, default, help, minimum=1)


_FOLDER = Option("folder", str, "", "The folder of images, absolute or in the data folder; needed.")
_ORDER = Option(
    "class_order",
    str,
    "",
    "A text file, absolute or in the folder, with the classes' names in order; else they are "
    "sorted.",
)
_FOLDER_OPTIONS = (
    Option(
        "image_size",
        int,
        64,
        "Side in pixels: the shorter side is resized to it, and the centre cut out.",
        minimum=1,
    ),
    Option("grey", bool, False, "Whether images have one channel in place of three."),
    Option("exif", bool, True, "Whether images are turned as their EXIF orientation says."),
    Option(
        "test_share",
        float,
        0.2,
        "Share of each class for test, where there is no test or validation part.",
        above=0,
        below=1,
    ),
    Option(
        "in_memory",
        Literal["auto", "always", "never"],
        "auto",
        "Whether decoded images are held in memory; 'auto' for up to 4 GiB of them.",
    ),
    Option("workers", int, 2, "Processes that read and decode; 0 for the main one.", minimum=0),
    Option(
        "corrupt",
        Literal["refuse", "skip"],
        "refuse",
        "What is done where files cannot be read: they are refused, or skipped; named either way.",
    ),
    Option(
        "copies",
        Literal["warn", "refuse"],
        "warn",
        "What is done where images of the test or validation part are learned from, too; more than "
        "half of the test part is refused in any case.",
    ),
)
_SPLIT_OPTIONS = (_tasks(5, "Number of tasks; divides the number of classes."), _INCREMENTAL)


def _stream(name: str, target: str, summary: str, source: str, *options: Option) -> Component:
    return Component(
        Kind.STREAM,
        name,
        f"bnnlab_vision.{target}",
        summary,
        source,
        (*options, _VALIDATION, _UNKNOWN, _AUGMENT, _NORMALISE),
        provides=frozenset() if target.endswith("Single") else frozenset({"boundaries"}),
    )


def _streams_over(name: str, paper: str, target: str, *options: Option) -> list[Component]:
    """Return the four streams over a data set; `target` is what their classes' names begin with."""
    return [
        _stream(name, f"{target}Single", f"One task: the whole data set {name}.", paper, *options),
        _stream(
            f"permuted-{name}",
            f"{target}Permuted",
            f"{name} in every task, with another order of the pixels.",
            f"{paper}; {_PERMUTED}",
            *options,
            _tasks(10, "Number of tasks, each with a permutation of its own."),
            _TASK_IDS,
        ),
        _stream(
            f"split-{name}",
            f"{target}Split",
            f"{name} split by class: a few classes per task.",
            f"{paper}; {_SPLIT}",
            *options,
            *_SPLIT_OPTIONS,
        ),
        _stream(
            f"chunked-{name}",
            f"{target}Chunked",
            f"The training data of {name} in equal parts, one part per task.",
            f"{paper}; {_LABORIEUX}",
            *options,
            _tasks(10, "Number of parts, equal up to one example."),
        ),
    ]


@hookimpl
def bnnlab_components() -> list[Component]:
    """Return four streams for each data set and for folders, and two more."""
    published = [
        replace(stream, preset={"dataset": dataset})
        for dataset, paper in _DATASETS.items()
        for stream in _streams_over(dataset, paper, "scenarios:")
    ]
    folders = _streams_over(
        "image-folder",
        "a folder of the user's, laid out as for torchvision.datasets.ImageFolder",
        "folders:Folder",
        _FOLDER,
        _ORDER,
        *_FOLDER_OPTIONS,
    )
    tiny = replace(
        _stream(
            "imgnet-5",
            "folders:TinyImageNet",
            "Tiny-ImageNet, 40 of its 200 classes in each of five tasks.",
            f"Le and Yang, Tiny ImageNet visual recognition challenge, CS231N, 2015; {_SPLIT}",
            Option(
                "folder",
                str,
                "tiny-imagenet-200",
                "Its archive, unpacked; absolute or in the data folder.",
            ),
            *_FOLDER_OPTIONS,
            *_SPLIT_OPTIONS,
        ),
        preset={"class_order": "../wnids.txt"},
    )
    sequence = _stream(
        "sequence",
        "scenarios:Sequence",
        "Several data sets of equal input shape, one per task.",
        _LABORIEUX,
        Option(
            "datasets",
            list[str],
            ["mnist", "fashion-mnist"],
            f"The data sets in order, of: {', '.join(_DATASETS)}.",
        ),
        _TASK_IDS,
    )
    return [*published, *folders, tiny, sequence]
