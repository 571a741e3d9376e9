"""What the cells were told: what differs, then what is common."""

from typing import Any

from bnnlab.settings.text import written
from bnnlab_report.blocks import Block, Cell, Folded, Note, Number, Section, Table
from bnnlab_report.material import Material
from bnnlab_studies.cells import brief, digits, settings_of

ABSENT = Number(None, "no such option")


def section(material: Material) -> Section:
    """Return the section on settings: those of the first run of each cell that has settings."""
    its = {
        cell: settings_of(run)
        for cell, runs in material.cells.items()
        if (run := next((run for run in runs if run.settings), None))
    }
    blocks: list[Block] = []
    if lacking := [cell for cell in material.cells if cell not in its]:
        blocks.append(
            Note(f"Not known, as only the results were kept: settings of {', '.join(lacking)}.")
        )
    names = dict.fromkeys(name for settings in its.values() for name in settings)
    differing = [name for name in names if len({_shown(each, name) for each in its.values()}) > 1]
    common = [name for name in names if name not in differing]
    if differing:
        blocks.append(_table(its, differing))
    elif len(its) > 1:
        blocks.append(Note("No setting differs."))
    if common:
        first = next(iter(its.values()))
        rows = [[name, _shown(first, name)] for name in common]
        table = Table("common-settings", "Common settings", ("setting", "value"), rows)
        which = "settings that all cells have alike" if len(its) > 1 else "settings"
        blocks.append(Folded(f"{len(common)} {which}", [table]))
    return Section("settings", "Settings", blocks)


def _table(its: dict[str, dict[str, Any]], names: list[str]) -> Table:
    """Return what differs, as a table that is rather tall than wide."""
    caption, name = "Settings that differ", "differing-settings"
    columns = [_column([settings.get(key, ABSENT) for settings in its.values()]) for key in names]
    if len(its) > len(names):
        cells = zip(its, *columns, strict=True)
        return Table(name, caption, ("cell", *names), [[*row] for row in cells])
    rows = [[key, *column] for key, column in zip(names, columns, strict=True)]
    return Table(name, caption, ("setting", *its), rows)


def _column(values: list[Any]) -> list[Cell]:
    """Return the values of one setting, with as few digits as tell them apart."""
    few = digits(values)
    return [it if it is ABSENT else written(brief(it, few)) for it in values]


def _shown(settings: dict[str, Any], name: str) -> Cell:
    return written(settings[name]) if name in settings else ABSENT
