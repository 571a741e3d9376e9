"""The command `bnn extract-features`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.choosing import Assignments
from bnnlab.cli.console import print_out, report_note

Out = Annotated[Path, typer.Argument(help="File to write.", metavar="FILE.npz")]
Stream = Annotated[
    str, typer.Option("--stream", help="Images: a stream of one task, as cifar10 or image-folder.")
]
Model = Annotated[str, typer.Option("--model", help="Network of torchvision.", metavar="NAME")]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        help="A file with a state dict; the name of weights that torchvision downloads; or none: "
        "they are drawn.",
        metavar="FILE|NAME",
    ),
]
Resize = Annotated[
    int, typer.Option("--resize", min=1, help="Side of the resized image in pixels.")
]
Crop = Annotated[
    int, typer.Option("--crop", min=1, help="Side of what the network sees in pixels.")
]
Passes = Annotated[
    int,
    typer.Option(
        "--passes",
        min=1,
        help="Passes over the training images. With more than one, each draws crops and mirrors.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images at a time.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Data = Annotated[
    str | None,
    typer.Option("--data", help="Data folder. Default: that of `bnn run`.", metavar="FOLDER"),
]


def extract_features(
    out: Out,
    stream: Stream = "cifar10",
    set: Assignments = None,
    model: Model = "resnet18",
    weights: Weights = "DEFAULT",
    resize: Resize = 256,
    crop: Crop = 224,
    passes: Passes = 1,
    batch_size: BatchSize = 100,
    device: Device = "auto",
    data: Data = None,
) -> None:
    """Write features of images, what a network's last linear layer gets, for stream features.

    Test images are cut at the centre. The file is written whole or not at all.

    Example:  bnn extract-features cifar10.npz --stream cifar10 --resize 220 --crop 200 --passes 10
    """
    import numpy as np

    from bnnlab.api import create
    from bnnlab.engine.building import find_device
    from bnnlab.errors import UsageError
    from bnnlab.settings.text import joined, parse_assignment
    from bnnlab.storage.files import write_atomically
    from bnnlab_vision.extracting import Extractor, digest_of, extract, make_network, packed
    from bnnlab_vision.features import IMAGE

    said = joined(map(parse_assignment, set or []))
    if said.keys() - {"stream"}:
        raise UsageError("--set: only options of the stream are used here, as stream.folder=PATH")
    options = said.get("stream", {})
    if done := options.keys() & {"normalise", "augment"}:
        raise UsageError(f"--set stream.{min(done)}: this command decides it; see --passes")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out}: there is no folder {out.parent} to write to")
    place = str(find_device(device))
    images = create("stream", stream, data=data, device=place, normalise=False, **options)
    if len(images) > 1 or len(images.input_shape) != 3:
        raise UsageError(f"--stream: {stream} is not one task of images")
    network = make_network(model, weights)
    about = {
        "model": model,
        "weights": digest_of(network),
        "resize": resize,
        "crop": crop,
        "passes": passes,
        "images": images.protocol(),
    }
    if weights == "none":
        report_note("The weights of the network are drawn: it has learned nothing.")
    extractor, task = Extractor(network.to(place), resize, crop), images[0]
    arrays = {"about": np.array(json.dumps(about))}
    if images.class_names:
        arrays["class_names"] = np.array([*images.class_names])
    for name, part, count in (("train", task.train, passes), ("test", task.test, 1)):
        with typer.progressbar(length=count * len(part), label=name, file=sys.stderr) as bar:
            found = extract(part, extractor, batch_size, count, bar.update)
        arrays[f"{name}_x"], arrays[f"{name}_y"] = found
    if passes > 1:
        arrays[IMAGE] = np.tile(np.arange(len(task.train)), passes)
    write_atomically(out, packed(arrays))
    learned, tested = arrays["train_x"].shape, arrays["test_x"].shape
    print_out(f"{out}: {learned[0]:,} + {tested[0]:,} features of {learned[1]} numbers")
