"""The command `demo`."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from bnnlab.cli.console import line, print_out, report_error, report_note, stoppable
from bnnlab.errors import UsageError, command
from bnnlab.registry.host import PluginHost
from bnnlab.settings.run import PLOTS
from bnnlab_studies.commands.options import Out
from bnnlab_studies.commands.watching import Watch
from bnnlab_studies.engine import make_engine
from bnnlab_studies.job import finished
from bnnlab_studies.plan import make_plan
from bnnlab_studies.study import Study
from bnnlab_studies.study_folder import agreed
from bnnlab_studies.sweep import sweep

STUDY = files("bnnlab_demo") / "study.toml"
PICTURE = "compare.png"


def demo(
    out: Out = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compare three methods on five tasks, in half a minute. Nothing is downloaded.

    A binary network learns five orders of the pixels of scikit-learn's digits, one after another.

    It prints what each method remembers, what to try next, and where the picture is.

    The runs are kept in a study's folder: a second call shows them again, or goes on.

    Example:  bnn demo
    """
    host = PluginHost()
    with as_file(STUDY) as file:
        plan = make_plan(host, file, {} if out is None else {"out": out})
    try:
        plan = agreed(host, plan)
    except UsageError as error:
        raise UsageError(str(error).replace("another --name or --out", "another --out")) from error
    engine = make_engine(host, plan.engine)
    left = [job for job in plan.jobs(engine.threads) if not finished(job.folder, job.settings)]
    if left:
        watch = Watch(len(left), quiet)
        again = command("demo", *(["--out", out] if out else []))
        with redirect_stdout(sys.stderr), stoppable(lambda: again), watch.progress:
            study = sweep(host, plan, engine, watch.ended)
        if watch.faults:
            _fail(watch.faults, again)
    else:
        report_note(f"trained before: to train again, delete {plan.folder}")
        study = Study.read(plan.folder)  # nothing is written: the disk may be read-only
    _print(study)
    _draw(host, study, plan.folder / PICTURE, is_new=bool(left))
    print_out("next:")
    for words, meaning in _next(plan.folder):
        print_out(f"  {words}", soft_wrap=True)
        print_out(line((meaning, "dim")), indent=6)


def _fail(faults: Mapping[str, str], again: str) -> None:
    for name, fault in faults.items():
        report_error(f"{name}: {fault}")
    report_note(f"to continue: {again}")
    raise typer.Exit(1)


def _print(study: Study) -> None:
    from rich.columns import Columns
    from rich.padding import Padding

    from bnnlab_demo.story import matrices, sentences

    print_out()
    print_out(
        f"{study[0]['evaluate_on']} accuracy in %, mean over the seeds. Row: after a task. Column: "
        "on a task; right of the diagonal is the next one, not learned yet."
    )
    print_out()
    print_out(Columns([Padding(each, (0, 0, 1, 0)) for each in matrices(study)], padding=(0, 4)))
    for sentence in sentences(study):
        print_out(sentence)
        print_out()


def _draw(host: PluginHost, study: Study, picture: Path, *, is_new: bool) -> None:
    """Say where the picture is, drawn if there is none of this study; or why it cannot be."""
    try:
        if is_new or not picture.is_file():
            plot_compare, save = (
                host.library(PLOTS, f"bnnlab_plots:{name}") for name in ("plot_compare", "save")
            )
            save(plot_compare(study), picture)
        print_out(f"picture: {picture}", soft_wrap=True)
    except UsageError as error:
        print_out(f"no picture: {error}", soft_wrap=True)


def _next(folder: Path) -> list[tuple[str, str]]:
    """Return three commands with what they answer, fit to be copied."""
    plain = command("run", "--recipe", "demo/dfa-meta", "--set", "optimizer.m=0")
    return [
        (command("compare", folder), "the statistics behind these sentences"),
        (plain, "a run without metaplasticity"),
        (command("matrix"), "which other rules and optimizers work together"),
    ]
