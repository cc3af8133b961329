"""The last few of anything, by key.

In: keys and values. Out: the values, until there are too many. Safe to use from threads; knows nothing else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The last few values, by key; the one not touched for longest goes first. Safe to use from threads.

    >>> kept = Kept(2)
    >>> for letter in "abc":
    ...     kept.put(letter, letter.upper())
    >>> kept.get("a"), kept.get("c")
    (None, 'C')
    """

    def __init__(self, most: int) -> None:
        self._most, self._values, self._lock = most, OrderedDict[str, Value](), threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def values(self) -> list[Value]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._values.values())

    def get(self, key: str) -> Value | None:
        """The value, which now counts as the latest, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: str, value: Value) -> None:
        """Keep a value, and let go of the oldest where there are too many."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
