"""Figures that pages copy from the results are on the page of results that they link to.

The tables of that page are compared with the kept results in test_results.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHOOSING = ROOT / "docs" / "choosing.md"
READMES = sorted(ROOT.glob("plugins/*/README.md"))
LINK = r"\]\(([^)#]*(?:results/[\w-]+|benchmarks/README)\.md)"
FIGURE = r"(?<![\w.=/-])\d+\.\d+(?![\w.])|(?<![\w.=])\d+(?= ?%)"  # with a point, or in %


def sections(page: Path) -> list[str]:
    """Return the parts of a page that begin with a heading."""
    return re.split(r"^(?=#+ )", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


def linked(page: Path, text: str) -> list[Path]:
    """Return the pages of results that a text links to."""
    return [(page.parent / target).resolve() for target in re.findall(LINK, text)]


def figures(page: Path, section: str) -> Iterator[tuple[str, list[Path]]]:
    """Yield each figure, and the pages that its row or item links to, or else its section."""
    for block in re.split(r"\n\s*\n|\n(?=- |\|)", section):
        plain = re.sub(r"\([^)]*\)|`[^`]*`", " ", block)  # no target of a link, no setting
        for figure in re.findall(FIGURE, plain):
            yield figure, linked(page, block) or linked(page, section)


def lost(page: Path, section: str) -> list[str]:
    """Return the figures that no number on their pages is, rounded."""
    return [
        f"{page.relative_to(ROOT)}: {figure} is not in {', '.join(p.name for p in pages) or '?'}"
        for figure, pages in figures(page, section)
        if not any(_has(each, figure) for each in pages)
    ]


def _has(page: Path, figure: str) -> bool:
    """Return whether a page has a figure; values of single seeds, which follow a mean, are none."""
    text = re.sub(r"\((?:[\d.]+(?:, | to |\)))+", "", page.read_text(encoding="utf-8"))
    digits = len(figure.partition(".")[2])
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)", text)
    return any(f"{float(each):.{digits}f}" == figure for each in numbers)


def test_each_figure_of_the_guide_is_in_the_results() -> None:
    found = [each for section in sections(CHOOSING) for each in figures(CHOOSING, section)]
    assert len(found) > 50
    assert not [each for section in sections(CHOOSING) for each in lost(CHOOSING, section)]


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.parent.name)
def test_each_figure_of_when_to_use_it_is_in_the_results(page: Path) -> None:
    chosen = [each for each in sections(page) if each.startswith("### When to use it")]
    assert not [each for section in chosen for each in lost(page, section)]


def test_another_figure_is_found() -> None:
    row = "| perceptron, MNIST | {} | [rules](results/rules.md) |\n"
    assert not lost(CHOOSING, row.format("96.6"))
    assert lost(CHOOSING, row.format("96.9")) == ["docs/choosing.md: 96.9 is not in rules.md"]
    assert lost(CHOOSING, "It has 55 %.\n") == ["docs/choosing.md: 55 is not in ?"]
