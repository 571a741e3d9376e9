"""What a class says of its methods, such as `stackable`."""

from typing import Any


def says(part: Any, name: str) -> bool:
    """Return whether a part says something by the class that has its methods.

    A class that changes a method says it again: what one before it says, is of other methods.
    """
    classes = type(part).__mro__
    said = next(each for each in classes if name in vars(each))
    later = [vars(each).items() for each in classes[: classes.index(said)]]
    changed = {method for its in later for method, value in its if callable(value)}
    is_own = not any(hasattr(said, method) for method in changed - {"__init__"})
    return bool(getattr(part, name)) and is_own
