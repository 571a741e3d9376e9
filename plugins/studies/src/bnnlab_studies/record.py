"""What the folder of one run says, read without torch and without its plugins."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bnnlab.engine.result import ABOUT
from bnnlab.errors import UsageError, did_you_mean
from bnnlab.registry.components import Option
from bnnlab.registry.index import as_table
from bnnlab.settings.run import KINDS, RUN_OPTIONS
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import RESULT, config_of
from bnnlab.storage.owner import owner_of
from bnnlab_studies.results import expect_own, read_result

log = logging.getLogger("bnnlab.studies")  # below `bnnlab`, which the command line shows


def defaults_of(options: Iterable[Option]) -> dict[str, Any]:
    """Return the defaults of options as run.toml has them, by name."""
    return {each.name: "none" if each.default is None else each.default for each in options}


DEFAULTS = defaults_of(RUN_OPTIONS)
"""Settings that a run.toml of an earlier version may lack."""


@dataclass(frozen=True)
class Record(Mapping[str, Any]):
    """One run: its settings and measures by name, as `record["optimizer.lr"]`.

    A name is a dotted path: `average_accuracy`, `uncertainty.ece`, `accuracy.-1.0` (lists are
    counted from 0, and from their end with a minus). `accuracy.-1.-5:` is a part of a list, as
    Python writes it, and `*` all of one: what follows is taken of each. `optimizer` is the
    component's name, and `optimizer.name` the one with its distribution; so are `optimizer.base`
    and `optimizer.base.name`, if it has a base. `uncertainty` is the setting, and
    `uncertainty.ece` a measure; no other name of the two is the same. None: not measured.

    Attributes:
        name: The folder as it lies below where the search began, or a kept result's file.
        folder: Of the run; None if it has none.
        status: What result.json says; `running` if a process writes to the folder, `unfinished`
            without a result, `damaged` if a file cannot be read, `foreign` in a study whose plan
            has no such run.
        settings: What run.toml holds; empty for a kept result.
        result: What result.json holds; empty if there is none, or while the run goes on.
        cell: Name of its cell, where a study gives one; else empty.
    """

    name: str
    folder: Path | None
    status: str
    settings: Mapping[str, Any] = field(repr=False, hash=False)
    result: Mapping[str, Any] = field(repr=False, hash=False)
    cell: str = ""

    @classmethod
    def read(cls, folder: Path | str, name: str | None = None, cell: str = "") -> "Record":
        """Read a run's folder; a file that cannot be read is a warning and a status.

        Raises:
            UsageError: If it is no run's folder.
        """
        folder = Path(folder)
        config, result = config_of(folder), folder / RESULT
        owner = owner_of(folder)  # first: what a run writes at its end, it writes before it unlocks
        settings: dict[str, Any] = {}
        found: dict[str, Any] = {}
        status = "unfinished"
        try:
            settings = read_config(config)
            if owner:
                status = "running"
            elif result.exists():
                found = read_result(result)
                expect_own(settings, found)
                status = found["status"]
        except UsageError as error:
            log.warning("%s", error if str(folder) in str(error) else f"{folder}: {error}")
            status, found = "damaged", {}
        return cls(name or folder.resolve().name, folder, status, settings, found, cell)

    @classmethod
    def of_result(cls, file: Path | str) -> "Record":
        """Read a result that was kept alone, as CELL-SEED.json; its settings are not known.

        Raises:
            UsageError: If it is no result of a run.
        """
        file = Path(file)
        found = read_result(file)
        cell = file.stem.removesuffix(f"-{found.get('seed')}")
        return cls(file.stem, None, found["status"], {}, found, cell)

    @property
    def is_complete(self) -> bool:
        """Whether its measures count: all tasks were learned."""
        return self.status == "complete"

    @cached_property
    def components(self) -> dict[str, str]:
        """Names of its components by kind, without their distributions; "" where not known."""
        known = self.result.get("components", {})
        said = {kind: as_table(self.settings.get(kind, known.get(kind))) or {} for kind in KINDS}
        return {str(kind): _short(table.get("name", "")) for kind, table in said.items()}

    @property
    def title(self) -> str:
        """Names of its components in one text, `dfa + meta + mlp + digits`."""
        return " + ".join(name for name in self.components.values() if name) or "unknown"

    @cached_property
    def _places(self) -> tuple[Mapping[str, Any], ...]:
        """Where a name is looked up; a setting that came with a later version has its default."""
        own = {"name": self.name, "status": self.status, **self.components}
        return own, {**(DEFAULTS if self.settings else {}), **self.settings}, self.result

    @cached_property
    def measures(self) -> dict[str, float | None]:
        """What it measured and is one number, by dotted name; and its `seconds`."""
        found = leaves(
            {key: it for key, it in self.result.items() if key not in {*ABOUT} - {"seconds"}}
        )
        return {name: it for name, it in found if it is None or type(it) in (int, float)}

    def has_measure(self, name: str) -> bool:
        """Return whether a name is of something that was measured, and not of a setting."""
        about = {*ABOUT} - {"seconds"}
        try:
            _at({key: it for key, it in self.result.items() if key not in about}, name)
        except LookupError:
            return False
        return True

    def row(self) -> dict[str, Any]:
        """Return its name and status, components, settings, measures and protocol."""
        about = {key: self.result[key] for key in ("seed", "protocol") if key in self.result}
        told = {**self.components, **dict(leaves(self.settings)), **about, **self.measures}
        return {"name": self.name, "status": self.status, **told}

    def __getitem__(self, name: str) -> Any:
        own, settings, result = self._places
        for place in (own, settings, result):
            try:
                found = _at(place, name)
            except LookupError:
                continue
            is_part = place is settings and isinstance(found, Mapping) and "name" in found
            return _short(found["name"]) if is_part else found
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for place in self._places for name, _ in leaves(place)))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _at(place: Any, path: str) -> Any:
    """Follow a dotted path; keys of a mapping may have dots themselves.

    Raises:
        LookupError: If it leads nowhere.
    """
    if isinstance(place, Mapping):
        if path in place:
            return place[path]
        for dot in reversed([found.start() for found in re.finditer(r"\.", path)]):
            if path[:dot] in place:
                return _at(place[path[:dot]], path[dot + 1 :])
    elif isinstance(place, list):
        step, _, rest = path.partition(".")
        if re.fullmatch(r"-?\d+", step):
            return _at(place[int(step)], rest) if rest else place[int(step)]
        if re.fullmatch(r"\*|(-?\d+)?:(-?\d+)?", step):
            start, _, end = step.replace("*", ":").partition(":")
            some = place[slice(*(int(each) if each else None for each in (start, end)))]
            return [_at(each, rest) for each in some] if rest else some
    raise KeyError(path)


def leaves(place: Mapping[Any, Any], lists: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values of all that is no mapping; with `lists`, and no list."""
    for key, value in place.items():
        inner = dict(enumerate(value)) if lists and isinstance(value, list) else value
        if isinstance(inner, Mapping):
            yield from ((f"{key}.{name}", it) for name, it in leaves(inner, lists))
        else:
            yield str(key), value


def expect_names(names: Iterable[str], records: Sequence[Record], what: str) -> None:
    """Refuse a name of a setting or measure that no run has.

    Args:
        names: Of settings or measures.
        records: Runs.
        what: For the message, such as `--where`.

    Raises:
        UsageError: With the nearest name that one has.
    """
    for name in names:
        if not any(name in record for record in records):
            known = dict.fromkeys(known for record in records for known in record)
            raise UsageError(
                f"{what} {name!r}: no run has this setting or measure.{did_you_mean(name, known)}"
            )


def expect_measure(name: str, records: Sequence[Record]) -> None:
    """Refuse a measure that no run has, and a setting.

    Raises:
        UsageError: With the nearest name that a run has.
    """
    if not any(record.has_measure(name) for record in records):
        expect_names([name], records, "measure")
        raise UsageError(
            f"measure {name!r}: it is a setting or says what the run was. Write what was measured."
        )


def natural(text: Path | str) -> list[list[str]]:
    """Return what sorts seed-2 before seed-10, and folder by folder: lr=0.01 is not lr=0.001."""
    return [
        [*(it.zfill(20) if it.isdigit() else it for it in re.split(r"(\d+)", part)), part]
        for part in Path(text).parts
    ]
