"""The page: sections become one HTML file, which loads nothing and runs its own script alone."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bnnlab.errors import RunError, first_line, printable
from bnnlab.storage.files import expect_place, write_atomically
from bnnlab_report.blocks import Section
from bnnlab_report.contents import (
    balance,
    cells,
    comparison,
    cost,
    curves,
    finding,
    matrices,
    origin,
    protocols,
    runs,
    settings,
    uncertainty,
    weights,
)
from bnnlab_report.drawing.looks import shortened
from bnnlab_report.material import Material
from bnnlab_studies.study import MEASURE

SECTIONS: tuple[Callable[[Material], Section], ...] = (
    settings.section,
    protocols.section,
    cells.section,
    comparison.section,
    matrices.section,
    curves.section,
    balance.section,
    cost.section,
    uncertainty.section,
    weights.section,
    origin.section,
    runs.section,
)
"""In the order of the page. The last one says what the others found damaged."""
GENERATOR = b'<meta name="generator" content="bnnlab-report'
"""What tells a report from other files."""


def render(places: Sequence[Path | str], measure: str = MEASURE) -> str:
    """Return the report of the runs in some places as an HTML document.

    Args:
        places: Runs, folders of runs that differ in the seed, or studies.
        measure: What the cells are judged by.

    Raises:
        UsageError: If a place holds no run, a run is there twice, two runs of a cell have the same
            seed, or no run has the measure.
    """
    material = Material.read([Path(place) for place in places], measure)
    compared = finding.compared(material)
    style, script = (_shipped(name) for name in ("style.css", "script.js"))
    page: str = (
        _environment()
        .get_template("report.html")
        .render(
            version=version("bnnlab-report"),
            policy=_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            places=[*map(str, places)],
            title=f"bnnlab report: {shortened(printable(compared), 50)}",
            compared=compared,
            extent=finding.extent(material),
            found=finding.found(material),
            cautions=finding.cautions(material),
            sections=[section(material) for section in SECTIONS],
        )
    )
    return page


def write(places: Sequence[Path | str], out: Path | str, measure: str = MEASURE) -> None:
    """Write the report of the runs in some places to a file; an earlier report is replaced.

    Raises:
        UsageError: As in `render`; if the file is no report, or its folder does not exist.
        RunError: If the file cannot be written.
    """
    out = Path(out)
    expect_place(out, "report.html", _is_ours, "report")
    content = render(places, measure).encode()
    try:
        write_atomically(out, content)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or first_line(error)}") from error


def _is_ours(file: Path) -> bool:
    """Return whether a file is a report; an empty file may be replaced, too."""
    with file.open("rb") as opened:
        head = opened.read(1000)
    return not head or GENERATOR in head


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("bnnlab_report"),
        autoescape=True,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _printable(value: Any) -> Any:
    """Return what is written for a value: text without control characters and marks of direction.

    Code is left as it is, and a whole number loses its `.0`.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value)


def _shipped(name: str) -> str:
    file = files("bnnlab_report").joinpath("templates", name)
    return file.read_text(encoding="utf-8").strip()  # validators hash it without its last line end


def _policy(style: str, script: str) -> str:
    """Return the policy that lets a browser take this style and script alone, and load nothing."""
    hashes = (b64encode(sha256(text.encode()).digest()).decode() for text in (style, script))
    its_style, its_script = (f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; style-src {its_style}; script-src {its_script}; base-uri 'none'; "
        "form-action 'none'"
    )
