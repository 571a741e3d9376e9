"""Commands on the installation: `list-plugins`, `doctor`."""

import logging
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from bnnlab import __version__
from bnnlab.cli.console import Json, Part, print_json, print_out, print_table, report_note
from bnnlab.errors import UsageError, command, install_command
from bnnlab.registry.discovery import Plugin, PluginStatus
from bnnlab.registry.host import PluginHost
from bnnlab.registry.index import user_file
from bnnlab.registry.options import check_values
from bnnlab.registry.trial import tried

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
    host = PluginHost(with_broken=True)
    plugins = [*host.plugins, *(host.unavailable() if all else [])]
    for plugin in plugins:
        if plugin.exception:
            log.debug("%s is broken", plugin.distribution, exc_info=plugin.exception)
    rows = _rows(plugins)
    known = {entry.distribution: entry.offers for entry in host.index.plugins}
    if json:
        print_json({"plugins": rows})
    elif not rows:
        print_out("No plugin is installed. Try: bnn list-plugins --all")
    else:
        lines = [[*_head(row), _offers(row, known)] for row in rows]
        print_table(("plugin", "version", "status", "offers"), lines)
        if any(row["status"] == PluginStatus.AVAILABLE for row in rows):
            print_out()
            print_out(f"To install one: {install_command('NAME')}.", soft_wrap=True)


def _rows(plugins: Sequence[Plugin]) -> list[dict[str, Any]]:
    """Return plugins as JSON shows them."""
    from bnnlab.registry.requirements import Found, unmet  # packaging takes 15 ms

    found = Found()
    works = [plugin for plugin in plugins if plugin.status is PluginStatus.OK]
    lines = {each.distribution: unmet(each.distribution, found=found) for each in works}
    return [_row(plugin, lines.get(plugin.distribution, [])) for plugin in plugins]


def _row(plugin: Plugin, unmet: list[str]) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": str(plugin.status),
        "error": plugin.error,
        "unmet": unmet if plugin.status is PluginStatus.OK else [],
        "components": [
            {"kind": str(c.kind), "name": c.name, "summary": c.summary} for c in plugin.components
        ],
        "commands": [{"name": c.name, "summary": c.summary} for c in plugin.commands],
    }


def _head(row: dict[str, Any]) -> list[Part]:
    status = row["status"]
    return [row["distribution"], row["version"], (status, _COLOURS[status])]


def _offers(row: dict[str, Any], known: Mapping[str, Sequence[str]]) -> str:
    """Return what a plugin offers, `rule: bp; optimizer: adam, sgd`, or what is wrong with it."""
    if row["status"] == PluginStatus.AVAILABLE:
        lines = [_grouped(known[row["distribution"]])]
    else:
        components = [f"{each['kind']}:{each['name']}" for each in row["components"]]
        commands = [f"command:{each['name']}" for each in row["commands"]]
        lines = [row["error"] or _grouped([*components, *commands]), *row["unmet"]]
    return "; ".join(filter(None, lines))


def _grouped(offers: Iterable[str]) -> str:
    kinds: dict[str, list[str]] = {}
    for offer in offers:
        kind, _, name = offer.partition(":")
        kinds.setdefault(kind, []).append(name)
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())


def doctor(
    json: Json = False,
    clear_cache: Annotated[
        bool, typer.Option("--clear-cache", help="Delete what is kept of decoded data, first.")
    ] = False,
) -> None:
    """Check this installation: versions, device, threads, folders, plugins and import times.

    A plugin whose import ends the process, or does not end, is named, too.

    Exits with 1 if a plugin is broken, lacks a requirement or has faulty options.

    Examples:  bnn doctor   |   bnn doctor --json   |   bnn doctor --clear-cache
    """
    if clear_cache:
        from bnnlab.storage import cache

        report_note(f"deleted {cache.clear():,} bytes in {cache.folder()}")
    fatal = tried().fatal
    host = PluginHost(fatal, with_broken=True)
    host.plugins = [
        each.broken(fatal[each.distribution]) if each.distribution in fatal else each
        for each in host.plugins
    ]
    report = _examine(host)
    plugins = report["plugins"]
    found = {
        "Broken plugins": [p["distribution"] for p in plugins if p["status"] == "broken"],
        "Plugins with missing requirements": [p["distribution"] for p in plugins if p["unmet"]],
        "Plugins with faulty options": [p["distribution"] for p in plugins if p["faults"]],
    }
    problems = [f"{what}: {', '.join(dict.fromkeys(who))}." for what, who in found.items() if who]
    if json:
        print_json(report)
    else:
        _print_report(report)
        if fatal:
            off = f"BNNLAB_DISABLE={','.join(fatal)}"
            problems.append(f"Other commands need {off} until that is removed.")
        hint = [f"To remove a plugin: `{command('uninstall', 'NAME')}`."] if problems else []
        print_out(" ".join([*problems, *hint]) or "No problem found.")
    if problems:
        raise typer.Exit(1)


def _examine(host: PluginHost) -> dict[str, Any]:
    """Return the report of `doctor`, by the names that it prints."""
    started = time.perf_counter()
    import torch

    torch_seconds = time.perf_counter() - started
    from bnnlab.engine.building import data_folder
    from bnnlab.guards import threads
    from bnnlab.storage import cache

    packages = ("torch", "torchvision", "numpy", "pluggy", "typer", "rich")
    folder = data_folder(None)
    return {
        "bnnlab": __version__,
        "python": platform.python_version(),
        **{name: _version_of(name) for name in packages},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cores": threads.cores(),
        "threads": threads.find(None),
        **{name: os.environ.get(name, "not set") for name in threads.WAITING},
        "data folder": str(folder),
        "data sets": sorted(p.name for p in folder.iterdir()) if folder.is_dir() else [],
        "decoded data": f"{cache.folder()} ({cache.size():,} bytes)",
        "user's registry": f"{user_file()} ({'there' if user_file().exists() else 'not there'})",
        "seconds to import torch": round(torch_seconds, 2),
        "plugins": [
            {
                **row,
                "faults": _faults(host, plugin),
                "import_ms": round(1000 * plugin.import_seconds, 1),
            }
            for row, plugin in zip(_rows(host.plugins), host.plugins, strict=True)
        ],
    }


def _faults(host: PluginHost, plugin: Plugin) -> list[str]:
    """Return what is wrong with the options of a plugin's components."""
    found = []
    for component in plugin.components:
        try:
            found += check_values(host.options(plugin, component), {}, f"{component}, ")[1]
        except UsageError as error:
            found.append(str(error))
    return found


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
    print_out()
    rows = []
    for plugin in report["plugins"]:
        commands = [f"command {each['name']}" for each in plugin["commands"]]
        notes = [plugin["error"], *plugin["unmet"], *plugin["faults"], *commands]
        rows.append([*_head(plugin), plugin["import_ms"], "; ".join(filter(None, notes))])
    print_table(("plugin", "version", "status", "import, ms", "notes"), rows)
