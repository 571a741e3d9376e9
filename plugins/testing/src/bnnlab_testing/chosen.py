"""What the kit chose to test a component with."""

from typing import Any

from bnnlab.registry.components import Kind
from bnnlab_testing.optimizer_checks import TOY_RULE, OptimizerChecks
from bnnlab_testing.partners import partner
from bnnlab_testing.toy_checks import ToyChecks


def chosen(contract: Any) -> str:
    """Return the network, the rule and the parts, such as `toy conv, rule bp, base sgd`.

    Args:
        contract: An instance of a test class; for one that chooses nothing, the text is empty.
    """
    if not isinstance(contract, ToyChecks):
        return ""
    if type(contract).make_model is ToyChecks.make_model:
        suiting = contract.suiting
        found = [f"{'model' if suiting.choice else 'toy'} {suiting.name}"]
    else:
        found = ["the model of its test class"]
    if isinstance(contract, OptimizerChecks):
        rule = partner(contract.host, contract.choice, Kind.RULE, TOY_RULE)
        found.append(f"rule {rule.name if rule else 'toy.ToyRule'}")
    found += [f"{option} {part.name}" for option, part in contract.choice.parts.items()]
    return ", ".join(found)
