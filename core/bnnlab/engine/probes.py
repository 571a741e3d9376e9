"""The probes of one run: called in turn, each by its name, and seen to change nothing."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor

from bnnlab.errors import BnnlabError, RunError, StoppedError, UsageError, explain, place
from bnnlab.guards import ambient
from bnnlab.interfaces.examples import Examples
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.prediction import Predicted
from bnnlab.interfaces.probe import Probe, Run
from bnnlab.interfaces.rule import Batch

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
        RunError: In every method, if a probe fails, changes what it is shown, or answers what is
            no JSON.
        UsageError: If it refuses the run as it hears of it.
    """

    def __init__(self, probes: Mapping[str, Probe], run: Run) -> None:
        self._probes, self._model = dict(probes), run.model
        self._said = set[str]()
        self.log: Callable[[dict[str, Any]], None] = lambda _: None
        self.stop_reason: str | None = None
        self.ask(Probe.attach, run)

    def hear(self, moment: Any) -> bool:
        """Return whether any probe overrides a moment, such as `Probe.stepped`."""
        return any(overrides(probe, moment) for probe in self._probes.values())

    def ask(
        self, moment: Any, *given: Any, only: str | None = None, without: Any = None
    ) -> dict[str, Any]:
        """Call a moment of the probes that override it, and log; return their answers by name.

        Args:
            moment: A method of `Probe`.
            given: Its arguments. Each probe gets lists and mappings of its own.
            only: The one probe that is asked; all by default.
            without: A moment; probes that override it are not asked.
        """
        name, answers = moment.__name__, {}
        for who, probe in self._probes.items():
            if not overrides(probe, moment) or only not in (None, who):
                continue
            if without is not None and overrides(probe, without):
                continue
            with self._guarded(f"probe {who} in {name}", moment, given):
                answer = getattr(probe, name)(*map(_own, given))
                answers[who] = _read(moment, answer)
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
                said = _mapping(line, f"probe {who}: its line {event!r}")
                self.log(joined({who: said}, STAMPS))

    def measures(self, core: Set[str] = frozenset()) -> dict[str, Any]:
        """Return the results of all by name; the names in `core` are not theirs to use."""
        return joined(self.ask(Probe.measures), core)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each by name."""
        return {**{name: {} for name in self._probes}, **self.ask(Probe.state_dict)}

    @contextmanager
    def _guarded(self, who: str, moment: Any, given: Sequence[Any]) -> Iterator[None]:
        """Name a probe that fails or changes what it sees; put the process back if not QUICK."""
        before = _marks(self._model, given)
        try:
            with nullcontext() if moment in QUICK else ambient.kept(who, self._said):
                yield
        except (KeyboardInterrupt, StoppedError):
            raise
        except BnnlabError as error:
            is_refusal = moment is Probe.attach and isinstance(error, UsageError)
            kind = UsageError if is_refusal else RunError
            raise kind(f"{who}: {error}") from error
        except BaseException as error:  # a probe may raise any
            raise RunError(f"{who} failed at {place(error)}: {explain(error)}") from error
        for what, marks in _marks(self._model, given).items():
            if marks != before[what]:
                raise RunError(f"{who} changed {what}; it may only look")


def overrides(probe: Probe, moment: Any) -> bool:
    """Return whether a probe has a method of its own for a moment, such as `Probe.stepped`."""
    return getattr(getattr(probe, moment.__name__), "__func__", None) is not moment


def _own(given: Any) -> Any:
    """Return a list or mapping as one to keep and to change; all else as it is."""
    return copy.deepcopy(given) if isinstance(given, list | dict) else given


def _marks(model: Model, given: Sequence[Any]) -> dict[str, list[Any]]:
    """Return torch's counts of the writes to each tensor that is shown, and the model's modes."""
    weights = [each._version for each in (*model.parameters(), *model.buffers())]
    tensors = [tensor for each in given for tensor in _tensors(each)]
    return {
        "the model's weights, buffers or mode": [*weights, *(p.training for p in model.modules())],
        "a tensor that it was given": [t._version for t in tensors if not t.is_inference()],
    }


def _tensors(given: Any) -> Sequence[Tensor]:
    """Return the tensors of an argument: a tensor, a batch or a prediction."""
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, Batch):
        return [given.inputs, given.targets]
    return [*vars(given).values()] if isinstance(given, Predicted) else []


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


def _read(moment: Any, answer: Any) -> Any:
    """Return a probe's answer, if it is what the moment asks for."""
    if moment is Probe.evaluated:
        return _mapping({} if answer is None else answer, "its answer")
    if moment is Probe.measures:
        return _mapping(answer, "its answer")
    if moment is Probe.further_inputs:
        answer = [*answer]
        if odd := [each for each in answer if not isinstance(each, Examples)]:
            raise RunError(f"its answer must be Examples, and holds {odd[0]!r:.60}")
    return answer


def _mapping(answer: Any, what: str) -> dict[str, Any]:
    """Return a mapping as JSON holds it: later changes of what was given do not reach it."""
    found: dict[str, Any] = {}
    name = None
    try:
        for name, value in dict(answer).items():
            text = json.dumps({name: value}, allow_nan=False)
            found.update(json.loads(text, parse_int=_whole))
    except (TypeError, ValueError) as error:
        at = "" if name is None else f", at {name!r}"
        raise RunError(f"{what} is no mapping of JSON types by name{at}: {error}") from error
    return found


def _whole(digits: str) -> int:
    """Return a whole number, if a float can be as large."""
    number = int(digits)
    try:
        float(number)
    except OverflowError as error:
        raise ValueError(f"a whole number of {len(digits)} digits is too large") from error
    return number
