"""Earlier names of modules (0.1.0): they still import, with a warning."""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # importlib.abc takes 30 ms

REMOVED = "bnnlab 0.4"
"""The release that these names end with."""

_SAME_NAME = {
    "guards": "ambient modes probing",
    "interfaces": "batch_checks conversion fused model rule",
    "conversion": "binarization selection",
    "engine": "building checking continual copies learner loading progress protocol "
    "result training",
    "storage": "checkpoint files",
    "registry": "components discovery hookspecs host index observing recipes requirements",
    "families": "draws latent local posterior",
    "settings": "isolation",
    "nn": "normalization summary",
}
"""Per room, the modules that moved into it under their name."""
HOMES: dict[str, tuple[str, ...]] = {
    **{name: (f"{room}.{name}",) for room, names in _SAME_NAME.items() for name in names.split()},
    "assignments": ("settings.text",),
    "compatibility": ("settings.fit",),
    "config": ("settings.layers", "settings.run", "settings.text"),
    "evaluation": ("engine.evaluation", "interfaces.prediction"),
    "experiment": ("engine.experiment", "engine.preparing"),
    "global_hooks": ("guards.torch_state",),
    "guards.global_hooks": ("guards.torch_state",),
    "interruption": ("engine.interruption", "errors"),
    "keeping": ("guards.module_state",),
    "layers": ("nn.layers", "interfaces.signs"),
    "moving": ("interfaces.optimizer_state",),
    "optimizer": ("interfaces.optimizer", "interfaces.context", "interfaces.elementwise"),
    "options": ("registry.options", "registry.forms"),
    "records": ("storage.folder",),
    "run_log": ("storage.log",),
    "segments": ("conversion.segments", "conversion.recording"),
    "selfcheck": ("conversion.selfcheck", "conversion.uses"),
    "stream": ("interfaces.stream", "interfaces.examples"),
    "watch": ("interfaces.write_detector", "interfaces.optimizer_state"),
    "watched": ("interfaces.consistency", "interfaces.faults"),
    "registry.commands": ("registry.components",),
}
"""Per module of before, the modules of today that hold its names."""
DISTRIBUTIONS = {
    "diagnosis": "bnnlab_analysis.diagnosis",
    "plots": "bnnlab_plots",
    "testing": "bnnlab_testing",
    "uncertainty": "bnnlab_analysis.uncertainty",
    "weights": "bnnlab_analysis.weights",
}
"""What is in a distribution of its own now: where it is there."""


def _homes(name: str) -> list[str]:
    """Return the modules that have the names of an earlier module; none for an unknown one."""
    package, _, rest = name.partition(".")
    top, dot, inner = rest.partition(".")
    if package != "bnnlab":
        return []
    if top in DISTRIBUTIONS:
        return [DISTRIBUTIONS[top] + dot + inner]
    return [f"bnnlab.{home}" for home in HOMES.get(rest, ())]


def reexport(name: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose names moved elsewhere."""

    def look_up(attribute: str) -> Any:
        for home in [] if attribute.startswith("__") else _homes(name):
            module = import_module(home)
            if hasattr(module, attribute):
                found = getattr(module, attribute)
                is_public = getattr(sys.modules["bnnlab"], attribute, None) is found
                where = "bnnlab" if is_public else home
                from bnnlab.deprecation import warn_of_name  # most programs never need it

                warn_of_name(f"{name}.{attribute}", f"import {attribute} from {where}", REMOVED)
                return found
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")

    return look_up


class _Earlier(ModuleType):
    """A module of before. What `bnnlab` has by its name now, such as `keeping`, is called by it."""

    def __call__(self, *arguments: Any, **given: Any) -> Any:
        package, _, name = self.__name__.partition(".")
        return sys.modules[package].__getattr__(name)(*arguments, **given)


class _Moved(Loader):
    """Finds modules by their earlier names, after all other finders, and makes them."""

    def find_spec(self, fullname: str, *_where: object) -> ModuleSpec | None:
        homes = _homes(fullname)
        if not homes:
            return None
        package, _, inner = homes[0].partition(".")
        if find_spec(package) is None:
            from bnnlab.errors import install_command  # most programs never need it

            command = install_command(package.replace("_", "-"))
            raise ModuleNotFoundError(
                f"{fullname} is in a distribution of its own now. To install it: {command}",
                name=fullname,
            )
        return ModuleSpec(fullname, self, is_package=not inner)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Earlier(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = reexport(module.__name__)


sys.meta_path.append(_Moved())
