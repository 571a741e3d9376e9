"""The command `bnnlab-predict`, which is `python -m bnnlab_runtime`, too."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab_runtime.model import Model


def main(words: Sequence[str] | None = None) -> int:
    """Predict the images of a file; return the exit code: 0 done, 2 wrong use, 130 interrupted."""
    told = _parser().parse_args(words)
    if told.threads > 1:  # those of NumPy's products, which it reads once, would wait busily
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        return _predicted(told)
    except KeyboardInterrupt:
        _say("error: interrupted")
        return 130


def _predicted(told: argparse.Namespace) -> int:
    """Print the predictions, and return the exit code."""
    from bnnlab_runtime.model import load
    from bnnlab_runtime.stored import read_images

    try:
        model = load(told.model, told.backend, told.threads)
        images = read_images(told.images)
        found = (model.probabilities if told.probabilities else model.predict)(images, told.task)
    except (ValueError, OSError) as error:
        return _refused(str(error))
    except MemoryError as error:
        return _refused(f"there is too little memory: {error}")
    if model.prepared:
        _say(f"note: the model takes images {', '.join(model.prepared)}")
    return _written(model, found.tolist(), as_json=told.json)


def _say(line: str) -> None:
    if sys.stderr is not None:  # it may be closed
        print(_printable(line.replace("\n", " ")), file=sys.stderr)  # noqa: T201


def _printable(text: str) -> str:
    """Return what a terminal shows and does not obey."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _refused(why: str) -> int:
    _say(f"error: {why}")
    return 2


def _written(model: "Model", found: list[Any], *, as_json: bool) -> int:
    """Print what was found, and return the exit code."""
    if sys.stdout is None:
        return _refused("the output is closed")
    try:
        _show(model, found, as_json=as_json)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        if not isinstance(error, BrokenPipeError):  # of `| head`, which reads no further
            return _refused(f"the output cannot be written: {error.strerror}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bnnlab-predict",
        description="Predict the class of each image in a file, one a line.",
        epilog="Exit codes: 0 done; 2 wrong use, a damaged file, or an output that fails; 130 "
        "interrupted.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="A file of `bnn export`.")
    parser.add_argument(
        "images",
        type=Path,
        metavar="FILE",
        help="Images as they are stored, (B, C, H, W) or (B, H, W): a .npy or .npz file, or an "
        "IDX file such as MNIST's, whatever its name; also compressed with gzip.",
    )
    parser.add_argument(
        "--backend", default="numba", choices=["numba", "numpy"], help="What computes; see README."
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="For large files.")
    parser.add_argument("--task", type=int, metavar="N", help="Which task, from 0.")
    parser.add_argument(
        "--probabilities", action="store_true", help="Print the probability of each class."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")
    return parser


def _show(model: "Model", found: list[Any], *, as_json: bool) -> None:
    """Print a line for each image: a name, a number, or several with spaces between them."""
    named = model.classes is not None and bool(found) and isinstance(found[0], int)
    shown = [model.classes[each] for each in found] if named and model.classes else found
    if as_json:
        print(json.dumps(shown))  # noqa: T201
        return
    for each in shown:
        numbers = each if isinstance(each, list) else [each]
        text = " ".join(f"{one:.6g}" if isinstance(one, float) else str(one) for one in numbers)
        print(_printable(text))  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
