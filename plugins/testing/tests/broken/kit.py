"""The kit's checks of a component that a test installs."""

from typing import Any

import pytest

from bnnlab.engine.building import BASES
from bnnlab.registry.components import Kind
from bnnlab_testing import (
    LearningRuleContract,
    ModelContract,
    OptimizerContract,
    ProbeContract,
    StreamContract,
)
from bnnlab_testing.component_contract import ComponentContract
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


CONTRACTS: dict[Kind, type[ComponentContract]] = {
    Kind.RULE: OfARule,
    Kind.OPTIMIZER: OfAnOptimizer,
    Kind.MODEL: OfAModel,
    Kind.STREAM: OfAStream,
    Kind.PROBE: OfAProbe,
}
PROVIDES = {
    Kind.RULE: ["gradients", "reevaluable"],
    Kind.OPTIMIZER: [],
    Kind.MODEL: ["binary-weights", "segments"],
    Kind.STREAM: ["boundaries"],
    Kind.PROBE: [],
}


def failures(
    make_plugin: MakePlugin,
    made: type,
    *,
    top: str = "",
    only: str = "",
    attributes: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, str]:
    """Return the checks (or the `only` one) that a component fails, each with its message.

    Args:
        make_plugin: The fixture.
        made: The component. Its options, as they are written, are in its `declared` (None: in its
            signature), what it provides besides its kind's usual in its `provides`, and other
            fields in its `fields`.
        top: What is at the top of the entry module.
        only: The check to make.
        attributes: Those that the contract is told.
        fields: Of the component's declaration, other than usual. `options` is written out; None
            leaves the options to the signature.
    """
    kind = next(kind for kind, base in BASES.items() if issubclass(made, base))
    options = fields.pop("options", getattr(made, "declared", ""))
    declared = "" if options is None else f"options=({options}), "
    told = {
        "kind": str(kind),
        "name": "thing",
        "target": f"{made.__module__}:{made.__name__}",
        "summary": "A thing.",
        "source": "Nobody, 2020",
        "provides": frozenset([*PROVIDES[kind], *getattr(made, "provides", [])]),
        **getattr(made, "fields", {}),
        **fields,
    }
    make_plugin(
        "acme-kit",
        f"""
from typing import Literal
from bnnlab import Component, Kind, Option, hookimpl

{top}

@hookimpl
def bnnlab_components():
    return [Component({declared}**{told!r})]
""",
    )
    failed = {}
    for check in [only] if only else dir(CONTRACTS[kind]):
        if not check.startswith("test_"):
            continue
        contract = CONTRACTS[kind]()
        vars(contract).update(attributes or {})
        try:
            getattr(contract, check)()
        except pytest.skip.Exception:
            continue
        except (Exception, pytest.fail.Exception) as error:
            failed[check] = str(error)
    return failed
