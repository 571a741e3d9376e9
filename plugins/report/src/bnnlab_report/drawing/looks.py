"""What tells series apart: colour, marker and dash."""

from dataclasses import dataclass

LOOKS = 7
"""Colours in style.css, `.look0` and so on."""
MARKERS = (
    "m-3.6,0a3.6,3.6 0 1,0 7.2,0a3.6,3.6 0 1,0 -7.2,0z",
    "m-3.2-3.2h6.4v6.4h-6.4z",
    "m0-4.2l4.2,7.6h-8.4z",
    "m0-4.6l4.6,4.6l-4.6,4.6l-4.6-4.6z",
    "m0,4.2l4.2-7.6h-8.4z",
    "m-4-1.3h2.7v-2.7h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7z",
    "m-4,0l4-2.6l4,2.6l-4,2.6z",
)
"""Disc, square, triangles, diamonds, cross, around a place: a series is told by its form too."""
DASHES = ("", "7 3", "2 3", "8 3 2 3")
LONGEST = 54
"""Characters of a name that fit a line of a drawing."""


@dataclass(frozen=True)
class Named:
    """What is drawn under a name; `look` is the number of its colour, marker and dash."""

    name: str
    look: int

    @property
    def short(self) -> str:
        """Its name, as far as it fits."""
        return shortened(self.name)

    @property
    def colour(self) -> int:
        """Number of its colour."""
        return self.look % LOOKS

    @property
    def marker(self) -> str:
        """Path of its marker, which follows a place."""
        return MARKERS[self.look % len(MARKERS)]

    @property
    def dash(self) -> str:
        """Lengths of its dashes; empty for a whole line."""
        return DASHES[self.look % len(DASHES)]


def shortened(name: str, most: int = LONGEST) -> str:
    """Return a name of at most so many characters; its middle is left out if need be."""
    half = most // 2
    return name if len(name) <= most else f"{name[: half - 1]}…{name[-half:]}"
