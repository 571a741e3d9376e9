"""The study that measures a claim: one cell, with the settings and the seeds of a budget."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnlab.errors import UsageError
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import Layer, layers_of_recipe, resolve
from bnnlab.settings.run import RunConfig
from bnnlab.settings.terms import later
from bnnlab_claims.card import Budget, BudgetName, Claim
from bnnlab_studies.cells import departures
from bnnlab_studies.membership import PLAN
from bnnlab_studies.plan import Cell, Plan, choose_engine, make_plan

FOLDER = "claims"
"""Where studies of claims are, in the folder of runs."""


def budget_of(claim: Claim, budget: BudgetName) -> Budget:
    """Return one of the budgets of a claim.

    Raises:
        UsageError: If it does not have this one.
    """
    if budget not in claim.budgets:
        has = ", ".join(claim.budgets)
        raise UsageError(f"claim {claim.name!r} has no budget '{budget}'. It has: {has}.")
    return claim.budgets[budget]


def config_of(host: PluginHost, claim: Claim, budget: BudgetName) -> RunConfig:
    """Return the settings of a budget, resolved and checked.

    Raises:
        UsageError: With all that is wrong with them; a `NotInstalledError` if plugins are lacking.
    """
    said = budget_of(claim, budget)
    own = Layer(said.settings, f"the {budget} budget of claim {claim.name}")
    config = resolve(host, [*layers_of_recipe(host, claim.recipe, said.short), own])
    require(host, config)
    return config


def plan_of(
    host: PluginHost,
    claim: Claim,
    budget: BudgetName,
    out: Path | None = None,
    seeds: Sequence[int] = (),
    engine: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan of a study in `out`/claims/PLUGIN-KEY-BUDGET; nothing is written.

    If the folder has the study already, its seeds stay: others join them.

    Args:
        host: The plugins.
        claim: What is measured.
        budget: How.
        out: The folder of runs; None: what the settings say.
        seeds: In place of those of the budget.
        engine: Name and options of what carries the runs out; None: those of a study that is
            there, else the default.

    Raises:
        UsageError: If the settings are wrong, or the folder holds runs with others.
    """
    config = config_of(host, claim, budget)
    cell = Cell(claim.name, config.as_dict(), later=tuple(later(config)))
    if out is None and config.out is None:
        raise UsageError("out: a study needs a folder; name one.")
    home = Path(out or str(config.out)).expanduser() / FOLDER
    folder = home / f"{claim.name.replace('/', '-')}-{budget}"
    every = tuple(seeds or budget_of(claim, budget).seeds)
    plan = Plan(folder, (cell,), every, choose_engine(host, Layer({}), engine or {}))
    if not (folder / PLAN).exists():
        return plan
    before = make_plan(host, folder)
    return _grown(plan if engine else replace(plan, engine=before.engine), before)


def _grown(plan: Plan, before: Plan) -> Plan:
    """Return a plan with the seeds of the study that is in its folder before its own."""
    if {cell.digest for cell in before.cells} != {cell.digest for cell in plan.cells}:
        differences = departures(before.cells[0].settings, plan.cells[0].settings)
        what = f" ({'; '.join(differences)})" if differences else ""
        raise UsageError(
            f"{plan.folder} holds runs with other settings than the claim has now{what}. Move it "
            "away, or choose another --out."
        )
    return replace(plan, seeds=tuple(dict.fromkeys((*before.seeds, *plan.seeds))))
