"""Names of the parts of a data set, and of hidden files."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

Role = Literal["train", "validation", "test"]

ROLES: tuple[Role, ...] = ("train", "validation", "test")
PARTS: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "eval", "evaluation", "dev", "holdout", "heldout"),
    "test": ("test", "tests", "testing", "tst"),
}
"""Names of the parts. Case does not matter; affixes and numbers may be added."""
AFFIXES = ("images?", "imgs?", "pictures?", "photos?", "data", "dataset", "set", "split", "part")

LEFTOVERS = frozenset(
    {"__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"}
    | {"system volume information", "lost+found", "__pycache__"}
    | {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"}
)
"""Hidden names of macOS, Windows, Python and network storage. Names with a leading dot are too."""

NAMED = 5
"""Number of names that a message lists."""

_AFFIX = rf"(?:{'|'.join(AFFIXES)}|\d)*"
_PATTERNS: dict[Role, re.Pattern[str]] = {
    role: re.compile(f"{_AFFIX}(?:{'|'.join(words)}){_AFFIX}") for role, words in PARTS.items()
}
_BEGINNINGS: dict[Role, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("valid", "eval"),
    "test": ("test",),
}


def normal(name: str) -> str:
    """Return a name in Unicode NFC for comparison. macOS may write accents separately."""
    return unicodedata.normalize("NFC", name)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is ignored."""
    return name.startswith(".") or name.casefold() in LEFTOVERS


def role_of(name: str) -> Role | None:
    """Return the part of a folder with this name, e.g. of `Train_Images` and `valset`."""
    key = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
    return next((role for role, pattern in _PATTERNS.items() if pattern.fullmatch(key)), None)


def hints_at(name: str) -> Role | None:
    """Return the part that a word of a longer name hints at, e.g. in `seg_train` and `testB`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    for word in re.split(r"[\W_\d]+", spaced.casefold()):
        for role, words in PARTS.items():
            if word in words or word.startswith(_BEGINNINGS[role]):
                return role
    return None


def listed(names: Iterable[str]) -> str:
    """Return the first names of a list and the number of the others, for a message."""
    found = list(names)
    more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more
