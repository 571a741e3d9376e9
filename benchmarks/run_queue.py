"""Work through docs/results/queue.toml: the runs that claims and studies lack, by their rank.

    BNNLAB_DATA=... python benchmarks/run_queue.py RUNS [--hours H]
    python benchmarks/run_queue.py RUNS --status

The first seeds of all jobs of a tier come first, then all second ones, and so on: one run at a
time, in a process of its own, with one thread. A run that was begun goes on. Several such commands
share the work. A run of a study that a claim has, too, is made for the claim alone. A cell of a
study whose tuning is not done waits for it. A run that fails is named, and the others go on; then
the exit code is 1. After --hours, Ctrl-C or SIGTERM the run saves, and the command ends; after a
signal N with 128 + N.

RUNS is a folder outside of the repository. RUNS/claims is as `bnn reproduce` makes it, and
RUNS/STUDY as `bnn sweep` does; benchmarks/claims.py and benchmarks/results.py keep their results.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import chosen
import tomli
from filelock import FileLock, Timeout
from generated import studies

from bnnlab import BnnlabError, PluginHost, UsageError
from bnnlab.engine.interruption import raising
from bnnlab.registry.options import shown
from bnnlab.settings.text import read_config
from bnnlab.storage.folder import CONFIG, METRICS, RESULT, read_metrics
from bnnlab_claims.finding import find_card
from bnnlab_claims.study import budget_of, plan_of
from bnnlab_studies.cells import listed
from bnnlab_studies.job import Job, Outcome, finished, perform
from bnnlab_studies.local import LocalExecutor
from bnnlab_studies.plan import Plan, make_plan
from bnnlab_studies.results import read_result
from bnnlab_studies.study_folder import agreed, held

ROOT = Path(__file__).parents[1]
QUEUE = ROOT / "docs" / "results" / "queue.toml"
LOCKS = ".queue"
"""Where this command says, in the folder of runs, what it is about to do."""


Part = tuple[str, int]
"""The digest of a cell, and a seed."""


@dataclass(frozen=True)
class Entry:
    """A job of the queue.

    Attributes:
        title: For people.
        plan: Of its study.
        hours: Of each run, on one core; None if nobody said.
        tier: Which comes when all runs of a smaller one are done.
        waiting: Cells of the study whose settings are not chosen yet; the plan is without them.
        is_claim: Whether its plan is of a claim.
        elsewhere: Of a study: cells and seeds that claims have, too.
    """

    title: str
    plan: Plan
    hours: float | None
    tier: int
    waiting: tuple[str, ...] = ()
    is_claim: bool = False
    elsewhere: Set[Part] = frozenset()

    @property
    def parts(self) -> list[Part]:
        """Its cells with each seed, in the order of the plan's jobs."""
        return [(cell.digest, seed) for seed in self.plan.seeds for cell in self.plan.cells]

    def rounds(self) -> list[list[Job]]:
        """Return its own runs with the first seed, those with the second, and so on."""
        rounds: dict[int, list[Job]] = {seed: [] for seed in self.plan.seeds}
        for part, job in zip(self.parts, self.plan.jobs(threads=1), strict=True):
            if part not in self.elsewhere:
                rounds[part[1]].append(job)
        return [*rounds.values()]


def entry_of(host: PluginHost, said: Mapping[str, Any], runs: Path) -> Entry:
    """Return the entry that a `[[job]]` says.

    Raises:
        UsageError: If it cannot be carried out.
    """
    match {"tier": 1, **said}:
        case {"claim": str(name), "tier": int(tier), **more} if more.keys() <= {"budget"}:
            claim, budget = find_card(host, name).claim, more.get("budget", "full")
            plan = plan_of(host, claim, budget, runs)
            hours = budget_of(claim, budget).hours
            return Entry(f"{name}, {budget}", plan, hours, tier, is_claim=True)
        case {"study": str(name), "tier": int(tier), **more} if more.keys() <= {"hours"}:
            plan = make_plan(host, studies.file_of(name), {"out": str(runs)})
            waiting = unchosen(name, plan)
            cells = tuple(cell for cell in plan.cells if cell.name not in waiting)
            return Entry(name, replace(plan, cells=cells), more.get("hours"), tier, waiting)
    raise UsageError(
        f"{shown(said)} is no job: say a claim and perhaps its budget, or a study and perhaps the "
        "hours of each run; and perhaps its tier, 1, 2 and so on"
    )


def unchosen(name: str, plan: Plan) -> tuple[str, ...]:
    """Return the cells of a study whose tuning is not done: their settings are not chosen yet."""
    if "/" in name or not studies.file_of(f"{name}/tuning").exists():
        return ()
    trials = chosen.trials(name)
    return tuple(it.name for it in plan.cells if None in trials.get(it.name, {}).values())


def entries(host: PluginHost, runs: Path, begin: bool) -> tuple[list[Entry], list[str]]:
    """Return the entries of the queue, and what is wrong with those that cannot be carried out.

    Args:
        host: The plugins.
        runs: The folder of runs.
        begin: Whether to make the folders of their studies.
    """
    found, faults = list[Entry](), list[str]()
    for said in tomli.loads(QUEUE.read_text(encoding="utf-8"))["job"]:
        try:
            entry = entry_of(host, said, runs)
            plan, name = entry.plan, entry.title
            if entry.waiting:
                how = f"keep the results of {name}/tuning, then python benchmarks/chosen.py {name}"
                faults.append(f"{name}: {listed(entry.waiting)} not chosen yet: {how}")
            if not plan.cells:
                continue
            with held(host, plan) if begin else nullcontext(agreed(host, plan)) as plan:
                found.append(replace(entry, plan=plan))
        except UsageError as error:
            faults.append(f"{said.get('claim', said.get('study'))}: {error}")
    claimed = {part for entry in found if entry.is_claim for part in entry.parts}
    own = [it if it.is_claim else replace(it, elsewhere=claimed) for it in found]
    return own, faults


def in_order(found: Iterable[Entry]) -> Iterator[tuple[Entry, Job]]:
    """Yield all runs of each tier: those with the first seeds by their rank, and so on."""
    for _, tier in groupby(sorted(found, key=attrgetter("tier")), attrgetter("tier")):
        ranked = [[[(entry, job) for job in jobs] for jobs in entry.rounds()] for entry in tier]
        for same in zip_longest(*ranked, fillvalue=()):
            for jobs in same:
                yield from jobs


def work(found: Iterable[Entry], runs: Path, hours: float) -> list[str]:
    """Carry out what is left, as far as the time allows; return what failed."""
    end, faults = time.monotonic() + 3600 * hours, list[str]()
    for entry, job in in_order(found):
        name = f"{entry.title}: {job}"
        with alone(runs, job) as is_ours:
            if not is_ours or finished(job.folder, job.settings):
                continue
            if time.monotonic() >= end:
                break
            say(f"{name}: {'goes on' if (job.folder / CONFIG).exists() else 'begins'}")
            outcome = carried_out(job, end - time.monotonic())
        if outcome is None:
            say(f"{name}: has saved, as the time is over")
            break
        say(f"{name}: {outcome.status}")
        if not outcome.is_done:
            faults.append(f"{name}: {outcome.error or outcome.status}")
    return faults


def carried_out(job: Job, seconds: float) -> Outcome | None:
    """Carry a run out in a process of its own; return None if the time was over before its end."""
    try:
        with LocalExecutor(1) as executor:
            return executor.submit(perform, job).result(seconds)
    except TimeoutError:
        return None
    except BnnlabError as error:
        return Outcome("failed", str(error))


@contextmanager
def alone(runs: Path, job: Job) -> Iterator[bool]:
    """Keep other such commands from a run in the block; yield False if one of them has it."""
    name = "-".join(job.folder.relative_to(runs).parts)
    try:
        lock = FileLock(runs / LOCKS / f"{name}.lock").acquire(timeout=0)
    except Timeout:
        yield False
        return
    with lock:
        yield True


def say(line: str) -> None:
    """Print a line with the time."""
    print(time.strftime("%m-%d %H:%M"), line, flush=True)


def print_status(found: Iterable[Entry]) -> None:
    """Print what is done, begun and left of each entry, and the hours that are left."""
    hours, unknown = 0.0, 0
    for entry in found:
        every = [job for jobs in entry.rounds() for job in jobs]
        done = [job for job in every if finished(job.folder, job.settings)]
        rest = [(job, fraction(job.folder)) for job in every if job not in done]
        each, left = hours_of(entry, done), len(rest) - sum(part for _, part in rest)
        hours, unknown = hours + left * (each or 0), unknown + (each is None) * len(rest)
        cost = "? h" if each is None else f"{left * each:.1f} h"
        print(f"{entry.title:44} {len(done):4} of {len(every)} done {cost:>9} left")
        for job, part in rest:
            if part:
                print(f"    {job}: {part:.0%}")
    print(f"about {hours:.1f} h are left on one core, and {unknown} runs that nobody timed")


def hours_of(entry: Entry, done: Iterable[Job]) -> float | None:
    """Return the hours of a run: the mean of those that are done, or what is said of them."""
    seconds = [read_result(job.folder / RESULT)["seconds"] for job in done]
    return fmean(seconds) / 3600 if seconds else entry.hours


def fraction(folder: Path) -> float:
    """Return how many of its epochs a run has made; where steps are counted, of its tasks."""
    if not (folder / METRICS).exists():
        return 0.0
    lines, settings = read_metrics(folder), read_config(folder / CONFIG)
    tasks = [len(line["accuracy"]) for line in lines if line["event"] == "untrained"]
    each = settings["epochs"] if settings["steps"] == "none" else 1
    every = sum(each) if isinstance(each, list) else each * sum(tasks)
    return sum(line["event"] == "epoch" for line in lines) / every if every else 0.0


def main() -> None:
    """Work through the queue, or print how far it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, metavar="RUNS", help="a folder out of the repository")
    parser.add_argument("--hours", type=float, default=8760.0, help="end after so many")
    parser.add_argument("--status", action="store_true", help="print how far it is, run nothing")
    arguments = parser.parse_args()
    runs = arguments.runs.resolve()
    if runs.is_relative_to(ROOT):
        parser.error(f"{arguments.runs} is in the repository: name a folder out of it")
    (runs / LOCKS).mkdir(parents=True, exist_ok=True)
    try:
        with raising(), FileLock(runs / LOCKS / "plans.lock"):
            found, faults = entries(PluginHost(), runs, begin=not arguments.status)
        if arguments.status:
            print_status(found)
        else:
            with raising():
                faults += work(found, runs, arguments.hours)
    except KeyboardInterrupt:
        sys.exit(130)
    if faults:
        sys.exit("\n".join(["not done:", *faults]))


if __name__ == "__main__":
    main()
