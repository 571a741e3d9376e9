"""What components are checked with: ready toys, and what they require."""

import pytest
from broken import models, optimizers, parts, suiting
from broken.kit import (
    CONTRACTS,
    ON_DEVICES,
    PROVIDES,
    OfARule,
    declaration_of,
    failing,
    kind_of,
    source_of,
)
from torch import nn

from bnnlab.interfaces.model import Model
from bnnlab.nn.layers import BinaryLinear, Sign
from bnnlab.registry.components import Kind
from bnnlab.seeds import generator
from bnnlab_testing import toy
from bnnlab_testing.declaration_checks import DeclarationChecks
from bnnlab_testing.pytest_plugin import MakePlugin

SCORED = "x-acme-kit:scored"


def checks_of(made: type) -> list[str]:
    """Return all checks of a component but those of its declaration and on other devices."""
    names = {name for name in dir(CONTRACTS[kind_of(made)]) if name.startswith("test_")}
    return sorted(names - ON_DEVICES - vars(DeclarationChecks).keys())


@pytest.mark.rounding
@pytest.mark.parametrize("name", ["conv", "mlp", "real", "tokens", "regression"])
def test_a_toy_is_learned(name: str) -> None:
    its: toy.Toy = getattr(toy, name)
    model, task = its.make_model(), its.make_task()
    losses = toy.train(model, toy.ToyRule(), toy.make_optimizer(model), task, steps=100)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.slow
def test_a_rule_for_linear_layers_is_checked_on_these(make_plugin: MakePlugin) -> None:
    made = suiting.ForLinearLayers
    make_plugin("acme-kit", source_of(declaration_of(made, "thing")))
    assert not failing(made, "thing", *checks_of(made))
    contract = OfARule()
    with pytest.raises(pytest.skip.Exception, match=r"on mlp \(conv: it needs linear layers"):
        contract.test_a_toy_suits_it()
    contract.toy = "mlp"  # type: ignore[misc]
    contract.test_a_toy_suits_it()
    contract.toy = "mpl"  # type: ignore[misc]
    with pytest.raises(AssertionError, match="toy = 'mpl' is not known: do you mean 'mlp'"):
        contract.make_model()


def test_an_optimizer_of_real_weights_is_checked_on_these(make_plugin: MakePlugin) -> None:
    made = optimizers.Fine
    requires = frozenset({"gradients", "real-weights"})
    make_plugin("acme-kit", source_of(declaration_of(made, "thing", requires=requires)))
    contract = CONTRACTS[Kind.OPTIMIZER]()
    assert not contract.make_model().binary_parameters()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_an_optimizer_gets_a_rule_that_provides_what_it_requires(make_plugin: MakePlugin) -> None:
    made = parts.AsksForItsRule
    latent, requires = frozenset({"latent-weights"}), frozenset({"gradients", SCORED})
    asks = declaration_of(made, "thing", provides=latent, requires=requires)
    provides = frozenset({*PROVIDES[Kind.RULE], SCORED})
    scored = declaration_of(parts.Scored, "scored", provides=provides)
    make_plugin("acme-kit", source_of(asks, scored))
    assert not failing(made, "thing", *checks_of(made))


def test_a_rule_that_is_not_installed_is_missed_by_what_it_provides(
    make_plugin: MakePlugin,
) -> None:
    made, check = optimizers.Fine, "test_real_parameters_are_trained_and_stay_real"
    make_plugin("acme-kit", source_of(declaration_of(made, "thing", requires=frozenset({SCORED}))))
    said = failing(made, "thing", check)[check]
    assert f"no installed rule provides {SCORED!r}, which optimizer:thing requires" in said


def with_heads() -> Model:
    """Return a model with an output layer for each of two tasks."""
    draws = generator(0, "heads")
    first = BinaryLinear(36, 16, True, generator=draws)
    heads = [BinaryLinear(16, toy.CLASSES, True, generator=draws) for _ in range(2)]
    return Model([nn.Sequential(nn.Flatten(), first, Sign()), models.Heads([*heads])], (1, 6, 6))


@pytest.mark.slow
def test_an_optimizer_is_checked_on_a_head_per_task(make_plugin: MakePlugin) -> None:
    made = optimizers.Fine
    declared = declaration_of(made, "thing", provides=frozenset({"latent-weights"}), state_bytes=4)
    make_plugin("acme-kit", source_of(declared))
    assert not failing(made, "thing", *checks_of(made), make_model=with_heads)


def test_a_model_that_takes_token_ids_alone_gets_these(
    make_plugin: MakePlugin, pytester: pytest.Pytester
) -> None:
    provides = frozenset({"binary-weights", "segments", "token-inputs"})
    requires = frozenset({"token-ids"})
    made = declaration_of(models.FineTokens, "thing", provides=provides, requires=requires)
    make_plugin("acme-kit", source_of(made))
    pytester.makepyfile(
        """
        from bnnlab_testing import ModelContract

        class TestTokens(ModelContract):
            name = "acme-kit/thing"
        """
    )
    result = pytester.runpytest_inprocess(
        "-k", "logits or gets_a_gradient or segments or interrupted"
    )
    result.assert_outcomes(passed=4)
