"""What this plugin offers. Imports no torch."""

from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import When
from bnnlab.registry.hookspecs import hookimpl

_RECALLS = frozenset({"recalls"})

REPLAY = Component(
    kind=Kind.RULE,
    name="replay",
    target="bnnlab_rehearsal.replay:Replay",
    summary="Experience replay: past examples are learned again beside each batch.",
    source="Chaudhry et al., 'On Tiny Episodic Memories in Continual Learning', 2019 "
    "(arXiv 1902.10486)",
    provides=_RECALLS,
    when=(When("policy", "balanced", withholds={"any-loss"}),),
)

ER_ACE = Component(
    kind=Kind.RULE,
    name="er-ace",
    target="bnnlab_rehearsal.replay:AsymmetricReplay",
    summary="Replay in which new examples compete among the classes of their batch alone.",
    source="Caccia et al., 'New Insights on Reducing Abrupt Representation Change in Online "
    "Continual Learning', ICLR 2022 (arXiv 2104.05025)",
    provides=_RECALLS | {"whole-batch"},
)

DERPP = Component(
    kind=Kind.RULE,
    name="derpp",
    target="bnnlab_rehearsal.replay:DarkReplay",
    summary="Dark experience replay (DER++): past logits are matched, and past labels learned.",
    source="Buzzega et al., 'Dark Experience for General Continual Learning: a Strong, Simple "
    "Baseline', NeurIPS 2020 (arXiv 2004.07211)",
    provides=_RECALLS | {"whole-batch"},
)

LWF = Component(
    kind=Kind.RULE,
    name="lwf",
    target="bnnlab_rehearsal.lwf:LearningWithoutForgetting",
    summary="Learning without forgetting: distillation from the model before the task.",
    source="Li and Hoiem, 'Learning without Forgetting', ECCV 2016 (arXiv 1606.09282)",
    provides=_RECALLS | {"whole-batch"},
    requires=frozenset({"boundaries"}),
)

JOINT = Component(
    kind=Kind.STREAM,
    name="joint",
    target="bnnlab_rehearsal.joint:Joint",
    summary="All tasks of another stream at once, as one task: what sequential methods aim at.",
    source="Caruana, 'Multitask Learning', Machine Learning 28, 1997",
)

BLENDED = Component(
    kind=Kind.STREAM,
    name="blended",
    target="bnnlab_rehearsal.blended:Blended",
    summary="The tasks of another stream, which merge into each other: no boundary is announced.",
    source="Zeno, Golan, Hoffer and Soudry, 'Task Agnostic Continual Learning Using Online "
    "Variational Bayes', 2018 (arXiv 1803.10123)",
)


@hookimpl
def bnnlab_components() -> list[Component]:
    """Offer rules with a memory of examples or of the model, and two streams made of another."""
    return [REPLAY, ER_ACE, DERPP, LWF, JOINT, BLENDED]
