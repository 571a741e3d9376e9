"""What comes with the options of `bnnlab.families.chain.Chain`, for light modules."""

from bnnlab.registry.declaration import When

CHAIN = (
    When("weights", "binary", provides={"binary-weights"}),
    When("weights", "real", provides={"real-weights"}),
    When("statistics", "per-task", requires={"task-ids"}),
    When("scale", "latent", requires={"latent-weights"}),
)
"""The `when` of a model that derives from `Chain`, without those of options that it fixes."""
