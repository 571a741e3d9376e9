"""Earlier names of modules (0.1.0): they still import, with a deprecation warning."""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # importlib.abc takes 30 ms

HOMES = {
    "ambient": ("guards.ambient",),
    "assignments": ("settings.text",),
    "batch_checks": ("interfaces.batch_checks",),
    "binarization": ("conversion.binarization",),
    "building": ("engine.building",),
    "checking": ("engine.checking",),
    "checkpoint": ("storage.checkpoint",),
    "compatibility": ("settings.fit",),
    "components": ("registry.components",),
    "config": (
        "settings.layers",
        "settings.run",
        "settings.text",
    ),
    "continual": ("engine.continual",),
    "conversion": (
        "interfaces.conversion",
        "conversion.report",
    ),
    "copies": ("engine.copies",),
    "discovery": ("registry.discovery",),
    "draws": ("families.draws",),
    "evaluation": ("engine.evaluation", "interfaces.prediction"),
    "experiment": ("engine.experiment", "engine.preparing"),
    "files": ("storage.files",),
    "fused": ("interfaces.fused",),
    "global_hooks": ("guards.global_hooks",),
    "hookspecs": ("registry.hookspecs",),
    "host": ("registry.host",),
    "index": ("registry.index",),
    "interruption": (
        "engine.interruption",
        "errors",
    ),
    "isolation": ("settings.isolation",),
    "keeping": ("guards.module_state",),
    "latent": ("families.latent",),
    "layers": (
        "nn.layers",
        "interfaces.signs",
    ),
    "learner": ("engine.learner",),
    "loading": ("engine.loading",),
    "local": ("families.local",),
    "model": ("interfaces.model",),
    "modes": ("guards.modes",),
    "moving": ("interfaces.optimizer_state",),
    "normalization": ("nn.normalization",),
    "observing": ("registry.observing",),
    "optimizer": (
        "interfaces.optimizer",
        "interfaces.context",
        "interfaces.elementwise",
    ),
    "options": ("registry.options",),
    "posterior": ("families.posterior",),
    "probing": ("guards.probing",),
    "progress": ("engine.progress",),
    "protocol": ("engine.protocol",),
    "recipes": ("registry.recipes",),
    "records": ("storage.folder",),
    "requirements": ("registry.requirements",),
    "result": ("engine.result",),
    "rule": ("interfaces.rule",),
    "run_log": ("storage.log",),
    "segments": ("conversion.segments", "conversion.recording"),
    "selection": ("conversion.selection",),
    "selfcheck": ("conversion.selfcheck",),
    "stream": (
        "interfaces.stream",
        "interfaces.examples",
    ),
    "summary": ("nn.summary",),
    "training": ("engine.training",),
    "watch": ("interfaces.write_detector", "interfaces.parameter_groups"),
    "watched": ("interfaces.consistency", "interfaces.faults"),
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


def reexport(name: str, homes: Sequence[str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose names moved elsewhere.

    Args:
        name: The earlier name of the module, for the warning.
        homes: Modules that have its names now; the first one with a name is used.
    """

    def look_up(attribute: str) -> Any:
        if not attribute.startswith("__"):
            for home in homes:
                module = import_module(home)
                if hasattr(module, attribute):
                    where = f"import {attribute} from {home}"
                    message = f"{name} has moved: {where}"
                    warnings.warn(message, DeprecationWarning, stacklevel=2)
                    return getattr(module, attribute)
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")

    return look_up


class _Moved(Loader):
    def __init__(self, homes: Sequence[str]) -> None:
        self._homes = homes

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name, f"Has moved to {', '.join(self._homes)}.")
        module.__dict__["__getattr__"] = reexport(spec.name, self._homes)
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


class MovedFinder:
    """Finds modules by their earlier names, after all other finders."""

    def find_spec(self, fullname: str, *_where: object) -> ModuleSpec | None:
        """Return the spec of an earlier module; None for an unknown name.

        Raises:
            ModuleNotFoundError: If its distribution is not installed, with what to install.
        """
        package, _, rest = fullname.partition(".")
        if package != "bnnlab":
            return None
        if rest in HOMES:
            homes = tuple(f"bnnlab.{home}" for home in HOMES[rest])
            return ModuleSpec(fullname, _Moved(homes))
        name, dot, inner = rest.partition(".")
        if name not in DISTRIBUTIONS:
            return None
        home = DISTRIBUTIONS[name]
        package = home.partition(".")[0]
        if find_spec(package) is None:
            raise ModuleNotFoundError(
                f"{fullname} is in a distribution of its own now. To install it: "
                f"pip install {package.replace('_', '-')}",
                name=fullname,
            )
        is_package = not dot and home == package
        return ModuleSpec(fullname, _Moved((f"{home}{dot}{inner}",)), is_package=is_package)


def install() -> None:
    """Let earlier names be found in this process."""
    if not any(isinstance(finder, MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(MovedFinder())
