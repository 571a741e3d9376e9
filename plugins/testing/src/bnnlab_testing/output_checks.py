"""What a model owes of its outputs: they are logits, and know no later inputs if it says so."""

import pytest
import torch

from bnnlab_testing.asserting import assert_close
from bnnlab_testing.model_checks import ModelChecks


class OutputChecks(ModelChecks):
    """The part of `ModelContract` that is about outputs."""

    @torch.no_grad()
    def test_its_outputs_are_no_probabilities(self) -> None:
        """Where a class per input is learned, its outputs are logits, before any softmax.

        The loss takes the softmax: taken twice, it hardly tells right from wrong.
        """
        if not self.objective.is_of_classes:
            pytest.skip("it learns no class per input")
        found = torch.cat([self.make().eval()(x) for x in (self.inputs(), self.others())])
        sums = torch.allclose(found.sum(1), found.new_ones(len(found)), atol=1e-4)
        assert not (sums and bool((found >= 0).all())), (
            "its outputs are probabilities: return logits"
        )

    @torch.no_grad()
    def test_no_position_knows_later_ones_if_it_is_causal(self) -> None:
        """With `causal = True`, if it has this option, later inputs change no output before them.

        A model that is to predict the next token would read it. Mask what is later.
        """
        if not self.has_option("causal"):
            pytest.skip("it has no option 'causal'")
        model, x, others = (
            self.make(0, self.with_options(causal=True)).eval(),
            self.inputs(),
            self.others(),
        )
        usual = model(x)
        if usual.ndim < 3 or usual.shape[1] != x.shape[1]:
            pytest.skip("it has no output for each position")
        for first in range(1, x.shape[1]):
            found = model(torch.cat([x[:, :first], others[:, first:]], 1))[:, :first]
            said = f"positions before {first} depend on what comes from there on"
            assert_close([found], [usual[:, :first]], said)
