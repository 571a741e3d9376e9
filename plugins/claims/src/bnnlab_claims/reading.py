"""The tables of claims.toml and measured.toml, read strictly."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from bnnlab.errors import UsageError
from bnnlab.registry.components import Option
from bnnlab.registry.options import check_values, shown
from bnnlab_claims.card import FULL, QUICK, Budget, BudgetName, Claim, Measured
from bnnlab_studies.sweep_file import seeds_of

Text = Annotated[str, "in a file"]
"""A text; messages on it have no advice for the command line."""
ENVIRONMENT = ("commit", "bnnlab", "torch", "python", "processor")
"""What measured.toml says of what computed the runs."""
PATH = re.compile(r"[\w-]+(\.([\w-]+|\*|(-?\d+)?:(-?\d+)?))*")
"""How a measure is written."""

_REQUIRED = ("of", "says", "source", "place", "measure", FULL)
_CLAIM = (
    Option("of", list[str], None, ""),
    *(Option(name, Text, None, "") for name in ("says", "source", "place", "recipe", "measure")),
    Option("published", float, None, "", minimum=0, maximum=100),
    Option("spread", float, None, "", minimum=0, maximum=100),
    Option("published_seeds", int, None, "", minimum=1),
    *(Option(name, Text, None, "") for name in ("other_data", "why")),
)
_HOURS = Option("hours", float, None, "", above=0)
_QUICK = (
    Option("expect", list[float], None, "", minimum=0, maximum=100),
    Option("short", bool, None, ""),
)
_MEASURED = (
    Option("values", list[float], None, "", maximum=100),
    Option("seeds", list[int], None, "", minimum=0),
    Option("protocol", Text, None, ""),
    Option("minutes", float, None, "", minimum=0),
    Option("date", Text, None, ""),
    *(Option(name, Text, None, "") for name in ENVIRONMENT),
)


def claim_of(name: str, table: Any) -> Claim:
    """Return a claim as claims.toml says it.

    Raises:
        UsageError: With all that is wrong with its entries, or what is missing.
    """
    key = name.partition("/")[2]
    if not re.fullmatch(r"[\w.-]+", key, re.ASCII):
        raise UsageError(f"{key!r} is no name: use letters, digits, '.', '_' and '-'.")
    said = _read(table, "", _CLAIM, _REQUIRED, others=(FULL, QUICK))
    if not said["of"]:
        raise UsageError('of: the list is empty. Name a method, as of = ["optimizer:bop"].')
    if not PATH.fullmatch(said["measure"]):
        raise UsageError(
            f"measure: {shown(said['measure'])} is no path in a result, such as average_accuracy "
            "or accuracy.-1.-5:"
        )
    budgets = {which: _budget_of(which, table[which]) for which in (FULL, QUICK) if which in table}
    return Claim(name, **{"recipe": name, **said, "of": tuple(said["of"])}, budgets=budgets)


def _budget_of(which: BudgetName, table: Any) -> Budget:
    options = (_HOURS,) if which == FULL else _QUICK
    said = _read(table, f"{which}.", options, ("seeds",), others=("settings",))
    settings = table.get("settings", {})
    if not isinstance(settings, Mapping):
        raise UsageError(f"{which}.settings: {shown(settings)} is not a table of settings.")
    if own := [name for name in ("seed", "name", "out") if name in settings]:
        raise UsageError(
            f"{which}.settings: {own[0]} is none of a claim: `seeds` says the seeds, and "
            "`bnn reproduce` the folder."
        )
    expect = said.pop("expect", None)
    if expect is not None and not (len(expect) == 2 and expect[0] < expect[1]):
        raise UsageError(f"{which}.expect: {shown(expect)}. Write [low, high], both in %.")
    seeds = seeds_of(table["seeds"], f"{which}.seeds")
    return Budget(seeds, settings, expect=expect and (expect[0], expect[1]), **said)


def measured_of(table: Any) -> dict[str, Measured]:
    """Return what measured.toml says of a claim.

    Raises:
        UsageError: With what is wrong.
    """
    _read(table, "", (), (), others=(FULL, QUICK))
    return {which: _measured(which, table[which]) for which in (FULL, QUICK) if which in table}


def _measured(which: BudgetName, table: Any) -> Measured:
    said = _read(table, f"{which}.", _MEASURED, ("values", "seeds", "protocol", "minutes"))
    values, seeds = said["values"], said["seeds"]
    if not 0 < len(values) == len(seeds) == len({*seeds}):
        raise UsageError(f"{which}: it must have one value per seed, and one or more.")
    environment = {name: said[name] for name in ENVIRONMENT if name in said}
    return Measured(
        tuple(values),
        tuple(seeds),
        said["protocol"],
        said["minutes"],
        environment,
        said.get("date", ""),
    )


def _read(
    table: Any,
    prefix: str,
    options: Sequence[Option],
    required: Sequence[str],
    others: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the entries that a table has, checked; `others` are checked elsewhere.

    Raises:
        UsageError: With all that is wrong, or missing.
    """
    if not isinstance(table, Mapping):
        what = prefix.removesuffix(".") or "it"
        raise UsageError(f"{what}: {shown(table)} is not a table.")
    there = [option for option in options if option.name in table]
    every = {*(option.name for option in options), *others, *required}
    more = every - {option.name for option in there}
    said, faults = check_values(there, table, prefix, what="entry", others=sorted(more))
    faults += [f"{prefix}{name}: the text is empty." for name, value in said.items() if value == ""]
    faults += [f"{prefix}{name} is missing." for name in required if name not in table]
    if faults:
        raise UsageError(" ".join(faults))
    return said
