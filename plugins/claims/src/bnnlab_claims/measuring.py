"""What the runs of a study say of a claim."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.storage.files import write_atomically
from bnnlab_claims.card import BudgetName, Claim, Measured
from bnnlab_claims.reading import ENVIRONMENT
from bnnlab_studies.cells import by_seed, few
from bnnlab_studies.inspection import environment
from bnnlab_studies.study import Study

CARD = "card.toml"
"""In the folder of a study: what measured.toml has of it."""
HEAD = "# Written by machine, from complete runs.\n"
"""The first line of a file with what was measured."""


def measured(study: Study, claim: Claim, budget: BudgetName) -> Measured:
    """Return what the complete runs of a study measured of a claim, in the order of the seeds.

    Args:
        study: The runs: as `Study.read(folder)` returns them, or of kept results.
        claim: What is measured.
        budget: How they were made.

    Raises:
        UsageError: If no run is complete, one lacks the measure, or they have several protocols.
    """
    what = f"{claim.name}, {budget}"
    runs = [run for run in study if run.is_complete]
    if not runs:
        raise UsageError(f"{what}: no run is complete")
    if others := [run for run in runs if run["protocol"] != runs[0]["protocol"]]:
        which = few([f"{run.name} has {run['protocol']}" for run in others])
        raise UsageError(
            f"{what}: {runs[0].name} has the protocol {runs[0]['protocol']}, and {which}. A card "
            "has one protocol: take the others away."
        )
    values, missing = by_seed(runs, claim.measure)
    if missing:
        raise UsageError(f"{what}: {few(missing)}")
    seeds = sorted(values)
    told = [environment(run.folder) for run in runs if run.folder]
    return Measured(
        values=tuple(round(100 * values[seed], 4) for seed in seeds),
        seeds=tuple(seeds),
        protocol=runs[0]["protocol"],
        minutes=round(fmean(run["seconds"] for run in runs) / 60, 2),
        environment=_environment(told),
        date=max((str(its.get("started", ""))[:10] for its in told), default=""),
    )


def _environment(told: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what computed the runs; several commits or versions in the order of the runs."""
    found = {}
    for name in ENVIRONMENT:
        if its := dict.fromkeys(str(each[name]) for each in told if each.get(name)):
            found[name] = ", ".join(its)
    return found


def as_text(found: Mapping[str, Mapping[str, Measured]]) -> str:
    """Return the text of measured.toml, or of a card.toml.

    Args:
        found: What was measured with each budget, by the keys of the claims.
    """
    lines = [HEAD]
    for key, its in sorted(found.items()):
        for budget in sorted(its):
            lines.append(f"\n[{json.dumps(key) if '.' in key else key}.{budget}]\n")
            lines += [f"{name} = {json.dumps(it)}\n" for name, it in its[budget].as_toml().items()]
    return "".join(lines)


def write_card(folder: Path, claim: Claim, budget: BudgetName, found: Measured) -> Path:
    """Write card.toml into the folder of a study; return its path.

    Raises:
        OSError: If it cannot be written.
    """
    text = as_text({claim.name.partition("/")[2]: {budget: found}})
    write_atomically(folder / CARD, text.encode())
    return folder / CARD
