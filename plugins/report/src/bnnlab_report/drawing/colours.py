"""Colours of heat maps, and which ink is read on them."""

VIRIDIS = (
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
)
"""From dark to light, evenly to the eye (van der Walt and Smith, 2015)."""


def shade(share: float) -> str:
    """Return the colour of a share of 1, as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*_mixed(share))


def ink(share: float) -> str:
    """Return black or white, whichever contrasts more with the `shade`; at least 4.5 to 1."""
    red, green, blue = (_linear(part / 255) for part in _mixed(share))
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#fff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000"


def _mixed(share: float) -> tuple[int, ...]:
    place = min(max(share, 0.0), 1.0) * (len(VIRIDIS) - 1)
    below = min(int(place), len(VIRIDIS) - 2)
    part = place - below
    pairs = zip(VIRIDIS[below], VIRIDIS[below + 1], strict=True)
    return tuple(round(a + part * (b - a)) for a, b in pairs)


def _linear(part: float) -> float:
    """Return the linear value of a part of an sRGB colour, as WCAG 2 defines it."""
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)
