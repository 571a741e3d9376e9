"""The kit's checks of a component that a test installs."""

from typing import Any

import pytest

from bnnlab.engine.making import BASES
from bnnlab.interfaces.objective import Objective
from bnnlab.registry.components import Kind
from bnnlab_testing import (
    LearningRuleContract,
    ModelContract,
    ObjectiveContract,
    OptimizerContract,
    ProbeContract,
    StreamContract,
    simulated_device,
)
from bnnlab_testing.component_contract import ComponentContract
from bnnlab_testing.device_checks import DeviceChecks
from bnnlab_testing.pytest_plugin import MakePlugin


class OfARule(LearningRuleContract):
    name = "thing"


class OfAnOptimizer(OptimizerContract):
    name = "thing"


class OfAModel(ModelContract):
    name = "thing"


class OfAStream(StreamContract):
    name = "thing"


class OfAProbe(ProbeContract):
    name = "thing"


class OfAnObjective(ObjectiveContract):
    """An objective is no component, and has no name."""


CONTRACTS: dict[Kind, type[ComponentContract]] = {
    Kind.RULE: OfARule,
    Kind.OPTIMIZER: OfAnOptimizer,
    Kind.MODEL: OfAModel,
    Kind.STREAM: OfAStream,
    Kind.PROBE: OfAProbe,
}
ON_DEVICES = {
    "test_another_process_gives_the_same",
    "test_tasks_are_the_same_in_every_process",
    *(check for check in vars(DeviceChecks) if check.startswith("test_")),
}
PROVIDES = {
    Kind.RULE: ["gradients", "reevaluable", "any-loss"],
    Kind.OPTIMIZER: [],
    Kind.MODEL: ["binary-weights", "segments"],
    Kind.STREAM: ["boundaries"],
    Kind.PROBE: [],
}


def name_of(made: type) -> str:
    """Return the name of a component in the plugin that offers all of them."""
    return f"{made.__module__}.{made.__name__}".lower()


def source_of(*declarations: str, top: str = "") -> str:
    """Return the source of a plugin's entry module."""
    return f"""
from typing import Literal
from bnnlab import Component, Kind, Option, hookimpl

{top}

@hookimpl
def bnnlab_components():
    return [{", ".join(declarations)}]
"""


def declaration_of(made: Any, name: str, **fields: Any) -> str:
    """Return how a component is declared.

    Args:
        made: The component. Its options, as they are written, are in its `declared` (None: in its
            signature), what it provides besides its kind's usual in its `provides`, and other
            fields in its `fields`.
        name: Its name.
        fields: Of the declaration, other than these. `options` is written out; None leaves the
            options to the signature.
    """
    kind = kind_of(made)
    options = fields.pop("options", getattr(made, "declared", ""))
    declared = "" if options is None else f"options=({options}), "
    told = {
        "kind": str(kind),
        "name": name,
        "target": f"{made.__module__}:{made.__name__}",
        "summary": "A thing.",
        "source": "Nobody, 2020",
        "provides": frozenset([*PROVIDES[kind], *getattr(made, "provides", [])]),
        **getattr(made, "fields", {}),
        **fields,
    }
    return f"Component({declared}**{told!r})"


def kind_of(made: type) -> Kind:
    """Return the kind of a component."""
    return next(kind for kind, base in BASES.items() if issubclass(made, base))


def failing(made: type, name: str, *checks: str, **attributes: Any) -> dict[str, str]:
    """Return which of these checks the component of this name fails, each with its message.

    Args:
        made: The component. What its test class says of it is in its `told`.
        name: Its name in a plugin that is installed.
        checks: Those to make.
        attributes: Others that the contract is told.
    """
    missing = simulated_device.unavailable()
    if missing and ON_DEVICES.intersection(checks):
        pytest.skip(missing)
    failed = {}
    for check in checks:
        contract = _contract_of(made)
        vars(contract).update({"name": name, **getattr(made, "told", {}), **attributes})
        try:
            getattr(contract, check)()
        except pytest.skip.Exception:
            continue
        except (Exception, pytest.fail.Exception) as error:
            failed[check] = str(error)
    return failed


def _contract_of(made: type) -> Any:
    if not issubclass(made, Objective):
        return CONTRACTS[kind_of(made)]()
    contract = OfAnObjective()
    contract.objective = made()  # type: ignore[misc]
    return contract


def failures(
    make_plugin: MakePlugin,
    made: type,
    *,
    only: str,
    top: str = "",
    attributes: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, str]:
    """Install a component alone, declared with other `fields`; make one check of it."""
    make_plugin("acme-kit", source_of(declaration_of(made, "thing", **fields), top=top))
    return failing(made, "thing", only, **attributes or {})
