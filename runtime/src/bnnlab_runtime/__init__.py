"""Prediction with binary networks that bnnlab-export wrote, without torch and without bnnlab.

```python
model = bnnlab_runtime.load("model.bnn")
classes = model.predict(images)  # uint8 (B, C, H, W), as stored
```
"""

from bnnlab_runtime.errors import BadFile
from bnnlab_runtime.model import Model, Uncertainty, load

__all__ = ["BadFile", "Model", "Uncertainty", "load"]
