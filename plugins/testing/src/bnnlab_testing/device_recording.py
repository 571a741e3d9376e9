"""What the simulated device does, recorded and repeated."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from bnnlab_testing.device_rules import DeviceError, flat


class Recording:
    """What happens on the device in a block, to be repeated as a CUDA graph is: without Python.

    An operation reads and writes the memory that it did when it was recorded. In the block, the
    state of a generator of the device may not be read or set.
    """

    current: ClassVar["Recording | None"] = None

    def __init__(self) -> None:
        self.made: list[tuple[Any, Any, dict[str, Any], Any]] = []
        """Operations, what each is given, also by name, and its result."""

    def __enter__(self) -> "Recording":
        Recording.current = self
        return self

    def __exit__(self, *_: object) -> None:
        Recording.current = None

    @torch.no_grad()
    def repeat(self) -> None:
        """Do all of it again."""
        with torch._C._DisableTorchDispatch():
            for operation, args, kwargs, result in self.made:
                again = operation(*args, **kwargs)
                for old, new in zip(flat([result]), flat([again]), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def expect_no_recording() -> None:
    """Raise where something is done that is refused while a step is recorded."""
    if Recording.current:
        raise DeviceError("the state of a generator is read or set while a step is recorded")
