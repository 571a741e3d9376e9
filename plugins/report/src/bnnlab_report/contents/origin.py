"""Where the figures come from: machines, versions, and commands that make them anew."""

import shlex
from collections import Counter
from pathlib import Path

import tomli_w

from bnnlab.registry.components import Kind
from bnnlab.settings.run import ANALYSIS, ELSEWHERE, MEASURING, STUDIES
from bnnlab_report.blocks import Block, Cell, Code, Folded, Note, Section, Table, count
from bnnlab_report.material import Material
from bnnlab_studies.inspection import environment
from bnnlab_studies.record import Record, leaves

MACHINE = ("python", "torch", "bnnlab", "platform", "processor", "threads", "cuda", "gpu")
"""Of environment.json, what tells machines apart."""
OURS = "bnnlab-"
"""What the names of our plugins begin with."""


def section(material: Material) -> Section:
    """Return the section on environment and commands."""
    blocks: list[Block] = []
    machines = Counter(filter(None, map(_machine, material.study)))
    rows: list[list[Cell]] = [[count(runs), *its] for its, runs in machines.items()]
    if len(rows) > 1:
        several = "The runs were computed in environments that differ."
        blocks.append(Note(several, is_warning=True))
    if rows:
        blocks.append(Table("machines", "Environments of the runs", ("runs", *MACHINE), rows))
    if lost := len(material.study) - machines.total():
        blocks.append(Note(f"Environments of {lost} runs are not known: no environment.json."))
    blocks.append(_versions(material))
    blocks += _commands(material)
    return Section("origin", "Environment and commands", blocks)


def _machine(run: Record) -> tuple[str, ...]:
    """Return what is known of where a run was computed; nothing without its environment.json."""
    its = environment(run.folder) if run.folder else {}
    return tuple(str(its.get(name) or "none") for name in MACHINE) if its else ()


def _versions(material: Material) -> Table:
    rows = dict.fromkeys(
        (kind, part.get("name", "?"), part.get("distribution", "?"), part.get("version", "?"))
        for run in material.study
        for kind, part in run.result.get("components", {}).items()
    )
    heads = ("kind", "component", "distribution", "version")
    return Table("versions", "Components and their versions", heads, [[*row] for row in rows])


def _commands(material: Material) -> list[Block]:
    """Return how to repeat each cell, with the settings that it takes."""
    blocks: list[Block] = []
    for cell, runs in material.cells.items():
        run = next((run for run in runs if run.settings), None)
        if run is None:
            continue
        seeds = [*dict.fromkeys(str(each.get("seed")) for each in runs if each.settings)]
        option = "--seed" if len(seeds) == 1 else "--seeds"  # which reads one number as an amount
        again = f"bnn run --config cell.toml {option} {','.join(seeds)}"
        its = {key: it for key, it in run.settings.items() if key not in ("seed", *ELSEWHERE)}
        blocks.append(
            Folded(
                f"{cell}: how to make it anew",
                [
                    Note("Save the settings as cell.toml. Then:"),
                    Code(again),
                    Note("cell.toml:"),
                    Code(tomli_w.dumps(its)),
                    *_began(run),
                ],
            )
        )
    if blocks:
        needed = _needed(material)
        plugins = [each.removeprefix(OURS) for each in needed if each.startswith(OURS)]
        others = ", ".join(each for each in needed if not each.startswith(OURS))
        install = Code(shlex.join(["bnn", "install", *plugins]))
        blocks = [Note(f"To make the runs anew, install {others}. Then:"), install, *blocks]
    return blocks


def _needed(material: Material) -> list[str]:
    """Return the distributions that the runs were made with."""
    found = {"bnnlab", STUDIES}
    for run in material.study:
        found |= {part.get("distribution") for part in run.result.get("components", {}).values()}
        found |= {name.partition("/")[0] for name in run.settings.get(str(Kind.PROBE), {})}
        told = (name for key, name in leaves(run.settings) if key.endswith(".name"))
        found |= {name.rpartition("/")[0] for name in told}  # what components are made of, too
        if run.get("flips") or any(run.settings.get(name) for name in MEASURING):
            found.add(ANALYSIS)
    return sorted(filter(None, found))


def _began(run: Record) -> list[Block]:
    its = environment(run.folder) if run.folder else {}
    words, sources = its.get("command"), its.get("settings")
    if not isinstance(words, list) or not words:
        return []
    first, *rest = map(str, words)
    said = shlex.join([Path(first).name, *rest])
    came = ", then ".join(map(str, sources)) if isinstance(sources, list) else ""
    return [
        Note("The command that this cell's first run was begun with:"),
        Code(said),
        *([Note(f"Its settings came from {came}.")] if came else []),
    ]
