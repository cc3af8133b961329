"""Which candidates a page follows: what a reader types, as `track=` of `ll.decode`, and back.

In: entries such as `Bob`, `Paris = Paris, " Paris"`, `<12>` (a token id) or `next`. Out: what decode takes.
Knows nothing about pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import latentlens as ll
from latentlens.errors import ReadoutError

NEXT = "next"
QUOTED = r'"(?:[^"\\]|\\.)*"'
NAMED = re.compile(rf'\s*({QUOTED}|[^="]+?)\s*=\s*(.+)', re.DOTALL)
MEMBER = re.compile(rf"\s*({QUOTED}|[^,]+?)\s*(?:,|$)")
PLAIN = re.compile(r'[^\s,="<](?:[^,="]*[^\s,="])?')
"""A text that is itself when it is read back: no quotes needed."""


def track_of(entries: Sequence[str], model: ll.LatentModel) -> Any:
    """What `ll.decode` is to follow; None, the leaders, where nothing is named.

    >>> model = ll.load("walks")
    >>> track_of([], model), track_of(["Bob", "next"], model)
    (None, ['Bob', 'next'])
    >>> track_of(["boys = Bob, Gus", "Ann"], model)
    {'boys': ['Bob', 'Gus'], 'Ann': ['Ann']}
    """
    if not entries:
        return None
    parsed = [_parsed(entry, model) for entry in entries]
    if all(name is None for name, _ in parsed):
        return [members[0] for _, members in parsed]
    groups: dict[str, Any] = {}
    for name, members in parsed:
        label = name if name is not None else _label(members[0])
        if label in groups:
            raise ReadoutError(f"expected candidates with different names, got {label!r} twice: rename one")
        groups[label] = NEXT if name is None and members == [NEXT] else members
    return groups


def entry_of(token: int, model: ll.LatentModel) -> str:
    """What a reader would type for a token: its text, in quotes where that needs them, or its id.

    >>> model = ll.load("walks")
    >>> entry_of(model.tokenizer.token_id("Bob"), model)
    'Bob'
    """
    text = model.tokenizer.text(token) if model.tokenizer else ""
    if not text or not _is(text, token, model):
        return f"<{token}>"
    return text if PLAIN.fullmatch(text) and text != NEXT else json.dumps(text, ensure_ascii=False)


def _is(text: str, token: int, model: ll.LatentModel) -> bool:
    """Whether a text is read as this token."""
    try:
        return model.tokenizer is not None and model.tokenizer.token_id(text) == token
    except ll.LatentLensError:
        return False


def _parsed(entry: str, model: ll.LatentModel) -> tuple[str | None, list[str | int]]:
    """The name of an entry (None: it is one token) and its members."""
    named = NAMED.fullmatch(entry)
    members = _members(named[2] if named else entry, model)
    if named:
        return str(_read(named[1])), members
    return (None if len(members) == 1 else entry.strip()), members


def _members(text: str, model: ll.LatentModel) -> list[str | int]:
    found, at = [], 0
    while at < len(text):
        part = MEMBER.match(text, at)
        if part is None:
            raise ReadoutError(
                f'expected tokens to follow, such as Bob, " Bob", <12>, next or name = Bob, Gus, got {text[:40]!r}: '
                "put quotes around a text with commas or spaces at its ends"
            )
        found.append(_member(part[1], model))
        at = part.end()
    if not found:
        raise ReadoutError("expected a token to follow, got an empty entry: write a token, its id as <12>, or next")
    return found


def _member(word: str, model: ll.LatentModel) -> str | int:
    if re.fullmatch(r"<\d{1,18}>", word):
        return int(word[1:-1])
    if model.tokenizer is None and re.fullmatch(r"[0-9]{1,18}", word):
        return int(word)
    return _read(word)


def _read(word: str) -> str:
    """A text without its quotes."""
    if not re.fullmatch(QUOTED, word, re.DOTALL):
        return word
    try:
        return str(json.loads(word))
    except ValueError:
        return word[1:-1]


def _label(member: str | int) -> str:
    return member if isinstance(member, str) else f"<{member}>"
