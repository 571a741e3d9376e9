"""A process that takes its share of a study, and trains nothing: `share.py FILE OUT`."""

import sys
from contextlib import closing
from pathlib import Path

from bnnlab.registry.host import PluginHost
from bnnlab_optuna.plan import read_plan
from bnnlab_optuna.trial import Outcome
from bnnlab_optuna.tuner import Tuner

file, out = map(Path, sys.argv[1:])
plan = read_plan(PluginHost(), file, {"out": str(out), "name": "study"})
with closing(Tuner(plan, lambda _: None)) as tuner:
    while owned := tuner.ownership.take():
        tuner._tell(owned, Outcome("complete", value=owned.settings["optimizer"]["lr"]))
        sys.stdout.write(f"{owned.number}\n")
assert "torch" not in sys.modules, "a tuner asks and tells, and computes nothing"
