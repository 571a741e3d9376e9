"""Commands that train: `run`, and `list-recipes`."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from bnnlab.cli.choosing import Assignments, Model, Optimizer, Rule, Stream, layers
from bnnlab.cli.console import Json, line, print_json, print_out, report_error, report_note


def run(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Run file (TOML); flags come before it."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="A plugin's run file, see `bnn list-recipes`."),
    ] = None,
    rule: Rule = None,
    optimizer: Optimizer = None,
    model: Model = None,
    stream: Stream = None,
    set: Assignments = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", help="Passes over each task's data.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", "-b", help="Examples per step.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Root of all randomness.")] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of the data sets; also BNNLAB_DATA."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to make the run's folder in.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the run's folder.")] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Continue the run in this folder.")
    ] = None,
    allow_changed_versions: Annotated[
        bool,
        typer.Option(
            "--allow-changed-versions",
            help="With --resume: go on with other versions of torch, bnnlab or a plugin; the "
            "result says so.",
        ),
    ] = False,
    isolated: Annotated[
        bool,
        typer.Option("--isolated", help="Load only the plugins that the run or BNNLAB_ONLY names."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    json: Json = False,
) -> None:
    """Train a network on a stream of tasks, and print the accuracy matrix.

    Writes configuration, metrics, result and checkpoint to a folder.

    After Ctrl-C, SIGTERM, SIGHUP or SIGQUIT the run saves and stops. A second signal stops it at
    once.

    A flag overrides the run file, and the run file overrides the defaults.

    Examples:
      bnn run

      bnn run --rule dfa --optimizer meta --stream permuted-mnist --epochs 2

      bnn run --set stream.tasks=3 --set 'model.hidden=[256]'

      bnn run --recipe PLUGIN/NAME --seed 1
    """
    from bnnlab.errors import UsageError
    from bnnlab.registry.index import load_index
    from bnnlab.settings.config import read_config
    from bnnlab.settings.isolation import named_plugins, only
    from bnnlab.storage.folder import CONFIG

    said = {
        "rule": rule,
        "optimizer": optimizer,
        "model": model,
        "stream": stream,
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "device": device,
        "data": None if data is None else str(data),
        "out": None if out is None else str(out),
        "name": name,
    }
    spoken = layers(said, set)
    if resume and (any(spoken) or config or recipe):
        raise UsageError("--resume takes all settings from the folder: remove the other flags")
    if allow_changed_versions and not resume:
        raise UsageError("--allow-changed-versions is only for --resume")
    file = resume / CONFIG if resume else config
    settings: list[Any] = [read_config(file)] if file else []
    if recipe is not None:
        with only([recipe.partition("/")[0]]) if isolated else nullcontext():
            settings.insert(0, _read_recipe(recipe))
    settings += spoken
    with only(named_plugins(load_index(), settings)) if isolated else nullcontext():
        _execute(settings, resume, allow_changed_versions, quiet, json)


def _read_recipe(name: str) -> dict[str, Any]:
    from bnnlab.registry.host import PluginHost
    from bnnlab.registry.recipes import find_recipe

    return find_recipe(PluginHost(), name).settings


def _execute(
    settings: list[Any], resume: Path | None, allow_changed_versions: bool, quiet: bool, json: bool
) -> None:
    from bnnlab.registry.host import PluginHost
    from bnnlab.settings.config import resolve

    host = PluginHost()
    config = resolve(host, settings)
    from bnnlab.cli.display import Display, print_result
    from bnnlab.engine.experiment import Experiment
    from bnnlab.errors import StoppedError
    from bnnlab.storage.folder import RunFolder

    folder = RunFolder(resume) if resume else None
    experiment = Experiment(host, config, folder, allow_changed_versions=allow_changed_versions)
    try:
        if quiet:
            result = experiment.run()
        else:
            with Display(experiment) as display:
                result = experiment.run(display.stepped)
    except (KeyboardInterrupt, StoppedError) as error:
        if experiment.folder:
            report_note(f"to continue: bnn run --resume {shlex.quote(str(experiment.folder.path))}")
        by, code = "SIGINT", 130
        if isinstance(error, StoppedError):
            by, code = error.signal, error.exit_code
        report_error(f"stopped by {by}")
        raise typer.Exit(code) from None
    if json:
        print_json(result.as_dict())
    else:
        print_result(result)


def list_recipes(json: Json = False) -> None:
    """List recipes (run files that plugins ship), and what each reproduces.

    Examples:  bnn list-recipes   |   bnn run --recipe NAME
    """
    from bnnlab.registry.host import PluginHost
    from bnnlab.registry.recipes import find_recipes

    recipes = find_recipes(PluginHost())
    if json:
        print_json(
            {
                "recipes": [
                    {
                        "name": recipe.name,
                        "title": recipe.title,
                        "reproduces": recipe.reproduces,
                        "settings": recipe.settings,
                        "fault": recipe.fault or None,
                    }
                    for recipe in recipes
                ]
            }
        )
        return
    for recipe in recipes:
        print_out(line((recipe.name, "bold"), f"  {recipe.title}"))
        about = f"broken: {recipe.fault}" if recipe.fault else recipe.reproduces
        print_out(f"    {about}")
    if not recipes:
        print_out("No installed plugin has a recipe.")
