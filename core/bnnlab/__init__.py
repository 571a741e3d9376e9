"""bnnlab: a workbench for learning methods of binarised neural networks.

Importing this package imports no torch: what needs it is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bnnlab import moved as moved  # earlier names of modules can be imported from here on

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnnlab.api import create as create
    from bnnlab.api import run as run
    from bnnlab.conversion.binarization import binarize as binarize
    from bnnlab.conversion.segments import cut as cut
    from bnnlab.conversion.streams import stream_from as stream_from
    from bnnlab.engine.loading import load as load
    from bnnlab.engine.making import Maker as Maker
    from bnnlab.engine.own_loop import evaluate as evaluate
    from bnnlab.engine.result import Result as Result
    from bnnlab.errors import BnnlabError as BnnlabError
    from bnnlab.errors import DataError as DataError
    from bnnlab.errors import DownloadError as DownloadError
    from bnnlab.errors import RunError as RunError
    from bnnlab.errors import UsageError as UsageError
    from bnnlab.families.around import OptimizerAround as OptimizerAround
    from bnnlab.families.around import RuleAround as RuleAround
    from bnnlab.families.latent import LatentOptimizer as LatentOptimizer
    from bnnlab.families.local import LocalRule as LocalRule
    from bnnlab.families.posterior import BernoulliOptimizer as BernoulliOptimizer
    from bnnlab.families.posterior import PosteriorOptimizer as PosteriorOptimizer
    from bnnlab.interfaces.batch import Batch as Batch
    from bnnlab.interfaces.context import TaskContext as TaskContext
    from bnnlab.interfaces.conversion import Conversion as Conversion
    from bnnlab.interfaces.examples import Examples as Examples
    from bnnlab.interfaces.keeping import keeping as keeping
    from bnnlab.interfaces.keeping import kept as kept
    from bnnlab.interfaces.memory import Memory as Memory
    from bnnlab.interfaces.model import Model as Model
    from bnnlab.interfaces.objective import Objective as Objective
    from bnnlab.interfaces.objectives import Classes as Classes
    from bnnlab.interfaces.objectives import ClassPerPosition as ClassPerPosition
    from bnnlab.interfaces.objectives import RealNumbers as RealNumbers
    from bnnlab.interfaces.optimizer import Optimizer as Optimizer
    from bnnlab.interfaces.probe import Probe as Probe
    from bnnlab.interfaces.rule import Closure as Closure
    from bnnlab.interfaces.rule import LearningRule as LearningRule
    from bnnlab.interfaces.stream import Task as Task
    from bnnlab.interfaces.stream import TaskStream as TaskStream
    from bnnlab.markers import Above as Above
    from bnnlab.markers import AtLeast as AtLeast
    from bnnlab.markers import AtMost as AtMost
    from bnnlab.markers import Below as Below
    from bnnlab.markers import Decay as Decay
    from bnnlab.markers import FilePath as FilePath
    from bnnlab.markers import Part as Part
    from bnnlab.markers import Positive as Positive
    from bnnlab.markers import Search as Search
    from bnnlab.nn.layers import BinaryConv1d as BinaryConv1d
    from bnnlab.nn.layers import BinaryConv2d as BinaryConv2d
    from bnnlab.nn.layers import BinaryConv3d as BinaryConv3d
    from bnnlab.nn.layers import BinaryConvTranspose1d as BinaryConvTranspose1d
    from bnnlab.nn.layers import BinaryConvTranspose2d as BinaryConvTranspose2d
    from bnnlab.nn.layers import BinaryConvTranspose3d as BinaryConvTranspose3d
    from bnnlab.nn.layers import BinaryLinear as BinaryLinear
    from bnnlab.nn.layers import Sign as Sign
    from bnnlab.nn.normalization import BatchNorm as BatchNorm
    from bnnlab.registry.components import Command as Command
    from bnnlab.registry.components import Component as Component
    from bnnlab.registry.components import Kind as Kind
    from bnnlab.registry.components import Section as Section
    from bnnlab.registry.declaration import Option as Option
    from bnnlab.registry.declaration import When as When
    from bnnlab.registry.hookspecs import hookimpl as hookimpl
    from bnnlab.registry.host import PluginHost as PluginHost

_HOMES = {
    "api": ("create", "run"),
    "conversion.binarization": ("binarize",),
    "registry.components": ("Command", "Component", "Kind", "Section"),
    "registry.declaration": ("Option", "When"),
    "markers": (
        "Above",
        "AtLeast",
        "AtMost",
        "Below",
        "Decay",
        "FilePath",
        "Part",
        "Positive",
        "Search",
    ),
    "errors": ("BnnlabError", "DataError", "DownloadError", "RunError", "UsageError"),
    "engine.result": ("Result",),
    "registry.hookspecs": ("hookimpl",),
    "registry.host": ("PluginHost",),
    "families.around": ("OptimizerAround", "RuleAround"),
    "families.latent": ("LatentOptimizer",),
    "nn.layers": (
        "BinaryConv1d",
        "BinaryConv2d",
        "BinaryConv3d",
        "BinaryConvTranspose1d",
        "BinaryConvTranspose2d",
        "BinaryConvTranspose3d",
        "BinaryLinear",
        "Sign",
    ),
    "engine.loading": ("load",),
    "engine.making": ("Maker",),
    "engine.own_loop": ("evaluate",),
    "families.local": ("LocalRule",),
    "interfaces.batch": ("Batch",),
    "interfaces.context": ("TaskContext",),
    "interfaces.conversion": ("Conversion",),
    "interfaces.examples": ("Examples",),
    "interfaces.keeping": ("keeping", "kept"),
    "interfaces.memory": ("Memory",),
    "interfaces.model": ("Model",),
    "nn.normalization": ("BatchNorm",),
    "interfaces.objective": ("Objective",),
    "interfaces.objectives": ("ClassPerPosition", "Classes", "RealNumbers"),
    "interfaces.optimizer": ("Optimizer",),
    "families.posterior": ("BernoulliOptimizer", "PosteriorOptimizer"),
    "interfaces.probe": ("Probe",),
    "interfaces.rule": ("Closure", "LearningRule"),
    "conversion.segments": ("cut",),
    "conversion.streams": ("stream_from",),
    "interfaces.stream": ("Task", "TaskStream"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME_OF, "__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'bnnlab' has no attribute {name!r}")
        return getattr(import_module(f"bnnlab.{_HOME_OF[name]}"), name)
