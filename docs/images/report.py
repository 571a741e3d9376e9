"""Draw docs/images/report-*.png: parts of a report, at two widths and in both themes.

    bnn sweep docs/images/report.toml
    python docs/images/report.py runs/report

Needs Chromium; its driver is that of the tests of bnnlab-report.
"""

import io
import sys
import tempfile
from base64 import b64decode
from pathlib import Path

from PIL import Image

import bnnlab_report

HERE = Path(__file__).parent
sys.path.append(str(HERE.parents[1] / "plugins" / "report" / "tests"))
import chromium  # noqa: E402

PARTS = (  # name, width and height, theme, the part that it begins with
    ("wide-light", 1280, 1000, "light", "main"),
    ("wide-dark", 1280, 1180, "dark", "matrices"),
    ("narrow-light", 390, 844, "light", "main"),
    ("narrow-dark", 390, 844, "dark", "average"),
)

with tempfile.TemporaryDirectory() as folder:
    page_file = Path(folder) / "report.html"
    bnnlab_report.write(sys.argv[1:], page_file)
    with chromium.browser(Path(folder) / "profile") as page:
        for name, width, height, theme, section in PARTS:
            page.open(page_file, width=width, theme=theme)
            top = page.js(f"document.getElementById('{section}').getBoundingClientRect().top")
            top = 0 if section == "main" else top - 16
            clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
            found = page.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
            picture = Image.open(io.BytesIO(b64decode(found["data"]))).convert("RGB")
            few = picture.quantize(256, dither=Image.Dither.NONE)
            few.save(HERE / f"report-{name}.png", optimize=True)
