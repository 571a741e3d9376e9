"""The probes of one run: called in turn, each by its name, and seen to change nothing."""

import json
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from typing import Any

from bnnlab.errors import BnnlabError, RunError, StoppedError, explain, place
from bnnlab.guards import ambient
from bnnlab.interfaces.model import Model
from bnnlab.interfaces.probe import Probe, Run
from bnnlab.interfaces.stream import Examples

EVENTS = frozenset({"untrained", "epoch", "evaluation"})
"""Lines of metrics.jsonl that are the core's own."""
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
        stop_reason: Why one of them asks the run to stop, with its name; None if none does.

    Raises:
        RunError: In every method, if a probe fails, changes the model, or answers what is no JSON.
    """

    def __init__(self, probes: Mapping[str, Probe], run: Run) -> None:
        self._probes, self._model = dict(probes), run.model
        self._said = set[str]()
        self.stop_reason: str | None = None
        self.ask(Probe.attach, run)

    def hear(self, moment: Any) -> bool:
        """Return whether a probe overrides a moment, such as `Probe.stepped`."""
        return any(_overrides(probe, moment) for probe in self._probes.values())

    def ask(self, moment: Any, *given: Any, only: str | None = None) -> dict[str, Any]:
        """Call a moment of the probes that override it; return their answers by name.

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
                answers[who] = _read(moment, answer, f"probe {who}: what {name}() returns")
            if probe._reason is not None:
                self.stop_reason, probe._reason = f"{who}: {probe._reason}", None
        return answers

    def take_lines(self) -> list[dict[str, Any]]:
        """Return the lines that the probes have logged since the last call."""
        lines = []
        for who, probe in self._probes.items():
            for line in probe._lines:
                if line["event"] in EVENTS:
                    raise RunError(f"probe {who}: a line {line['event']!r} is the core's own")
                lines.append(_mapping(line, f"probe {who}: its line {line['event']!r}"))
            probe._lines = ()
        return lines

    def measures(self, core: Set[str] = frozenset()) -> dict[str, Any]:
        """Return the results of all by name; the names in `core` are not theirs to use."""
        found: dict[str, Any] = {}
        for who, measured in self.ask(Probe.measures).items():
            if taken := sorted(measured.keys() & core):
                raise RunError(f"probe {who} measures {taken[0]!r}; that name is the core's")
            if twice := sorted(measured.keys() & found.keys()):
                raise RunError(f"probe {who}: another probe measures {twice[0]!r}, too")
            found.update(measured)
        return found

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
    return getattr(type(probe), moment.__name__) is not moment


def _marks(model: Model) -> list[Any]:
    """Return torch's counts of the writes to each tensor of a model, and its parts' modes."""
    tensors = (*model.parameters(), *model.buffers())
    return [*(each._version for each in tensors), *(part.training for part in model.modules())]


def _read(moment: Any, answer: Any, what: str) -> Any:
    """Return a probe's answer, if it is what the moment asks for."""
    if moment is Probe.evaluated:
        return _mapping({} if answer is None else answer, what)
    if moment is Probe.measures:
        return _mapping(answer, what)
    if moment is Probe.further_inputs:
        answer = [*answer]
        if odd := [each for each in answer if not isinstance(each, Examples)]:
            raise RunError(f"{what} must be Examples, and holds {odd[0]!r:.60}")
    return answer


def _mapping(answer: Any, what: str) -> dict[str, Any]:
    """Return a mapping by text, if JSON can hold it."""
    try:
        found = dict(answer)
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RunError(f"{what} is no mapping of JSON types by name: {error}") from error
    return found
