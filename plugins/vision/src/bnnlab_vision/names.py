"""What the names of files and folders say: parts of a data set, and what desktops leave behind."""

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
"""Names of the parts; in any case, and with any of these before or behind, and a number:"""
AFFIXES = ("images?", "imgs?", "pictures?", "photos?", "data", "dataset", "set", "split", "part")

LEFTOVERS = frozenset(
    {"__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin"}
    | {"system volume information", "lost+found", "__pycache__"}
    | {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"}
)
"""What macOS, Windows, Python and network storage leave; names that begin with a dot besides."""

NAMED = 5
"""Names that a message lists."""

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
    """Return a name as it is compared: macOS may write an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


def is_hidden(name: str) -> bool:
    """Say whether a file or folder is none of the user's data."""
    return name.startswith(".") or name.casefold() in LEFTOVERS


def role_of(name: str) -> Role | None:
    """Return the part that a folder of this name is, as `Train_Images` and `valset` say it."""
    key = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
    return next((role for role, pattern in _PATTERNS.items() if pattern.fullmatch(key)), None)


def hints_at(name: str) -> Role | None:
    """Return the part that a word of a longer name speaks of, as `seg_train` and `testB` do."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    for word in re.split(r"[\W_\d]+", spaced.casefold()):
        for role, words in PARTS.items():
            if word in words or word.startswith(_BEGINNINGS[role]):
                return role
    return None


def listed(names: Iterable[str]) -> str:
    """Return the first names of a list for a message, and how many more there are."""
    found = list(names)
    more = f", and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more
