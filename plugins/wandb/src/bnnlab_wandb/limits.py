"""What W&B takes for mode, tags and project; wandb itself takes seconds to be asked."""

from collections.abc import Iterator, Mapping
from typing import Any

from bnnlab.errors import did_you_mean
from bnnlab.registry.options import shown

ALIASES = {"dryrun": "offline", "run": "online"}
"""Old names of modes that wandb takes."""
MODES = ("online", "offline", "disabled", *ALIASES)
TAG, PROJECT = 64, 128
"""Characters that they may have; a tag has one at least."""
NOWHERE = r"/\#?%:"
"""Characters that no project has in its name."""


def faults(options: Mapping[str, Any], variables: Mapping[str, str]) -> Iterator[str]:
    """Yield what wandb would refuse, of the tracker's options and of the environment.

    It reads its variables whatever the options say.
    """
    mode = variables.get("WANDB_MODE", "online")
    if mode not in MODES:
        hint = did_you_mean(mode, MODES) or f" Choose from {', '.join(MODES)}."
        yield f"WANDB_MODE: W&B has no mode {shown(mode)}.{hint}"
    said = variables.get("WANDB_TAGS")
    others = [] if said is None else said.split(",")
    for place, its in (("track.wandb.tags", options["tags"]), ("WANDB_TAGS", others)):
        for tag in its:
            if not 0 < len(tag) <= TAG:
                yield f"{place}: the tag {shown(tag)} has not 1 to {TAG} characters."
    for place, name in (
        ("track.wandb.project", options["project"]),
        ("WANDB_PROJECT", variables.get("WANDB_PROJECT")),
    ):
        if name and (len(name) > PROJECT or {*name} & {*NOWHERE}):
            yield (
                f"{place}: {shown(name)} is no name of a project: at most {PROJECT} characters, "
                f"and none of {NOWHERE} in it."
            )
