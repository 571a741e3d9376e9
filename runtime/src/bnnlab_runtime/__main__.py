"""The command `bnnlab-predict`, which is `python -m bnnlab_runtime`, too."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnnlab_runtime.model import Model, load
from bnnlab_runtime.stored import read_images


def main(words: Sequence[str] | None = None) -> int:
    """Predict the images of a file, and return the exit code: 0 done, 2 wrong use."""
    told = _parser().parse_args(words)
    try:
        model = load(told.model, told.backend, told.threads)
        images = read_images(told.images)
        found = (model.probabilities if told.probabilities else model.predict)(images, told.task)
    except (ValueError, OSError) as error:
        print(f"error: {error}".replace("\n", " "), file=sys.stderr)  # noqa: T201
        return 2
    try:
        _show(model, found.tolist(), as_json=told.json)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bnnlab-predict",
        description="Predict the class of each image in a file, one a line.",
        epilog="Exit codes: 0 done, 2 wrong use, or a file that is damaged.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="A file of `bnn export`.")
    parser.add_argument(
        "images",
        type=Path,
        metavar="FILE",
        help="Images as they are stored, (B, C, H, W) or (B, H, W): a .npy or .npz file, or an "
        "IDX file such as MNIST's; also with .gz at the end.",
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


def _show(model: Model, found: list[Any], *, as_json: bool) -> None:
    """Print a line for each image: a name, a number, or several with spaces between them."""
    named = model.classes is not None and bool(found) and isinstance(found[0], int)
    shown = [model.classes[each] for each in found] if named and model.classes else found
    if as_json:
        print(json.dumps(shown))  # noqa: T201
        return
    for each in shown:
        numbers = each if isinstance(each, list) else [each]
        text = " ".join(f"{one:.6g}" if isinstance(one, float) else str(one) for one in numbers)
        print(text.encode("unicode_escape").decode() if not text.isprintable() else text)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
