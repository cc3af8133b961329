"""Text to token ids and back, through a `tokenizers` file; a word that is not known is named.

In: a folder with `tokenizer.json`. Out: ids, and one text per id. Two ids with the same text stay two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from latentlens.errors import ModelError, TokenError


class Tokenizer:
    """A tokenizer of the `tokenizers` library, as latentlens uses it.

    >>> from latentlens.models import walks
    >>> tokenizer = Tokenizer.from_folder(walks.FOLDER)
    >>> [tokenizer.text(i) for i in tokenizer.encode("2 steps from Ann")]
    ['2', 'steps', 'from', 'Ann']
    """

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.by_word = type(backend.model).__name__ == "WordLevel"
        self.text = lru_cache(maxsize=None)(self._text)

    @classmethod
    def from_folder(cls, folder: Path) -> Tokenizer | None:
        """The folder's tokenizer, or None where it has none."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            return None
        from tokenizers import Tokenizer as Backend

        try:
            return cls(Backend.from_file(str(path)))
        except Exception as error:  # the library raises a bare Exception
            raise ModelError(f"expected a tokenizers file in {path}, got one that cannot be read: {error}") from None

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt; refuses an empty one, and an unknown word where words are the tokens."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise TokenError(f"expected a prompt with at least one token, got {prompt!r}: write some text")
        encoding = self.backend.encode(prompt)
        if self.by_word and self.unknown_id in encoding.ids:
            start, end = encoding.offsets[encoding.ids.index(self.unknown_id)]
            raise TokenError(f"expected words that the model knows, got {prompt[start:end]!r}: {self._known()}")
        if not encoding.ids:
            raise TokenError(f"expected a prompt with at least one token, got {prompt!r}: write some text")
        return list(encoding.ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a run of tokens."""
        return self.backend.decode([int(i) for i in ids], skip_special_tokens=False)

    def token_id(self, text: str) -> int:
        """The id of a text that is exactly one token; refuses one that is several."""
        ids = self.backend.encode(text, add_special_tokens=False).ids
        if self.by_word and (not ids or self.unknown_id in ids):
            raise TokenError(f"expected a token that the model knows, got {text!r}: {self._known()}")
        if len(ids) != 1:
            pieces = ", ".join(repr(self.text(i)) for i in ids)
            raise TokenError(f"expected one token, got {text!r}, which is {len(ids)} ({pieces}): name one of them")
        return int(ids[0])

    @cached_property
    def unknown_id(self) -> int | None:
        """The id that stands for whatever is not in the vocabulary, if there is one."""
        return self.backend.token_to_id(getattr(self.backend.model, "unk_token", None) or "[UNK]")

    def _text(self, token: int) -> str:
        raw = self.backend.id_to_token(token)
        if raw is None:
            return f"<{token}>"
        if self.by_word:
            return raw
        # A decoder may strip the first token's space, so read the token behind another one.
        whole = self.backend.decode([self._anchor, token], skip_special_tokens=False)
        text = whole.removeprefix(self.backend.decode([self._anchor], skip_special_tokens=False))
        return raw if "�" in text or not text else text

    @cached_property
    def _anchor(self) -> int:
        return next((i for t, i in self.backend.get_vocab().items() if re.fullmatch("[a-z]", t)), 0)

    def _known(self) -> str:
        words = sorted(w for w in self.backend.get_vocab() if not re.fullmatch(r"\[\w+\]", w))
        return "known are " + " ".join(words)
