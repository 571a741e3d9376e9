"""What this plugin offers. Nothing here imports torch."""

from typing import Any

from bnnlab.registry.components import Command, Component, Kind
from bnnlab.registry.declaration import When
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
    "kmnist": (
        "Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto and Ha, Deep learning for classical "
        "Japanese literature, arXiv:1812.01718, 2018"
    ),
    "usps": (
        "Hull, A database for handwritten text recognition research, IEEE Trans. Pattern Anal. "
        "Mach. Intell. 16(5), 1994"
    ),
    "svhn": (
        "Netzer, Wang, Coates, Bissacco, Wu and Ng, Reading digits in natural images with "
        "unsupervised feature learning, NIPS workshop, 2011"
    ),
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}
_PERMUTED = (
    "Goodfellow et al., An empirical investigation of catastrophic forgetting in gradient-based "
    "neural networks, arXiv:1312.6211, 2013; Kirkpatrick et al., Overcoming catastrophic "
    "forgetting in neural networks, PNAS 114(13), 2017"
)
_ROTATED = (
    "Lopez-Paz and Ranzato, Gradient episodic memory for continual learning, NeurIPS 2017; "
    "Buzzega et al., Dark experience for general continual learning, NeurIPS 2020"
)
_SPLIT = (
    "Zenke, Poole and Ganguli, Continual learning through synaptic intelligence, ICML 2017; "
    "van de Ven and Tolias, Three scenarios for continual learning, arXiv:1904.07734, 2019"
)
_LABORIEUX = (
    "Laborieux, Ernoult, Hirtzlin and Querlioz, Synaptic metaplasticity in binarized neural "
    "networks, Nat. Commun. 12:2549, 2021"
)

_TASK_IDS = When("task_ids", True, provides={"task-ids"})
_INCREMENTAL = When("incremental", "task", provides={"task-ids"})


def _stream(
    name: str, target: str, summary: str, source: str, *when: When, **preset: Any
) -> Component:
    return Component(
        Kind.STREAM,
        name,
        f"bnnlab_vision.{target}",
        summary,
        source,
        provides=frozenset() if target.endswith("Single") else frozenset({"boundaries"}),
        when=when,
        preset=preset,
    )


def _streams_over(name: str, what: str, paper: str, target: str, **preset: Any) -> list[Component]:
    """Return the streams over images: what they are, and how the names of the classes begin."""
    return [
        *_streams_of_any(name, what, paper, target, **preset),
        _stream(
            f"rotated-{name}",
            f"{target}Rotated",
            f"Every task: {what}, turned by another angle.",
            f"{paper}; {_ROTATED}",
            _TASK_IDS,
            **preset,
        ),
    ]


def _streams_of_any(
    name: str, what: str, paper: str, target: str, **preset: Any
) -> list[Component]:
    """Return the streams over a data set of any inputs."""
    return [
        _stream(name, f"{target}Single", f"One task: all of {what}.", paper, **preset),
        _stream(
            f"permuted-{name}",
            f"{target}Permuted",
            f"Every task: {what}, with another order of the pixels.",
            f"{paper}; {_PERMUTED}",
            _TASK_IDS,
            **preset,
        ),
        _stream(
            f"split-{name}",
            f"{target}Split",
            f"Every task: a few classes of {what}.",
            f"{paper}; {_SPLIT}",
            _INCREMENTAL,
            **preset,
        ),
        _stream(
            f"chunked-{name}",
            f"{target}Chunked",
            f"Every task: another part of {what}, of equal size.",
            "; ".join(dict.fromkeys([paper, _LABORIEUX])),
            **preset,
        ),
    ]


@hookimpl
def bnnlab_components() -> list[Component]:
    """Return the streams over each data set, over folders and over features, and two more."""
    published = [
        stream
        for name, paper in _DATASETS.items()
        for stream in _streams_over(name, name, paper, "scenarios:", dataset=name)
    ]
    emnist = _streams_over(
        "emnist",
        "emnist",
        "Cohen, Afshar, Tapson and van Schaik, EMNIST: an extension of MNIST to handwritten "
        "letters, arXiv:1702.05373, 2017",
        "emnist:Emnist",
    )
    folders = _streams_over(
        "image-folder",
        "a folder of images",
        "a folder of the user's, laid out as for torchvision.datasets.ImageFolder",
        "folders:Folder",
    )
    features = _streams_of_any(
        "features",
        "a file of features",
        _LABORIEUX,
        "features:Features",
    )
    tiny = _stream(
        "imgnet-5",
        "folders:TinyImageNet",
        "Tiny-ImageNet, 40 of its 200 classes in each of five tasks.",
        f"Le and Yang, Tiny ImageNet visual recognition challenge, CS231N, 2015; {_SPLIT}",
        _INCREMENTAL,
        class_order="../wnids.txt",
    )
    sequence = _stream(
        "sequence",
        "scenarios:Sequence",
        "Several data sets of equal input shape, one per task.",
        _LABORIEUX,
        _TASK_IDS,
    )
    return [*published, *emnist, *folders, *features, tiny, sequence]


@hookimpl
def bnnlab_commands() -> list[Command]:
    """Return the command that writes a file of features."""
    return [
        Command(
            "extract-features",
            "bnnlab_vision.commands:extract_features",
            "Write features of images, computed by a network of torchvision.",
        )
    ]
