"""The conformance kit: a plugin's tests inherit a contract, in three lines.

    from bnnlab_testing import LearningRuleContract

    class TestEqProp(LearningRuleContract):
        name = "eqprop"

Nothing here imports torch or pytest before a contract is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab_testing.command_contract import CommandContract as CommandContract
    from bnnlab_testing.engine_contract import EngineContract as EngineContract
    from bnnlab_testing.model_contract import ModelContract as ModelContract
    from bnnlab_testing.objective_contract import ObjectiveContract as ObjectiveContract
    from bnnlab_testing.optimizer_contract import OptimizerContract as OptimizerContract
    from bnnlab_testing.probe_contract import ProbeContract as ProbeContract
    from bnnlab_testing.rule_contract import LearningRuleContract as LearningRuleContract
    from bnnlab_testing.stream_contract import StreamContract as StreamContract
    from bnnlab_testing.tracker_contract import TrackerContract as TrackerContract

_HOMES = {
    "CommandContract": "command_contract",
    "EngineContract": "engine_contract",
    "LearningRuleContract": "rule_contract",
    "ModelContract": "model_contract",
    "ObjectiveContract": "objective_contract",
    "OptimizerContract": "optimizer_contract",
    "ProbeContract": "probe_contract",
    "StreamContract": "stream_contract",
    "TrackerContract": "tracker_contract",
}

__all__ = list(_HOMES)


if not TYPE_CHECKING:  # checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'bnnlab_testing' has no attribute {name!r}")
        return getattr(import_module(f"bnnlab_testing.{_HOMES[name]}"), name)
