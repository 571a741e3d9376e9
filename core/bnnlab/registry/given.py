"""Objects of the caller, in the place of components."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bnnlab.errors import command
from bnnlab.registry.components import Component, Kind
from bnnlab.registry.declaration import Option
from bnnlab.registry.discovery import Plugin, PluginStatus

OBJECT = "object"
"""What the name of an object has in the place of a distribution: `object/NAME`."""
_HELP = {
    "object": "Class of the object.",
    "digest": "Digest of what identifies the object.",
    "weights": "Digest of its initial weights.",
}


@dataclass(frozen=True, kw_only=True)
class Given(Component):
    """An object, a class or a function of the caller.

    Its options are what run.toml says of it; none can be set.

    Attributes:
        maker: Is called as a component's class is, without the options.
    """

    maker: Callable[..., Any]

    def make(self, *args: Any, **given: Any) -> Any:
        """Make the component."""
        names = {option.name for option in self.options}
        return self.maker(*args, **{key: it for key, it in given.items() if key not in names})


def offer(
    kind: Kind,
    name: str,
    about: dict[str, str],
    maker: Callable[..., Any],
    provides: Iterable[str],
    requires: Iterable[str],
) -> Plugin:
    """Return what stands for the plugin of an object, with the object as its component.

    What is said `about` it are `object`, `digest` and, of a model, `weights`.
    """
    component = Given(
        kind=kind,
        name=name,
        target=f"{OBJECT}:{kind}",
        summary=f"{about['object']}, an object of Python.",
        source="the caller",
        options=tuple(Option(key, Literal[it], it, _HELP[key]) for key, it in about.items()),
        provides=frozenset(provides),
        requires=frozenset(requires),
        maker=maker,
    )
    return Plugin(OBJECT, about["digest"], "", PluginStatus.OK, components=(component,))


def objects_in(settings: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what settings say of objects, each with its place, such as `rule.base`."""
    for key, table in settings.items():
        if isinstance(table, Mapping):
            if str(table.get("name", key)).startswith(f"{OBJECT}/"):
                yield f"{place}{key}", table
            yield from objects_in(table, f"{place}{key}.")


def resuming(folder: Path, settings: Mapping[str, Any], files: Iterable[Path] = ()) -> str:
    """Return what goes on with a run: a command with files of plugins; with objects, a call."""
    kinds = dict.fromkeys(place.partition(".")[0] for place, _ in objects_in(settings))
    if given := "".join(f", {kind}=..." for kind in kinds):
        return f"bnnlab.run(resume={str(folder)!r}{given})"
    plugins = (word for file in files for word in ("--plugin", file))
    return command(*plugins, "run", "--resume", folder)
