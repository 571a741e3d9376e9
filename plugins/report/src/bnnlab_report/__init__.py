"""Reports of runs and studies: one HTML file. Nothing here imports jinja2 before one is written."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab_report.page import render as render
    from bnnlab_report.page import write as write

__all__ = ["render", "write"]


if not TYPE_CHECKING:  # checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'bnnlab_report' has no attribute {name!r}")
        return getattr(import_module("bnnlab_report.page"), name)
