"""What the contracts of the test kit are told of what this plugin offers."""

from copy import deepcopy
from functools import cache

import pytest

from bnnlab import LearningRule, Model
from bnnlab_testing import LearningRuleContract, ModelContract, toy
from bnnlab_vit import distillation

SMALL = {"patch": 2, "dim": 12, "depth": 2, "heads": 3}
ENDS = {
    "segments.0.position": "no product with an activation",
    "segments.0.patches.weight": "the first layer",
    "segments.3.classifier.weight": "the last layer",
}
ATTENTION = {
    f"segments.{block}.attention.{layer}.weight": "attention is real in a hybrid"
    for block in (1, 2)
    for layer in ("qkv", "out")
}
PRODUCT = {
    f"segments.{block}.attention.product.{name}": "a factor and a shift per head"
    for block in (1, 2)
    for name in ("log_alpha", "shift")
}


@cache
def teacher() -> Model:
    model = toy.make_model(seed=5)
    toy.train(model, toy.ToyRule(), toy.make_optimizer(model), toy.make_task(), steps=200)
    return model.eval()


class TestViT(ModelContract):
    name = "vit"
    options = SMALL


class TestViTWithAClassToken(ModelContract):
    name = "vit"
    options = {**SMALL, "pooling": "token", "mlp_ratio": 0.5}


class TestBViT(ModelContract):
    name = "bvit"
    options = SMALL
    real = ENDS


class TestBViTWithEverything(ModelContract):
    name = "bvit"
    options = {**SMALL, "attention": "binary", "pooling": "token", "surrogate": "saturating"}
    real = {**ENDS, **PRODUCT, "segments.0.token": "no product with an activation"}


class TestHybrid(ModelContract):
    name = "hybrid"
    options = SMALL
    real = {**ENDS, **ATTENTION}


class TestDistill(LearningRuleContract):
    name = "distill"
    options = {"teacher": "a run"}
    own_objective = True

    def make(self, seed: int = 0, model: Model | None = None) -> LearningRule:
        """Take a toy for what the run's folder holds; there is no run on the contract's toys."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distillation, "load", lambda _: deepcopy(teacher()))
            return super().make(seed, model)

    def make_model(self) -> Model:
        return toy.make_model()
