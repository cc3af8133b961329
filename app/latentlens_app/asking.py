"""What a page asks for: a model, a prompt, how to run it and how to read it.

In: the values of the controls, unchecked. Out: an `Ask`, which recognises itself and writes itself as Python.
Knows nothing about pages.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from latentlens import LatentLensError, LatentModel
from latentlens.errors import TokenError
from latentlens.models.describing import free_count

ITERATIONS = 16
"""How many a page opens with: enough to settle, few enough that every cell of the grid can be read."""
MOST_ITERATIONS = 1000
MOST_CELLS = 40_000
"""More than this many (token, iteration) cells are not legible, and slow in a browser."""


@dataclass(frozen=True)
class Ask:
    """One run, as the controls describe it; the values are checked by latentlens when it runs.

    `iterations` None is the model's own number; no `track` follows the leaders.

    >>> ask = Ask("walks", "2 steps from Ann", 24, 0, "coda")
    >>> Ask.from_page(ask.to_page()) == ask
    True
    """

    model: str
    prompt: str
    iterations: Any = ITERATIONS
    seed: Any = 0
    lens: str = "coda"
    track: tuple[str, ...] = ()

    @classmethod
    def from_page(cls, values: object) -> Ask:
        """Read what a page kept; refuses what is not an ask."""
        known = [field.name for field in fields(cls)]
        if not isinstance(values, dict) or sorted(values) != sorted(known):
            raise LatentLensError(f"expected an ask with {', '.join(known)}, got {values!r}: reload the page")
        texts = ("model", "prompt", "lens")
        if any(not isinstance(values[name], str) for name in texts):
            raise LatentLensError(f"expected text for {', '.join(texts)}, got {values!r}: reload the page")
        track = values["track"]
        if not isinstance(track, (list, tuple)) or any(not isinstance(entry, str) for entry in track):
            raise LatentLensError(f"expected texts to follow, got {track!r}: reload the page")
        return cls(**{**values, "track": tuple(track)})

    def to_page(self) -> dict[str, Any]:
        """The same as plain JSON, for a page to keep."""
        return {**asdict(self), "track": list(self.track)}

    @property
    def key(self) -> str:
        """A short name of exactly this ask."""
        return _digest(self.to_page())

    @property
    def states_key(self) -> str:
        """A short name of what has the same states: all but how they are read."""
        return _digest({**self.to_page(), "lens": "", "track": []})

    def iterations_of(self, model: LatentModel) -> Any:
        """What was asked for; the model's own number where that was left open, or cannot be chosen."""
        return model.iterations if self.iterations is None or not free_count(model) else self.iterations

    def ids_for(self, model: LatentModel) -> list[int] | None:
        """The token ids that the prompt lists, for a model without a tokenizer; None where the prompt is text."""
        return None if model.tokenizer is not None else ids_in(self.prompt, model)

    def check(self) -> None:
        """Refuse, before a model is loaded, what a page could not show."""
        if isinstance(self.iterations, int) and self.iterations > MOST_ITERATIONS:
            raise LatentLensError(
                f"expected at most {MOST_ITERATIONS} iterations on the dashboard, got {self.iterations}: "
                "use ll.capture for a longer run"
            )

    def check_size(self, tokens: int, iterations: int) -> None:
        """Refuse more cells than a browser can show."""
        if tokens * iterations > MOST_CELLS:
            raise LatentLensError(
                f"expected at most {MOST_CELLS} cells (tokens x iterations) on the dashboard, "
                f"got {tokens} x {iterations}: shorten the prompt, or use ll.capture"
            )


def ids_in(prompt: str, model: LatentModel) -> list[int]:
    """Token ids out of a prompt such as "12 7 5"; commas and brackets may stand between them."""
    words = re.sub(r"[\[\],;]", " ", prompt).split()
    wanted = f"expected token ids from 0 to {model.vocab_size - 1}, separated by spaces"
    why = f"{model.name!r} came without a tokenizer, write for example 12 7 5"
    if not words:
        raise TokenError(f"{wanted}, got none: {why}")
    for word in words:
        if not (word.isascii() and word.isdigit() and int(word[:20]) < model.vocab_size):
            raise TokenError(f"{wanted}, got {word[:40]!r}: {why}")
    return [int(word) for word in words]


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:24]
