"""The conformance kit: a plugin's tests inherit a contract, in three lines.

    from bnnlab.testing import LearningRuleContract

    class TestEqProp(LearningRuleContract):
        name = "eqprop"

Nothing here imports torch or pytest before a contract is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab.testing.model_contract import ModelContract as ModelContract
    from bnnlab.testing.optimizer_contract import OptimizerContract as OptimizerContract
    from bnnlab.testing.rule_contract import LearningRuleContract as LearningRuleContract
    from bnnlab.testing.stream_contract import StreamContract as StreamContract

_HOMES = {
    "LearningRuleContract": "rule_contract",
    "ModelContract": "model_contract",
    "OptimizerContract": "optimizer_contract",
    "StreamContract": "stream_contract",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bnnlab.testing' has no attribute {name!r}")
    return getattr(import_module(f"bnnlab.testing.{_HOMES[name]}"), name)
