"""The processor's time of a command, from a shell to the answer.

    python benchmarks/start.py [OTHER_CHECKOUT] [--rounds 15] [--only ROW] [--images N]

Each checkout runs with its own `.venv` (`make test` makes it). All take turns within every round.
Printed: the median of each in milliseconds (smallest to largest), user and system time together,
which other jobs change less than the time of a clock; and the median over rounds of its ratio to
the other checkout. Rows that import torch are to be compared with `import torch`. With `--images
60000` there is a row for a stream over so many JPEGs of 28x28 pixels, which were decoded before.
"""

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PLUGINS = 500
MODULE = """
from bnnlab import Component, Kind, hookimpl

@hookimpl
def bnnlab_components():
    about = dict(summary="A rule.", source="a paper", provides=frozenset({{"gradients"}}))
    return [Component(kind=Kind.RULE, name="{0}", target="bnnlab_{0}.rule:Rule", **about)]
"""
IMAGES = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image

folder, count = Path(sys.argv[1]), int(sys.argv[2])
draws = np.random.default_rng(0)
for number in range(count):
    part = "train" if number % 10 else "test"
    file = folder / part / str(number // 10 % 10) / f"{number}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draws.integers(0, 256, (28, 28), dtype=np.uint8)).save(file)
"""
MNIST = """
import sys
from pathlib import Path
import numpy as np
from bnnlab_vision.contracts import idx

raw = Path(sys.argv[1], "MNIST", "raw")
raw.mkdir(parents=True)
for part in ("train", "t10k"):
    images = np.random.default_rng(len(part)).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
    (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(10)))
"""
STREAM = """
import sys, bnnlab
bnnlab.create("stream", "image-folder", folder=sys.argv[1], image_size=28, grey=True)[0]
"""
METADATA = """Metadata-Version: 2.4
Name: bnnlab-{0}
Version: 0.1.0
Requires-Python: >=3.11
Requires-Dist: bnnlab<0.4,>=0.1
Requires-Dist: torch>=2.6
"""


@dataclass(frozen=True)
class Row:
    """A command.

    Attributes:
        words: Its program in the environment, and arguments.
        variables: Environment variables beside those of this process.
    """

    words: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)

    def milliseconds(self, checkout: Path) -> float:
        """Return the processor's time with the code and the environment of a checkout."""
        program, *arguments = self.words
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [checkout / ".venv" / "bin" / program, *arguments],
                check=True,
                cwd=folder,
                env={**kept, **self.variables},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def write_plugins(folder: Path) -> None:
    """Write `PLUGINS` installed distributions with a rule each."""
    for name in (f"acme{number}" for number in range(PLUGINS)):
        package, about = folder / f"bnnlab_{name}", folder / f"bnnlab_{name}-0.1.0.dist-info"
        for each in (package, about):
            each.mkdir()
        (package / "__init__.py").touch()
        (package / "plugin.py").write_text(MODULE.format(name))
        (about / "METADATA").write_text(METADATA.format(name))
        (about / "entry_points.txt").write_text(f"[bnnlab.v1]\n{name} = bnnlab_{name}.plugin\n")


def rows(folder: Path, python: Path, images: int) -> dict[str, Row]:
    """Return what is measured, by its name; write what it needs into a folder."""
    plugins, many = folder / "plugins", folder / "images"
    plugins.mkdir()
    write_plugins(plugins)
    stream = {}
    if images:
        subprocess.run([python, "-c", IMAGES, many, str(images)], check=True)
        kept = {"XDG_CACHE_HOME": str(folder / "cache")}
        stream[f"{images:,} JPEGs, again"] = Row(["python", "-c", STREAM, str(many)], kept)
    subprocess.run([python, "-c", MNIST, folder / "data"], check=True)
    light = ("--help", "list-plugins", "info rule dfa", "check", "matrix")
    some = "run --quiet --steps 1 --set stream.tasks=1"
    mnist = f"{some} --stream permuted-mnist --data {folder / 'data'}"
    return {
        **{f"bnn {words}": Row(["bnn", *words.split()]) for words in light},
        f"list-plugins of {PLUGINS}": Row(["bnn", "list-plugins"], {"PYTHONPATH": str(plugins)}),
        "import torch": Row(["python", "-c", "import torch"]),
        "bnn info model mlp": Row(["bnn", "info", "model", "mlp"]),
        "bnn run, one step": Row(["bnn", *some.split()]),
        "bnn run, one step of MNIST": Row(["bnn", *mnist.split()]),
        **stream,
    }


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="rows with this in their names")
    parser.add_argument("--images", type=int, default=0)
    given = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = {"here": here, **({"other": given.other.resolve()} if given.other else {})}
    with tempfile.TemporaryDirectory() as folder:
        every = rows(Path(folder), here / ".venv" / "bin" / "python", given.images)
        chosen = {name: row for name, row in every.items() if given.only in name}
        times = {name: {who: list[float]() for who in checkouts} for name in chosen}
        for round_ in range(given.rounds + 1):
            for name, row in chosen.items():
                for who, checkout in checkouts.items():
                    taken = row.milliseconds(checkout)
                    if round_:  # the first call fills caches
                        times[name][who].append(taken)
    for name, each in times.items():
        said = [
            f"{who} {statistics.median(its):4.0f} ms ({min(its):.0f} to {max(its):.0f})"
            for who, its in each.items()
        ]
        if given.other:
            pairs = zip(each["here"], each["other"], strict=True)
            said.append(f"here / other {statistics.median(a / b for a, b in pairs):.2f}")
        print(f"{name:26}  {'   '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
