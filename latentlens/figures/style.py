"""How figures look: one palette for both backends, and the widths of paper columns.

In: nothing. Out: colours and sizes, as plain data; imports neither plotly nor matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import xarray as xr

from latentlens.names import STYLES

PALETTE = ("#0072b2", "#d48c00", "#09ba67", "#ae5889", "#6f9eff", "#ab4339", "#7058d8", "#896c00")
"""Colours of candidates: any two are apart with every kind of colour vision (a test measures it), and all can be seen
on a white and on a dark page."""
OTHER = "#b4b8bf"
"""The mass that no candidate holds."""
PLAYHEAD = "#e5484d"
"""The marker of an iteration."""

Ramp = tuple[tuple[float, str], ...]
RAMPS: dict[str, tuple[Ramp, Ramp]] = {
    "entropy": (
        ((0.0, "#f7fafd"), (0.35, "#b9d5ea"), (0.7, "#4a90c2"), (1.0, "#0b3c6f")),
        ((0.0, "#1b2230"), (0.35, "#214a78"), (0.7, "#4593cf"), (1.0, "#d8ecfb")),
    ),
    "kl_to_final": (
        ((0.0, "#fdf9f4"), (0.35, "#f5cfa0"), (0.7, "#d67f2c"), (1.0, "#6e3306")),
        ((0.0, "#262019"), (0.35, "#6b3f14"), (0.7, "#d98a3d"), (1.0, "#fdebd3")),
    ),
    "prob": (
        ((0.0, "#f6fbf8"), (0.35, "#b4dcc8"), (0.7, "#3f9c78"), (1.0, "#064b35")),
        ((0.0, "#18241f"), (0.35, "#1d5a44"), (0.7, "#45ab85"), (1.0, "#d9f4e8")),
    ),
    "distance": (
        ((0.0, "#fdf3bd"), (0.35, "#8fcfa6"), (0.7, "#2b86a0"), (1.0, "#1f2560")),
        ((0.0, "#2b2f6e"), (0.35, "#2b7f9e"), (0.7, "#7ccfa2"), (1.0, "#fdf3bd")),
    ),
    "iteration": (
        ((0.0, "#f2c14e"), (0.35, "#e0705a"), (0.7, "#97408f"), (1.0, "#30206e")),
        ((0.0, "#5b4bb0"), (0.35, "#b2559f"), (0.7, "#f08060"), (1.0, "#ffe08a")),
    ),
}
"""For each quantity, its ramp on a light and on a dark page; low values are near the page."""


AT_REST = ("#cfd2d7", "#3d424b")
"""A cell that only rounding moves, on a light and on a dark page: grey, which no ramp is."""


@dataclass(frozen=True)
class Ink:
    """The neutral colours of a page."""

    text: str
    muted: str
    grid: str
    page: str
    faint: str


LIGHT = Ink(text="#22262d", muted="#5c6470", grid="#e7e9ed", page="#ffffff", faint="#9aa1ac")
DARK = Ink(text="#e6e8ec", muted="#a3abb8", grid="#2f343d", page="#1a1c21", faint="#6b7381")


@dataclass(frozen=True)
class PaperStyle:
    """A venue's column: its width in inches and the size of the figure's text in points."""

    width: float
    size: float


PAPERS = {
    "default": PaperStyle(6.0, 9.0),
    "neurips": PaperStyle(5.5, 8.5),
    "icml": PaperStyle(3.25, 7.5),
    "icml-wide": PaperStyle(6.75, 8.5),
    "iclr": PaperStyle(5.5, 8.5),
    "acl": PaperStyle(3.03, 7.5),
    "acl-wide": PaperStyle(6.30, 8.5),
}
assert tuple(PAPERS) == STYLES


def token_slots(out: xr.Dataset) -> dict[int, int]:
    """A number for every candidate of a readout, the same in every picture of it: its place in the palette.

    Counted in the order of the candidates: first those at each prompt's last token, then the other positions.

    >>> import latentlens as ll
    >>> out = ll.decode(ll.capture(ll.load("walks"), "Ann", iterations=2), track=["Ann", "Bob"])
    >>> list(token_slots(out).values())
    [0, 1]
    """
    slots: dict[int, int] = {}
    candidates = out.candidate_token.values
    lengths = (out.token.values != -1).sum(1)
    rows = [candidates[prompt, length - 1] for prompt, length in enumerate(lengths)]
    for token in _flat(rows):
        if token >= 0:
            slots.setdefault(token, len(slots))
    for token in candidates.ravel().tolist():
        if token >= 0:
            slots.setdefault(token, len(slots))
    return slots


def slot_colour(slot: int) -> str:
    """The colour of a candidate's slot (-1 is the rest); beyond the palette it starts again, lighter and darker.

    >>> slot_colour(0), slot_colour(-1)
    ('#0072b2', '#b4b8bf')
    """
    if slot < 0:
        return OTHER
    turn, place = divmod(slot, len(PALETTE))
    base = PALETTE[place]
    return (
        base if turn == 0 else mix(base, "#ffffff" if turn % 2 else "#000000", min(0.2 + 0.2 * ((turn + 1) // 2), 0.7))
    )


def mix(colour: str, other: str, share: float) -> str:
    """A colour moved towards another by a share from 0 to 1.

    >>> mix("#000000", "#ffffff", 0.5)
    '#808080'
    """
    pairs = zip(rgb(colour), rgb(other), strict=True)
    return "#" + "".join(f"{int((1 - share) * a + share * b + 0.5):02x}" for a, b in pairs)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`, from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG), from 0 (black) to 1 (white).

    >>> luminance("#ffffff")
    1.0
    """
    parts = (c / 255 for c in rgb(colour))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return round(0.2126 * r + 0.7152 * g + 0.0722 * b, 6)


def readable_on(colour: str) -> str:
    """Black or white, whichever has the higher contrast on this colour.

    >>> readable_on("#ffffff"), readable_on("#0b3c6f")
    ('#16191d', '#ffffff')
    """
    return "#16191d" if (luminance(colour) + 0.05) ** 2 > 1.05 * 0.06 else "#ffffff"


def on_ramp(ramp: Ramp, value: float) -> str:
    """The colour of a value from 0 to 1 on a ramp.

    >>> on_ramp(((0.0, "#000000"), (1.0, "#ffffff")), 0.5)
    '#808080'
    """
    value = min(max(value, 0.0), 1.0)
    for (low, a), (high, b) in pairwise(ramp):
        if value <= high:
            return mix(a, b, (value - low) / (high - low))
    return ramp[-1][1]


def _flat(rows: Iterable) -> list[int]:
    return [int(token) for row in rows for token in row]
