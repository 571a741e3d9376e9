from bnnlab import Model
from bnnlab_testing import OptimizerContract, toy


class TestMetaplasticAdam(OptimizerContract):
    name = "meta"


class TestOnRealWeights(OptimizerContract):
    name = "meta"
    options = {"weights": "real"}
    without_effect = {"latent_init": "real weights are their own latent ones"}

    def make_model(self) -> Model:
        return toy.make_real_model()
