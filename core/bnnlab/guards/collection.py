"""Python's search for unreachable cycles of objects, put off where it finds nothing."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def put_off() -> Iterator[None]:
    """Search for no cycles in this block, in which modules are imported.

    They make many objects, which all stay. Searches among them take a fifth of the import of torch.
    If that happens in this block, no later search looks at what there is at its end.
    """
    was_on, is_new = gc.isenabled(), "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if is_new and "torch" in sys.modules:
            gc.freeze()
            atexit.register(gc.unfreeze)  # or libraries complain that their objects were not freed
        if was_on:
            gc.enable()
