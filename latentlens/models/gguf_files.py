"""GGUF files: their header, read once, and the tokenizer in it.

In: the path of a file. Out: the header's fields, and a `Tokenizer`. Weights are unpacked by transformers.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from latentlens.errors import ModelError
from latentlens.models.tokens import Tokenizer

_READING = threading.Lock()


@contextmanager
def read_once(path: Path) -> Iterator[dict[str, Any]]:
    """The fields of a file's header; within, `gguf` hands the same header out again where transformers asks for it.

    transformers reads the header twice and makes the table of tensor names once a module of the model, which for a
    small model with a large vocabulary is most of the time that loading takes.

    Raises:
        ModelError: a file that is damaged.
    """
    gguf: Any = importlib.import_module("gguf")

    with _READING:
        reader_of, names_of = gguf.GGUFReader, gguf.get_tensor_name_map
        try:
            reader = reader_of(path)
        except Exception as error:  # numpy and gguf raise several kinds for a damaged file
            reason = f"{type(error).__name__}: {error}"
            raise ModelError(f"expected a whole model in {path}, got one that cannot be loaded ({reason})") from None

        def known(wanted: Any, *rest: Any) -> Any:
            return reader if Path(wanted) == path and not rest else reader_of(wanted, *rest)

        try:
            gguf.GGUFReader, gguf.get_tensor_name_map = known, lru_cache(names_of)
            yield reader.fields
        finally:
            gguf.GGUFReader, gguf.get_tensor_name_map = reader_of, names_of


def gguf_tokenizer(path: Path, fields: dict[str, Any]) -> Tokenizer:
    """The tokenizer of a GGUF file: built from its tokens and merges where they are byte-level BPE of a known kind.

    That takes a tenth of a second; the general way through transformers takes some twenty.
    """
    kind = [_content(fields, f"tokenizer.ggml.{key}") for key in ("model", "pre")]
    if kind[0] == "gpt2" and kind[1] in ("smollm", "gpt-2"):
        return Tokenizer(_byte_level(fields, split_digits=kind[1] == "smollm"))
    import transformers

    slow = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    return Tokenizer(slow.backend_tokenizer)


def _byte_level(fields: dict[str, Any], *, split_digits: bool) -> Any:
    from tokenizers import AddedToken, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    tokens = _content(fields, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in _content(fields, "tokenizer.ggml.merges")]
    backend = Backend(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    split = [pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    kinds = _content(fields, "tokenizer.ggml.token_type")
    backend.add_special_tokens([AddedToken(t, special=True) for t, kind in zip(tokens, kinds) if kind == 3])
    return backend


def _content(fields: dict[str, Any], key: str) -> Any:
    return fields[key].contents() if key in fields else None
