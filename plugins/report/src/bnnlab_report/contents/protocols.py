"""Which protocols the runs have, and where these differ."""

from bnnlab.settings.text import written
from bnnlab_report.blocks import Block, Folded, Note, Section, Table
from bnnlab_report.material import Material
from bnnlab_studies.comparing import differences_said, protocols, versions
from bnnlab_studies.record import Record, leaves

DIFFER = (
    "Warning: the protocols differ. These runs did not learn the same, or were not scored alike. "
    "Only cells with the protocol of the first one are compared with it."
)


def section(material: Material) -> Section:
    """Return the section on protocols."""
    found = protocols(material.study)
    blocks: list[Block] = []
    if len(found) > 1:
        blocks.append(Note(DIFFER, is_warning=True))
    if told := versions(material.study):
        blocks.append(Note(told, is_warning=True))
    rows = [
        [protocol, run.get("evaluate_on", "test"), ", ".join(_cells(material, protocol))]
        for protocol, run in found.items()
    ]
    if not rows:
        return Section(
            "protocols", "Protocols", [Note("No run is complete: there is no hash yet.")]
        )
    if len(rows) == 1:
        ((protocol, part, _),) = rows
        text = f"All complete runs learned the same and were scored alike, on the {part} part"
        blocks.append(Note(f"{text}: their protocol's hash is {protocol}."))
    else:
        heads = ("protocol", "part scored", "cells")
        blocks.append(Table("protocols", "Protocol hashes", heads, rows))
    first, *others = found.items()
    blocks += [_differing(place, first, other) for place, other in enumerate(others, start=2)]
    entries = [
        [name, written(value)]
        for name, value in leaves(first[1].result["protocol_description"], lists=True)
    ]
    table = Table("protocol", f"What {first[0]} covers", ("entry", "value"), entries)
    blocks.append(Folded(f"What the protocol {first[0]} covers", [table]))
    return Section("protocols", "Protocols", blocks)


def _differing(place: int, first: tuple[str, Record], other: tuple[str, Record]) -> Table:
    rows = [[each] for each in differences_said(first[1], other[1])]
    caption = f"Where {other[0]} differs from {first[0]}"
    return Table(f"protocols-1-and-{place}", caption, (f"{first[0]} against {other[0]}",), rows)


def _cells(material: Material, protocol: str) -> list[str]:
    return [
        cell
        for cell, runs in material.cells.items()
        if any(run.is_complete and run["protocol"] == protocol for run in runs)
    ]
