"""Prediction with binary networks that bnnlab-export wrote, without torch and without bnnlab.

```python
model = bnnlab_runtime.load("model.bnn")
classes = model.predict(images)  # uint8 (B, C, H, W), as stored
```
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnnlab_runtime.errors import BadFile
    from bnnlab_runtime.model import Model, Uncertainty, load

__all__ = ["BadFile", "Model", "Uncertainty", "load"]


if not TYPE_CHECKING:  # checkers would take any name for one that there is

    def __getattr__(name: str) -> Any:
        """Import NumPy with the first name: the command says before how many threads it has."""
        if name not in __all__:
            raise AttributeError(f"module 'bnnlab_runtime' has no attribute {name!r}")
        from bnnlab_runtime import model

        return getattr(model, name)
