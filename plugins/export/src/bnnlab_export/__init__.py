"""Exports of trained binary networks, as files that `bnnlab_runtime` predicts with."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab_export.exported import Contents as Contents
    from bnnlab_export.exported import Exported as Exported
    from bnnlab_export.exporting import export as export
    from bnnlab_export.preview import preview as preview
    from bnnlab_export.reading import export_run as export_run

_HOMES = {
    "Contents": "exported",
    "Exported": "exported",
    "export": "exporting",
    "export_run": "reading",
    "preview": "preview",
}
__all__ = ["Contents", "Exported", "export", "export_run", "preview"]


if not TYPE_CHECKING:  # checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'bnnlab_export' has no attribute {name!r}")
        return getattr(import_module(f"bnnlab_export.{_HOMES[name]}"), name)
