"""The results of claims that are kept, and what they say in each plugin's measured.toml.

They are kept as a study is: docs/results/claims/PLUGIN-KEY-BUDGET/cell/seed-0 is as a run's folder.
"""

from collections.abc import Iterator
from pathlib import Path

import tomli_w

from bnnlab import PluginHost, UsageError
from bnnlab.settings.run import ELSEWHERE
from bnnlab.storage.files import to_json, write_atomically
from bnnlab.storage.folder import CONFIG, ENVIRONMENT, RESULT
from bnnlab_claims.card import BudgetName, Card, Measured
from bnnlab_claims.finding import MEASURED, find_cards
from bnnlab_claims.measuring import as_text, measured
from bnnlab_claims.reading import ENVIRONMENT as KEPT
from bnnlab_claims.study import plan_of
from bnnlab_studies.cells import departures
from bnnlab_studies.inspection import environment
from bnnlab_studies.plan import Plan
from bnnlab_studies.record import Record
from bnnlab_studies.study import Study
from generated.studies import HOME


def cards_of(host: PluginHost) -> list[Card]:
    """Return all cards.

    Raises:
        UsageError: If one has a fault.
    """
    cards = find_cards(host)
    for card in cards:
        if card.fault:
            raise UsageError(f"claim {card.claim.name!r} is broken: {card.fault}")
    return cards


def budgets(host: PluginHost) -> Iterator[tuple[Card, BudgetName, Plan]]:
    """Yield each budget of each card, with the plan in whose folder its results are kept."""
    for card in cards_of(host):
        for budget in card.claim.budgets:
            yield card, budget, plan_of(host, card.claim, budget, HOME)


def keep(host: PluginHost, made: Path) -> list[Path]:
    """Copy the complete runs of a folder that `bnn reproduce` filled; return where they are now.

    Raises:
        UsageError: If a run has other settings than its card.
    """
    copied = []
    for _, _, plan in budgets(host):
        (cell,) = plan.cells
        for folder in sorted((made / plan.folder.name / cell.folder).glob("seed-*")):
            run = Record.read(folder)
            if run.is_complete:
                expect_own(run, plan)
                copied.append(plan.place(cell, run["seed"]))
                _copy(run, folder, copied[-1])
    return copied


def _copy(run: Record, folder: Path, target: Path) -> None:
    """Copy what is said of a run, without places on the machine; its result comes last."""
    settings = {key: it for key, it in run.settings.items() if key not in ELSEWHERE}
    told = {key: it for key, it in environment(folder).items() if key in (*KEPT, "started")}
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / CONFIG, tomli_w.dumps(settings).encode())
    write_atomically(target / ENVIRONMENT, to_json(told).encode())
    write_atomically(target / RESULT, (folder / RESULT).read_bytes())


def expect_own(run: Record, plan: Plan) -> None:
    """Refuse a run with other settings than its card.

    Raises:
        UsageError: With what differs.
    """
    (cell,) = plan.cells
    if differing := departures(run.settings, {**cell.settings, "seed": run["seed"]}):
        raise UsageError(f"{run.folder} has other settings than its card: {'; '.join(differing)}")


def measured_files(host: PluginHost) -> dict[Path, str]:
    """Return what each plugin's measured.toml should hold, by what is kept; empty for no file.

    Raises:
        UsageError: If a kept result is of no card, or of one with other settings or protocols.
    """
    found: dict[str, dict[str, dict[str, Measured]]] = {}
    known = set()
    for card, budget, plan in budgets(host):
        plugin, _, key = card.claim.name.partition("/")
        own = found.setdefault(plugin, {})
        known.add(plan.folder)
        if plan.folder.exists():
            study = Study.read(plan.folder)
            for run in study:
                expect_own(run, plan)
            own.setdefault(key, {})[budget] = measured(study, card.claim, budget)
    if foreign := {*(HOME / "claims").glob("*")} - known:
        raise UsageError(f"{min(foreign)} is of no card: delete it, or write the card")
    folders = {
        plugin.name: Path(str(plugin.data)) for plugin in host.plugins if plugin.name in found
    }
    return {folders[name] / MEASURED: as_text(its) if its else "" for name, its in found.items()}
