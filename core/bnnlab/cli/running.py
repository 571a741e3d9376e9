"""Commands that train, and on run files: `run`, `list-recipes`, `schema`."""

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnnlab.cli.choosing import (
    ConfigFile,
    Recipe,
    Short,
    layer,
    layers_of_files,
    with_flags,
)
from bnnlab.cli.console import Json, line, print_json, print_out, report_error, stoppable
from bnnlab.errors import NotInstalledError, StoppedError, UsageError
from bnnlab.guards import collection
from bnnlab.registry.components import Kind
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import load_index
from bnnlab.registry.recipes import Recipe as Found
from bnnlab.registry.recipes import find_recipes
from bnnlab.settings.isolation import named_plugins, only
from bnnlab.settings.layers import resolve
from bnnlab.settings.run import KINDS, MANY_HELP, RUN_OPTIONS, STUDIES
from bnnlab.settings.schema import run_schema

if TYPE_CHECKING:
    from bnnlab.engine.result import Result
    from bnnlab.storage.folder import RunFolder

Probes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe", help=MANY_HELP[Kind.PROBE], metavar="NAME", rich_help_panel="Components"
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--track", help=MANY_HELP[Kind.TRACKER], metavar="NAME", rich_help_panel="Components"
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        help="Continue the run in this folder.",
        metavar="DIR",
        rich_help_panel="Resuming",
    ),
]
AllowChangedVersions = Annotated[
    bool,
    typer.Option(
        "--allow-changed-versions",
        help="Continue with other versions of torch, bnnlab or a plugin. The result names them.",
        rich_help_panel="Resuming",
    ),
]
Isolated = Annotated[
    bool,
    typer.Option("--isolated", help="Load only plugins that the run or BNNLAB_ONLY names."),
]
Seeds = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        help="Repeat the run with seeds 0 to N - 1, or with these. The folder is that of a study.",
        metavar="N|LIST",
        rich_help_panel="Training",
    ),
]
Vectorize = Annotated[
    bool,
    typer.Option(
        "--vectorize",
        help="With --seeds: make the steps of all seeds together, which is faster for small "
        "networks and on a GPU.",
        rich_help_panel="Training",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@with_flags(*KINDS, *(option.name for option in RUN_OPTIONS))
def run(
    config: ConfigFile = None,
    recipe: Recipe = None,
    short: Short = False,
    probe: Probes = None,
    track: Trackers = None,
    seeds: Seeds = None,
    vectorize: Vectorize = False,
    resume: Resume = None,
    allow_changed_versions: AllowChangedVersions = False,
    isolated: Isolated = False,
    quiet: Quiet = False,
    json: Json = False,
    **said: Any,
) -> None:
    """Train a network on a stream of tasks, and print the accuracy matrix.

    Writes configuration, metrics, result and checkpoint to a folder.
    On Ctrl-C, SIGTERM, SIGHUP or SIGQUIT it saves and stops; twice: at once.
    A flag overrides the run file, and the run file overrides the defaults.

    Examples:
      bnn run
      bnn run --rule dfa --optimizer meta --stream permuted-mnist --epochs 2
      bnn run --set stream.tasks=3 --set 'model.hidden=[256]'
      bnn run --recipe PLUGIN/NAME --short
      bnn run --seeds 0,3,7   |   bnn run --seeds 8 --vectorize
    """
    from bnnlab.storage.folder import RunFolder, config_of  # takes 20 ms, and lists need none of it

    many = {str(Kind.PROBE): probe, str(Kind.TRACKER): track}
    spoken = layer({**said, **{key: {name: {} for name in its or ()} for key, its in many.items()}})
    others = spoken.keys() - {Kind.TRACKER}
    if resume and (others or config or recipe or short or seeds is not None):
        raise UsageError(
            "--resume takes all settings from the folder, and only --track from the command line: "
            "remove the other flags"
        )
    if vectorize and seeds is None:
        raise UsageError("--vectorize makes the steps of several seeds together: give --seeds, too")
    if allow_changed_versions and not resume:
        raise UsageError("--allow-changed-versions is only for --resume")
    file = config_of(resume) if resume else config
    with only([recipe.partition("/")[0]]) if recipe and isolated else nullcontext():
        places: list[Any] = [*layers_of_files(file, recipe, short), spoken]
    repeating = {STUDIES} if seeds is not None else set()
    with only(named_plugins(load_index(), places) | repeating) if isolated else nullcontext():
        if seeds is not None:
            _repeater(places)(places, seeds, quiet, json, vectorize)
            return
        folder = RunFolder(resume) if resume else None
        _execute(places, folder, allow_changed_versions, quiet, json)


def _repeater(places: list[Any]) -> Any:
    """Return what repeats a run.

    Raises:
        NotInstalledError: If it is not installed; all else that the run lacks is said, too.
    """
    host = PluginHost()
    try:
        return host.library(STUDIES, "bnnlab_studies.commands.repeat:repeat")
    except NotInstalledError as error:
        resolve(host, places, {"--seeds": error.needs.popitem()[1]})
        raise


def _execute(
    places: list[Any],
    folder: "RunFolder | None",
    allow_changed_versions: bool,
    quiet: bool,
    json: bool,
) -> None:
    with redirect_stdout(sys.stderr):  # what a plugin prints is no result
        result, code = _train(places, folder, allow_changed_versions, quiet)
    if json:
        print_json(result.as_dict())
    else:
        from bnnlab.cli.display import print_result

        print_result(result.as_dict(), result.folder)
    if code:
        raise typer.Exit(code)


def _train(
    places: list[Any], folder: "RunFolder | None", allow_changed_versions: bool, quiet: bool
) -> tuple["Result", int]:
    """Carry out a run; return its result, and the exit code if a signal came after its end."""
    with collection.put_off():
        host = PluginHost()
        config = resolve(host, places)
        from bnnlab.cli.display import Display
        from bnnlab.engine.preparing import prepare

    experiment = prepare(host, config, folder, allow_changed_versions=allow_changed_versions)
    with stoppable(lambda: experiment.again):
        try:
            if quiet:
                return experiment.run(), 0
            display = Display(experiment)
            with display.progress:
                return experiment.run(display.stepped), 0
        except StoppedError as stop:
            if experiment.result is None:
                raise
            report_error(f"stopped by {stop.signal}; the run is {experiment.result.status}")
            return experiment.result, stop.exit_code


def list_recipes(
    paper: Annotated[bool, typer.Option("--paper", help="Group them by their papers.")] = False,
    json: Json = False,
) -> None:
    """List recipes (run files that plugins ship), and what each reproduces.

    Examples:  bnn list-recipes --paper   |   bnn run --recipe NAME
    """
    recipes = find_recipes(PluginHost())
    groups: dict[str, list[Found]] = {}
    for each in sorted(recipes, key=lambda its: its.paper or "~") if paper else ():
        groups.setdefault(each.paper, []).append(each)
    if json:
        grouped = [{"paper": name, "recipes": [*map(vars, its)]} for name, its in groups.items()]
        print_json({"papers": grouped} if paper else {"recipes": [*map(vars, recipes)]})
        return
    for name, its in groups.items():
        print_out(line((name or "No paper", "bold underline")))
        for each in its:
            _print_recipe(each, 4)
    for each in () if paper else recipes:
        _print_recipe(each)
    if not recipes:
        print_out("No installed plugin has a recipe.")


def _print_recipe(recipe: Found, indent: int = 0) -> None:
    notes = [recipe.figure] if indent and recipe.figure else []
    notes += ["has a short form"] if recipe.short is not None else []
    noted = f"  ({', '.join(notes)})" if notes else ""
    print_out(line((recipe.name, "bold"), noted), indent=indent)
    broken = [f"broken: {recipe.fault}"] if recipe.fault else []
    for about in broken or [recipe.title, recipe.reproduces]:
        print_out(about, indent=indent + 4)


def schema() -> None:
    """Print a JSON schema of run files, with the options of all installed components.

    With it, an editor completes and checks a run file.

    For Taplo (Even Better TOML), begin it with #:schema ./bnnlab.schema.json

    Example:  bnn schema > bnnlab.schema.json
    """
    print_json(run_schema(PluginHost()))
