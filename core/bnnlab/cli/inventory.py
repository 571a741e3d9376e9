"""Commands on the installation: `list-plugins`, `doctor`."""

import logging
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from bnnlab import __version__
from bnnlab.cli.console import Json, Part, print_entries, print_json, print_out
from bnnlab.registry.discovery import Plugin, PluginStatus
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import user_file

log = logging.getLogger(__name__)

_COLOURS = {"ok": "green", "broken": "red", "disabled": "yellow", "available": "cyan"}


def list_plugins(
    json: Json = False,
    all: Annotated[
        bool, typer.Option("--all", help="Also list known plugins that are not installed.")
    ] = False,
) -> None:
    """List plugins with their status and components.

    [green]ok[/green]: can be used; missing requirements are named.

    [red]broken[/red]: cannot be loaded; --debug shows the traceback.

    [yellow]disabled[/yellow]: by registry.toml, BNNLAB_DISABLE or BNNLAB_ONLY.

    [cyan]available[/cyan]: known, but not installed (with --all).

    Examples:  bnn list-plugins   |   bnn list-plugins --all --json
    """
    host = PluginHost()
    plugins = [*host.plugins, *(host.unavailable() if all else [])]
    lacking = _unmet(host.plugins)

    for plugin in plugins:
        if plugin.exception:
            log.debug("%s is broken", plugin.distribution, exc_info=plugin.exception)

    def row(plugin: Plugin) -> dict[str, Any]:
        return {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "status": str(plugin.status),
            "error": plugin.error,
            "unmet": lacking.get(plugin.distribution, []),
            "components": [
                {"kind": str(c.kind), "name": c.name, "summary": c.summary}
                for c in plugin.components
            ],
            "commands": [{"name": c.name, "summary": c.summary} for c in plugin.commands],
        }

    if json:
        print_json({"plugins": [row(plugin) for plugin in plugins]})
        return
    if not plugins:
        print_out("No plugin is installed. Try: bnn list-plugins --all")
        return
    rows: list[list[Part]] = []
    for plugin in plugins:
        status = str(plugin.status)
        offers = [*map(str, plugin.components), *map(str, plugin.commands)]
        if plugin.status == "available":
            known = next(e for e in host.index.plugins if e.distribution == plugin.distribution)
            offers = [f"pip install {plugin.distribution}", *known.offers]
        lines = [plugin.error or _grouped(offers), *lacking.get(plugin.distribution, [])]
        what = "; ".join(line for line in lines if line)
        rows.append([plugin.distribution, plugin.version, (status, _COLOURS[status]), what])
    print_entries(("plugin", "version", "status", "offers"), rows)


def _unmet(plugins: Sequence[Plugin]) -> dict[str, list[str]]:
    """Return the missing requirements of loaded plugins, by distribution."""
    from bnnlab.registry.requirements import unmet  # packaging takes 15 ms

    found = {p.distribution: unmet(p.distribution) for p in plugins if p.status is PluginStatus.OK}
    return {name: lines for name, lines in found.items() if lines}


def _grouped(offers: list[str]) -> str:
    """Return `rule: bp; optimizer: adam, sgd`."""
    kinds: dict[str, list[str]] = {}
    for offer in offers:
        kind, _, name = offer.rpartition(":")
        kinds.setdefault(kind, []).append(name)
    return "; ".join(
        f"{kind}: {', '.join(names)}" if kind else ", ".join(names) for kind, names in kinds.items()
    )


def doctor(json: Json = False) -> None:
    """Check this installation: versions, device, threads, folders, plugins and import times.

    Exits with 1 if a plugin is broken or a requirement is missing.

    Examples:  bnn doctor   |   bnn doctor --json
    """
    report = _examine(PluginHost().plugins)
    broken = [each for each in report["plugins"] if each["status"] == "broken"]
    lacking = [each["distribution"] for each in report["plugins"] if each["unmet"]]
    if json:
        print_json(report)
    else:
        _print_report(report)
        said = [f"Broken plugins: {len(broken)}."] if broken else []
        said += (
            [f"Plugins with missing requirements: {', '.join(dict.fromkeys(lacking))}."]
            if lacking
            else []
        )
        print_out(" ".join(said) or "No problem found.")
    if broken or lacking:
        raise typer.Exit(1)


def _examine(plugins: Sequence[Plugin]) -> dict[str, Any]:
    """Return the report of `doctor`, by the names that it prints."""
    started = time.perf_counter()
    import torch

    torch_seconds = time.perf_counter() - started
    from bnnlab.engine.building import data_folder

    packages = ("torch", "torchvision", "numpy", "pluggy", "typer", "rich")
    folder, lacking = data_folder(None), _unmet(plugins)
    return {
        "bnnlab": __version__,
        "python": platform.python_version(),
        **{name: _version_of(name) for name in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "data folder": str(folder),
        "data sets": sorted(p.name for p in folder.iterdir()) if folder.is_dir() else [],
        "user's registry": f"{user_file()} ({'there' if user_file().exists() else 'not there'})",
        "seconds to import torch": round(torch_seconds, 2),
        "plugins": [
            {
                "distribution": plugin.distribution,
                "version": plugin.version,
                "status": str(plugin.status),
                "import_ms": round(1000 * plugin.import_seconds, 1),
                "commands": [command.name for command in plugin.commands],
                "error": plugin.error,
                "unmet": lacking.get(plugin.distribution, []),
            }
            for plugin in plugins
        ],
    }


def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _print_report(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if key != "plugins":
            shown = ", ".join(value) or "none" if isinstance(value, list) else value
            print_out(f"{key:25} {shown}", soft_wrap=True)
    for plugin in report["plugins"]:
        commands = [f"command {name}" for name in plugin["commands"]]
        notes = [plugin["error"], *plugin["unmet"], *commands]
        said = "".join(f"   {note}" for note in notes if note)
        what = f"{plugin['distribution']:25} {plugin['version']:8} {plugin['status']:9}"
        print_out(f"{what}{plugin['import_ms']:7.1f} ms{said}", soft_wrap=True)
