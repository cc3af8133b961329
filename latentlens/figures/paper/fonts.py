"""Which characters the paper's fonts can draw."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

FAMILIES = ("STIXGeneral", "DejaVu Sans")
"""Times-like and shipped with matplotlib; the second fills gaps of the first."""


@lru_cache(maxsize=1)
def _fonts() -> tuple[Any, ...]:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    return tuple(FT2Font(font_manager.findfont(family)) for family in FAMILIES)


@lru_cache(maxsize=65_536)
def has_glyph(character: str) -> bool:
    """Whether one of the fonts has this character.

    >>> has_glyph("a"), has_glyph("中")
    (True, False)
    """
    return any(font.get_char_index(ord(character)) for font in _fonts())


@lru_cache(maxsize=65_536)
def text_width(text: str) -> float:
    """The width of a text, by its size.

    >>> 1.2 < text_width("Ann") < 2.0
    True
    """
    font = next((f for f in _fonts() if all(f.get_char_index(ord(c)) for c in text)), _fonts()[-1])
    font.set_size(100, 72)
    font.set_text(text)
    return float(font.get_width_height()[0]) / 6400
