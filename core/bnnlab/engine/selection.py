"""Which epoch of a task is kept, and when a task is over: the validation part decides."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from bnnlab.engine.progress import Progress
from bnnlab.interfaces.probe import Run

KEPT = ("model", "rule", "optimizer")
"""What goes back to the best epoch."""


class Selection:
    """Stops a task early, and goes back to its best epoch, if the run's policy says so.

    What is kept is what the run would be, had the task ended after that epoch. Among equal scores
    the first is the best.
    """

    def __init__(self, run: Run, progress: Progress) -> None:
        self._run, self._policy, self._progress = run, run.policy, progress

    def is_over(self, metrics: Mapping[str, Any], diagnostics: Mapping[str, Any]) -> bool:
        """Hear of an epoch; return whether the task is over before its last epoch."""
        if not self._policy.selects:
            return False
        epoch, score, best = metrics["epoch"], metrics["validation_accuracy"], self._progress.best
        if best is None or score > best["score"]:
            best = self._progress.best = {"score": score, "epoch": epoch}
            if self._policy.keep == "best":
                best["diagnostics"] = dict(diagnostics)
                best |= {name: deepcopy(getattr(self._run, name).state_dict()) for name in KEPT}
        patience = self._policy.patience
        return patience is not None and epoch - best["epoch"] >= patience

    def end(self) -> dict[str, Any]:
        """Go back to the best epoch of a task, if it is kept; return what the metrics say of it."""
        best, self._progress.best = self._progress.best, None
        if best is None:
            return {}
        if self._policy.keep == "best":
            for name in KEPT:
                getattr(self._run, name).load_state_dict(best[name])
            self._progress.diagnostics[-1] = best["diagnostics"]
        return {"best_epoch": best["epoch"], "best_validation_accuracy": best["score"]}
