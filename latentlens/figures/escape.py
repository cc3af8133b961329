"""Token text is data: show it literally, whatever it contains.

In: the texts of tokens. Out: one visible line each (`visible`), then escaped for plotly (`for_browser`) or
matplotlib (`for_paper`). Knows nothing about figures.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

SPACE, NEWLINE, TAB, EMPTY, CUT = "␣", "↵", "⇥", "∅", "…"
_SHOWN = {"\n": NEWLINE, "\r": "␍", "\t": TAB}
_HIDDEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs")


@lru_cache(maxsize=65_536)
def visible(text: str, limit: int | None = None) -> str:
    r"""A token's text on one line, with marks for what would not be seen; cut to `limit` characters if given.

    >>> visible(" Paris"), visible("a\nb\t"), visible(""), visible("\u202e"), visible("a b")
    ('␣Paris', 'a↵b⇥', '∅', '\\u202e', 'a b')
    >>> visible("Mississippi", limit=6)
    'Missi…'
    """
    if not text:
        return EMPTY
    shown = re.sub(r"^ +| +$| {2,}", lambda spaces: SPACE * len(spaces[0]), text)
    shown = "".join(_SHOWN.get(c) or (_code(c) if c != " " and _is_hidden(c) else c) for c in shown)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + CUT


def apart(text: str) -> str:
    """A token's text in quotes where it is all marks and no letters: a full stop among points would be one of them.

    >>> apart("."), apart("Ann")
    ('“.”', 'Ann')
    """
    return text if any(c.isalnum() for c in text) else f"“{visible(text)}”"


def for_browser(text: str, limit: int | None = None) -> str:
    """`visible`, with what plotly (tags, `%{templates}`) or MathJax would interpret written as entities.

    >>> for_browser("<b>$x$</b>"), for_browser("%{y}")
    ('&lt;b&gt;&#36;x&#36;&lt;/b&gt;', '&#37;{y}')
    """
    return html.escape(visible(text, limit), quote=False).replace("$", "&#36;").replace("%", "&#37;")


def for_paper(text: str, limit: int | None = None) -> str:
    r"""`visible`, with dollars escaped, so that matplotlib sees no mathematics; and codes where it has no glyph.

    >>> for_paper("$x$")
    '\\$x\\$'
    """
    from latentlens.figures.paper.fonts import has_glyph

    shown = "".join(c if has_glyph(c) else _code(c) for c in visible(text, limit))
    return shown.replace("$", r"\$")


def distinct(tokens: Sequence[int], texts: Iterable[str]) -> list[str]:
    """The texts, with the id behind those that two different tokens share.

    >>> distinct([5, 7, 9], ["a", "a", "b"])
    ['a (5)', 'a (7)', 'b']
    """
    names = list(texts)
    owners: dict[str, set[int]] = {}
    for token, name in zip(tokens, names, strict=True):
        owners.setdefault(name, set()).add(int(token))
    return [f"{n} ({t})" if len(owners[n]) > 1 else n for t, n in zip(tokens, names, strict=True)]


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
