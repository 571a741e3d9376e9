"""The probes of one run: called in turn, each by its name, and seen to change nothing."""

import json
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from typing import Any

from bnnlab.errors import BnnlabError, RunError, StoppedError, explain, place
from bnnlab.guards import ambient
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.objective import Objective
from bnnlab.interfaces.probe import Probe, Run

EVENTS = frozenset({"untrained", "epoch", "evaluation"})
"""Lines of metrics.jsonl that are the core's own."""
STAMPS = frozenset({"seconds", "time"})
"""What the core adds to every line."""
REPEATED = (Probe.attach, Probe.further_inputs)
"""Moments that a resumed run repeats: a line that is logged there would be there twice."""
QUICK = (Probe.stepped, Probe.state_dict)
"""Moments so frequent that the process state is not compared around them."""


class ProbeStop(Exception):  # noqa: N818 - no error
    """The run ends here because a probe asked for it; the text is the reason."""


class Probes:
    """The probes of one run.

    Args:
        probes: By the name that their state has in a checkpoint; not attached yet.
        run: What they measure.

    Attributes:
        log: Is told of the lines that they log.
        stop_reason: Why one of them asks the run to stop, with its name; None if none does.

    Raises:
        RunError: In every method, if a probe fails, changes the model, or answers what is no JSON.
    """

    def __init__(self, probes: Mapping[str, Probe], run: Run) -> None:
        self._probes, self._model = dict(probes), run.model
        self._said = set[str]()
        self.log: Callable[[dict[str, Any]], None] = lambda _: None
        self.stop_reason: str | None = None
        self.ask(Probe.attach, run)

    def hear(self, moment: Any) -> bool:
        """Return whether any probe overrides a moment, such as `Probe.stepped`."""
        return any(_overrides(probe, moment) for probe in self._probes.values())

    def ask(self, moment: Any, *given: Any, only: str | None = None) -> dict[str, Any]:
        """Call a moment of the probes that override it, and log; return their answers by name.

        Args:
            moment: A method of `Probe`.
            given: Its arguments.
            only: The one probe that is asked; all by default.
        """
        name, answers = moment.__name__, {}
        for who, probe in self._probes.items():
            if not _overrides(probe, moment) or only not in (None, who):
                continue
            with self._guarded(f"probe {who} in {name}", quick=moment in QUICK):
                answer = getattr(probe, name)(*given)
                answers[who] = _read(moment, answer, who)
        self.listen(moment)
        return answers

    def listen(self, moment: Any = None) -> None:
        """Log what the probes have said since the last call, and note who asks to stop."""
        for who, probe in self._probes.items():
            if probe._bnnlab_reason is not None:
                self.stop_reason = f"{who}: {probe._bnnlab_reason}"
                probe._bnnlab_reason = None
            lines, probe._bnnlab_lines = probe._bnnlab_lines, ()
            if lines and moment in REPEATED:
                raise RunError(
                    f"probe {who} logs in {moment.__name__}(), which a resumed run calls again: "
                    "log in another moment"
                )
            for line in lines:
                event = line["event"]
                if event in EVENTS:
                    raise RunError(f"probe {who}: a line {event!r} is the core's own")
                self.log(joined({who: _mapping(line, f"its line {event!r}", who)}, STAMPS))

    def measures(self, core: Set[str] = frozenset()) -> dict[str, Any]:
        """Return the results of all by name; the names in `core` are not theirs to use."""
        return joined(self.ask(Probe.measures), core)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each by name."""
        return {**{name: {} for name in self._probes}, **self.ask(Probe.state_dict)}

    @contextmanager
    def _guarded(self, who: str, *, quick: bool) -> Iterator[None]:
        """Name a probe that fails or changes the model; put the process back unless `quick`."""
        before = _marks(self._model)
        try:
            with nullcontext() if quick else ambient.kept(who, self._said):
                yield
        except (BnnlabError, StoppedError):
            raise
        except (Exception, SystemExit) as error:
            raise RunError(f"{who} failed at {place(error)}: {explain(error)}") from error
        if _marks(self._model) != before:
            raise RunError(f"{who} changed the model's weights, buffers or mode; it may only look")


def _overrides(probe: Probe, moment: Any) -> bool:
    return getattr(getattr(probe, moment.__name__), "__func__", None) is not moment


def can_hear(probe: Any, objective: Objective) -> bool:
    """Return whether a class of probes can be told of what an objective predicts."""
    listens = getattr(probe, "predicted", None) is not Probe.predicted
    return not listens or issubclass(objective.prediction, getattr(probe, "takes", object))


def _marks(model: Model) -> list[Any]:
    """Return torch's counts of the writes to each tensor of a model, and its parts' modes."""
    tensors = (*model.parameters(), *model.buffers())
    return [*(each._version for each in tensors), *(part.training for part in model.modules())]


def joined(answers: Mapping[str, Mapping[str, Any]], core: Set[str]) -> dict[str, Any]:
    """Return the answers of several probes as one.

    Raises:
        RunError: If a name in them is one of the core's, or of two probes.
    """
    found: dict[str, Any] = {}
    for who, answer in answers.items():
        for name in answer:
            if name in core or name in found:
                other = "the core" if name in core else "another probe"
                raise RunError(f"probe {who}: the name {name!r} is {other}'s")
        found.update(answer)
    return found


def _read(moment: Any, answer: Any, who: str) -> Any:
    """Return a probe's answer, if it is what the moment asks for."""
    what = f"what {moment.__name__}() returns"
    if moment is Probe.evaluated:
        return _mapping({} if answer is None else answer, what, who)
    if moment is Probe.measures:
        return _mapping(answer, what, who)
    if moment is Probe.further_inputs:
        answer = [*answer]
        if odd := [each for each in answer if not isinstance(each, Examples)]:
            raise RunError(f"probe {who}: {what} must be Examples, and holds {odd[0]!r:.60}")
    return answer


def _mapping(answer: Any, what: str, who: str) -> dict[str, Any]:
    """Return a mapping as JSON holds it: later changes of what was given do not reach it."""
    found: dict[str, Any] = {}
    name = None
    try:
        for name, value in dict(answer).items():
            found.update(json.loads(json.dumps({name: value}, allow_nan=False)))
    except (TypeError, ValueError) as error:
        at = "" if name is None else f", at {name!r}"
        raise RunError(
            f"probe {who}: {what} is no mapping of JSON types by name{at}: {error}"
        ) from error
    return found
