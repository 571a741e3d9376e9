"""bnnlab: a workbench for learning methods of binarised neural networks.

Importing this package imports no torch: what needs it is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnnlab.api import create as create
    from bnnlab.api import run as run
    from bnnlab.binarization import binarize as binarize
    from bnnlab.components import Component as Component
    from bnnlab.components import Kind as Kind
    from bnnlab.components import Option as Option
    from bnnlab.conversion import Conversion as Conversion
    from bnnlab.errors import BnnlabError as BnnlabError
    from bnnlab.errors import DataError as DataError
    from bnnlab.errors import RunError as RunError
    from bnnlab.errors import UsageError as UsageError
    from bnnlab.hookspecs import hookimpl as hookimpl
    from bnnlab.host import PluginHost as PluginHost
    from bnnlab.latent import LatentOptimizer as LatentOptimizer
    from bnnlab.layers import BinaryConv1d as BinaryConv1d
    from bnnlab.layers import BinaryConv2d as BinaryConv2d
    from bnnlab.layers import BinaryConv3d as BinaryConv3d
    from bnnlab.layers import BinaryConvTranspose1d as BinaryConvTranspose1d
    from bnnlab.layers import BinaryConvTranspose2d as BinaryConvTranspose2d
    from bnnlab.layers import BinaryConvTranspose3d as BinaryConvTranspose3d
    from bnnlab.layers import BinaryLinear as BinaryLinear
    from bnnlab.layers import Sign as Sign
    from bnnlab.loading import load as load
    from bnnlab.local import LocalRule as LocalRule
    from bnnlab.model import Model as Model
    from bnnlab.normalization import BatchNorm as BatchNorm
    from bnnlab.optimizer import Optimizer as Optimizer
    from bnnlab.optimizer import TaskContext as TaskContext
    from bnnlab.posterior import BernoulliOptimizer as BernoulliOptimizer
    from bnnlab.posterior import PosteriorOptimizer as PosteriorOptimizer
    from bnnlab.result import Result as Result
    from bnnlab.rule import Batch as Batch
    from bnnlab.rule import Closure as Closure
    from bnnlab.rule import LearningRule as LearningRule
    from bnnlab.segments import cut as cut
    from bnnlab.stream import Examples as Examples
    from bnnlab.stream import Task as Task
    from bnnlab.stream import TaskStream as TaskStream

_HOMES = {
    "api": ("create", "run"),
    "binarization": ("binarize",),
    "components": ("Component", "Kind", "Option"),
    "conversion": ("Conversion",),
    "errors": ("BnnlabError", "DataError", "RunError", "UsageError"),
    "result": ("Result",),
    "hookspecs": ("hookimpl",),
    "host": ("PluginHost",),
    "latent": ("LatentOptimizer",),
    "layers": (
        "BinaryConv1d",
        "BinaryConv2d",
        "BinaryConv3d",
        "BinaryConvTranspose1d",
        "BinaryConvTranspose2d",
        "BinaryConvTranspose3d",
        "BinaryLinear",
        "Sign",
    ),
    "loading": ("load",),
    "local": ("LocalRule",),
    "model": ("Model",),
    "normalization": ("BatchNorm",),
    "optimizer": ("Optimizer", "TaskContext"),
    "posterior": ("BernoulliOptimizer", "PosteriorOptimizer"),
    "rule": ("Batch", "Closure", "LearningRule"),
    "segments": ("cut",),
    "stream": ("Examples", "Task", "TaskStream"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME_OF, "__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bnnlab' has no attribute {name!r}")
    return getattr(import_module(f"bnnlab.{_HOME_OF[name]}"), name)
