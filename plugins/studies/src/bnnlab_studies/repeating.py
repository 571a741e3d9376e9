"""Repetitions: one run with several seeds in this process, one after another or together."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnnlab.errors import BnnlabError, UsageError
from bnnlab.interfaces.keeping import keeping
from bnnlab.registry.components import Kind
from bnnlab.registry.given import objects_in
from bnnlab.registry.host import PluginHost
from bnnlab.settings.fit import require
from bnnlab.settings.layers import Layer, choose, resolve
from bnnlab.settings.run import RunConfig
from bnnlab.storage.folder import named_folder
from bnnlab_studies.plan import Cell, Plan, command_of, described
from bnnlab_studies.record import Record
from bnnlab_studies.study import Study
from bnnlab_studies.study_folder import held
from bnnlab_studies.sweep import write_table
from bnnlab_studies.sweep_file import seeds_of

if TYPE_CHECKING:
    from bnnlab import Result
    from bnnlab.engine.experiment import Experiment

NAMING = (Kind.RULE, Kind.OPTIMIZER, Kind.STREAM)


def repeat(
    host: PluginHost,
    places: Sequence[Mapping[str, Any] | Layer],
    seeds: int | Iterable[int],
    train: Callable[["Experiment"], "Result"] = lambda experiment: experiment.run(),
    begun: Callable[[Path], None] = lambda _: None,
    together: Callable[[Iterable["Experiment"]], "Iterable[Result]"] | None = None,
) -> Study:
    """Run one set of settings with several seeds; return all runs, with their models.

    If the settings name a folder `out`, a study's folder is made in it. `bnn sweep` goes on with
    it, if there are no objects in it. A run that fails ends the repetition.

    Args:
        host: The plugins.
        places: All that set something, weakest first.
        seeds: The seeds, or how many.
        train: Carries out each run.
        together: Carries out all runs at once, in place of `train`.
        begun: Called with the study's folder, if there is one, before the first run.

    Raises:
        UsageError: If the runs cannot start with these settings.
        RunError: If a run fails.
        TableError: If runs.csv cannot be written; it has the study.
    """
    every = seeds_of(seeds)
    if any("seed" in place for place in places if not isinstance(place, Layer)):
        raise UsageError("seed and seeds are both set. Leave out one of them.")
    config = resolve(host, places)
    require(host, config)
    cell = Cell(described(config), config.as_dict())
    carry_out = together or partial(map, train)
    if together:  # before there is a folder
        _expect_together(host, cell, every[0])
    if config.out is None:
        return _run_all(host, cell, dict.fromkeys(every), carry_out)
    components = (config.choices[kind].component.name for kind in NAMING)
    name = config.name or "-".join([*components, time.strftime("%Y%m%d-%H%M%S")])
    folder = named_folder(Path(config.out).expanduser(), name)
    has_objects = any(True for _ in objects_in(cell.settings))
    if folder.exists():
        rest = "." if has_objects else f", or continue it: {command_of(folder)}"
        raise UsageError(f"{folder} exists. Choose another --name{rest}")
    engine = choose(host, Kind.ENGINE, "bnnlab-studies/local", {})
    plan = Plan(folder, (cell,), every, engine)
    with held(host, plan):
        begun(folder)
        try:
            places_of = {seed: plan.place(cell, seed) for seed in every}
            study = _run_all(host, cell, places_of, carry_out)
        except BnnlabError as error:
            if not has_objects:  # with them, each of its runs goes on alone
                error.again = command_of(folder)
            raise
        study.folder, study.name = folder, name
        write_table(study, folder)
    return study


def _expect_together(host: PluginHost, cell: Cell, seed: int) -> None:
    """Refuse a cell whose runs cannot make their steps together."""
    from bnnlab.engine.lockstep import expect_alike
    from bnnlab.engine.preparing import prepare

    with keeping():
        expect_alike([prepare(host, resolve(host, [cell.settings, {"seed": seed, "out": None}]))])


def _run_all(
    host: PluginHost,
    cell: Cell,
    places: Mapping[int, Path | None],
    carry_out: Callable[[Iterable["Experiment"]], "Iterable[Result]"],
) -> Study:
    """Run a cell with each seed; its folder is the seed's place, if it has one."""
    from bnnlab.engine.preparing import prepare

    configs = list[RunConfig]()

    def prepared() -> "Iterator[Experiment]":
        for seed, place in places.items():
            where = {"out": str(place.parent), "name": place.name} if place else {"out": None}
            configs.append(resolve(host, [cell.settings, {"seed": seed, "name": None, **where}]))
            yield prepare(host, configs[-1])

    records, results = list[Record](), list["Result"]()
    with keeping():
        for result in carry_out(prepared()):
            config = configs[len(results)]
            results.append(result)
            about = config.as_dict(), result.as_dict(), cell.name
            records.append(Record(f"seed-{config.seed}", result.folder, result.status, *about))
    return Study(records, name=cell.name, results=results, host=host)
