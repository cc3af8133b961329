"""Load a model of transformers' own code from a local folder or a GGUF file, and look into it through hooks.

In: a checked folder or file. Out: a `HookedModel`. No remote code, no pickle, nothing fetched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from latentlens.errors import ModelError
from latentlens.models.gguf_files import gguf_tokenizer, read_once
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
    with read_once(path) as fields:
        model = _load(path.parent, masked=False, dtype=dtype, device=device, gguf_file=path.name)
    model.tokenizer = gguf_tokenizer(path, fields)
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
