"""Figures on pages come from results that are kept: blocks of tables, and figures in prose."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts import script

from bnnlab import UsageError

blocks, summary = map(script, ("generated.blocks", "generated.summary"))
ROOT = Path(__file__).parents[1]
HOME = ROOT / "docs" / "results"
RESULTS = [ROOT / "README.md", *sorted(HOME.glob("*.md"))]
PAGES = [page for page in blocks.pages() if "<!-- generated:" in page.read_text("utf-8")]
MARKED = re.compile(r"^<!-- (generated|measured): ([^\n]+) -->$.*?^<!-- end -->$", re.M | re.S)
MEASURED = {
    "eqprop.md": ["python benchmarks/eqprop.py --profile"],
    "parity.md": ["python benchmarks/parity.py"] * 2,
}
"""Tables whose figures are of no study, by what measured them."""
ON_PICTURES = {"small.md": {"99.4", "85.3", "96.9"}}
"""Figures of prose that stand on pictures, and in no table."""
generate = blocks.generator()


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    """Return a page without its marked blocks, its code and the targets of its links."""
    text = re.sub(r"^```.*?^```$", "", MARKED.sub("", text), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", text)


def figures_outside(text: str) -> list[str]:
    """Return the cells with figures of tables outside of blocks."""
    rows = re.findall(r"^\|.*\|$", prose(text), re.M)
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")]
    number = r".*(?<![\w.])\d+\.\d+(?!\w).*|[-+]?\d[\d.,;()+% ]*"
    return [cell for cell in cells if re.fullmatch(number, cell)]


def percentages(text: str) -> Iterator[str]:
    """Yield the figures with a point that are in %, also `66.9, 66.3 and 64.2 %`."""
    lists = r"((?:\d+\.\d+(?:,|;|,? and|,? or| to) )*\d+\.\d+) ?%"
    for found in re.findall(lists, " ".join(prose(text).split())):
        yield from re.findall(r"\d+\.\d+", found)


def in_no_table(text: str) -> list[str]:
    """Return the percentages in prose that no number of the page's tables is, rounded."""
    tables = " ".join(found[0] for found in MARKED.finditer(text))
    numbers = {float(each) for each in re.findall(r"(?<![\w.])\d+(?:\.\d+)?", tables)}
    return [
        figure
        for figure in percentages(text)
        if not any(f"{each:.{len(figure.partition('.')[2])}f}" == figure for each in numbers)
    ]


# ------------------------------------------------------------------------- the committed pages


@pytest.mark.parametrize(
    "page", [it for it in blocks.pages() if "<!-- " in it.read_text()], ids=name
)
def test_each_block_of_a_page_is_what_is_generated(page: Path) -> None:
    """If this fails: python benchmarks/results.py --write."""
    assert blocks.rewritten(page, generate) == page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", RESULTS, ids=name)
def test_a_table_with_figures_is_in_a_block_that_says_where_they_are_from(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert figures_outside(text) == []
    measured = [what for kind, what in MARKED.findall(text) if kind == "measured"]
    assert measured == MEASURED.get(page.name, [])
    for script_of_it in re.findall(r"python (\S+)", " ".join(measured)):
        assert (ROOT / script_of_it).exists()


@pytest.mark.parametrize("page", RESULTS, ids=name)
def test_each_percentage_of_prose_is_in_a_table_of_its_page(page: Path) -> None:
    lost = in_no_table(page.read_text(encoding="utf-8"))
    assert {*lost} == ON_PICTURES.get(page.name, set())


def test_each_study_with_kept_results_is_on_a_page() -> None:
    text = "".join(page.read_text() for page in blocks.pages())
    shown = set(re.findall(r"^<!-- generated: results.py (\S+)", text, re.M))
    kept = {file for file in HOME.glob("*/*.toml") if any(file.with_suffix("").glob("*.json"))}
    kept |= {file for file in HOME.glob("*/study.toml") if any(file.parent.glob("*.json"))}
    names = {f"{it.parent.name}/{it.stem}".removesuffix("/study") for it in kept}
    assert len(names) > 10
    assert names - shown == set()


# ------------------------------------------------------------------------------ what is found


def test_a_block_is_written_anew_and_the_rest_is_left(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    block = "<!-- generated: {} -->\n\nold\n<!-- end -->\n"
    page.write_text("before\n" + block.format("a") + "between\n" + block.format("b 'c d'"))
    new = blocks.rewritten(page, lambda what: [f"of {what}", ""])
    made = "<!-- generated: {0} -->\n\nof {0}\n\n<!-- end -->\n"
    assert new == "before\n" + made.format("a") + "between\n" + made.format("b 'c d'")
    page.write_text(new)
    assert blocks.rewritten(page, lambda what: [f"of {what}", ""]) == new


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("rules.py", "nothing generates 'rules.py'"),
        ("results.py family average", r"no table is called 'average'. Did you mean 'averages'\?"),
        ("results.py vit averages clas", "no table is called 'clas'. Did you mean 'class'"),
    ],
)
def test_a_block_of_nothing_is_refused(what: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate(what)


def test_a_block_without_an_end_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    opened = "<!-- generated: a -->\n"
    page.write_text(f"{opened}{opened}<!-- end -->\n")
    with pytest.raises(UsageError, match=r"page.md: a generated block has no <!-- end -->"):
        blocks.rewritten(page, lambda _: [])


def test_a_group_of_a_table_and_a_table_of_a_study_are_shown_alone() -> None:
    whole, averages = generate("results.py vit"), generate("results.py vit averages")
    one = generate("results.py vit averages class")
    assert len(one) < len(averages) < len(whole)
    assert one == averages[-len(one) :]
    assert averages == whole[: len(averages)]


def test_the_summary_names_the_protocol_of_a_baseline_that_has_another() -> None:
    (row,) = [line for line in generate("results.py summary") if "er-ace" in line]
    assert "| 01779e37 | 87.6 (87.2 to 88.1) | `replay`: 84.7 (83.7 to 86.8); `bp`" in row
    assert "22.8 (21.9 to 23.5), protocol c2330afb;" in row


def test_the_summary_refuses_a_cell_that_a_study_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (
        '[[row]]\nstudy = "s"\ncell = "bimo"\nmethod = ""\ntask = ""\nbaseline = ""\ndetails = ""\n'
    )
    (tmp_path / "summary.toml").write_text(row)
    monkeypatch.setattr(summary, "HOME", tmp_path)
    with pytest.raises(UsageError, match=r"s has no result of 'bimo'. Did you mean 'bimu'\?"):
        [*summary.summary(lambda _: {"bimu": [{}]})]


def test_a_figure_outside_of_a_block_is_found() -> None:
    table = "| a | b |\n|---|---|\n| {} | 5 tasks |\n"
    for figure in ("96.6", "96.6 (95.1, 97.2)", "12", "50 %", "+3.1", "0.990 at most"):
        assert figures_outside(table.format(figure)) == [figure]
    for other in ("`bvit-0.5`", "[page](0.5.md)", "784-512-10", "version"):
        assert figures_outside(table.format(other)) == []
    inside = f"<!-- measured: x -->\n{table.format('96.6')}<!-- end -->\n"
    assert figures_outside(inside) == []
    assert in_no_table(inside + "It has 96.6 %, not 96.4, 96.5\nand 96.7 %.") == [
        *("96.4", "96.5", "96.7")
    ]
    assert in_no_table(inside + "It has 97 % and `0.5 %`.") == []
