"""Load a model of transformers' own code from a local folder or a GGUF file, and look into it through hooks.

In: a checked folder or file. Out: a `HookedModel`. No remote code, no pickle, nothing fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from latentlens.errors import ModelError
from latentlens.models.hooked import HookedModel
from latentlens.models.tokens import Tokenizer
from latentlens.models.wrapping import wrap


def from_folder(folder: Path, *, masked: bool, dtype: torch.dtype | None, device: torch.device) -> HookedModel:
    """A folder with `config.json` and safetensors; refuses missing and unknown tensors, by name."""
    model = _load(folder, masked=masked, dtype=dtype, device=device)
    model.tokenizer = Tokenizer.from_folder(folder)
    return model


def from_gguf(path: Path, *, dtype: torch.dtype | None, device: torch.device) -> HookedModel:
    """A decoder in a GGUF file, with its quantised weights unpacked; its tokenizer is in the file too."""
    model = _load(path.parent, masked=False, dtype=dtype, device=device, gguf_file=path.name)
    model.tokenizer = gguf_tokenizer(path)
    return model


def _load(
    folder: Path, *, masked: bool, dtype: torch.dtype | None, device: torch.device, **options: Any
) -> HookedModel:
    import transformers

    loader: Any = transformers.AutoModelForMaskedLM if masked else transformers.AutoModelForCausalLM
    what = folder / options["gguf_file"] if options else folder
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        module, found = loader.from_pretrained(
            folder,
            dtype="auto" if dtype is None else dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers raises many kinds for a file that is damaged or does not fit
        reason = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0].removesuffix(": ")
        raise ModelError(f"expected a whole model in {what}, got one that cannot be loaded ({reason})") from None
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
    for kind, keys in (("missing", found["missing_keys"]), ("unknown", found["unexpected_keys"])):
        if keys:
            name = sorted(keys)[0]
            raise ModelError(f"expected config and tensors that fit in {what}, got the {kind} tensor {name}")
    return wrap(module.to(device).eval().requires_grad_(False))


def gguf_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a GGUF file: built from its tokens and merges where they are byte-level BPE of a known kind.

    That takes a tenth of a second; the general way through transformers takes some twenty.
    """
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
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
