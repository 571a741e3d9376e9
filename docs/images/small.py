"""Draw the pictures of docs/results/small.md, from the runs of its study.

    bnn sweep docs/results/small/study.toml
    python docs/images/small.py runs/small

They are those of `bnn plot regions` and `bnn plot band`, in 256 colours: a third of the bytes.
"""

import io
import sys
from pathlib import Path

from PIL import Image

from bnnlab_plots import plot_band, plot_regions

SHOWN = {
    "two-moons": (0, 1, 2),
    "two-moons-published-15": (0,),
    "curve": (0, 1, 2),
    "curve-gap": (0,),
}
"""The seeds that are drawn, per cell of the study."""

for cell, seeds in SHOWN.items():
    plot = plot_regions if cell.startswith("two-moons") else plot_band
    for seed in seeds:
        drawn = io.BytesIO()
        plot(Path(sys.argv[1], cell, f"seed-{seed}")).savefig(drawn, format="png", dpi=150)
        picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(Path(__file__).with_name(f"small-{cell}-{seed}.png"), optimize=True)
