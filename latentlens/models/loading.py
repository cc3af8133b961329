"""Load a model by name: find it, recognise its family, fill it with its own tensors.

In: a shipped name, a folder, a hub id or a GGUF file. Out: a `LatentModel`, ready to run.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlens.errors import ModelError
from latentlens.models import SHIPPED, Family
from latentlens.models.base import LatentModel
from latentlens.models.checkpoint import preflight, read_config, read_tensors
from latentlens.models.tokens import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(name: str, *, dtype: str | torch.dtype | None = None, device: str | torch.device = "cpu") -> LatentModel:
    """Load a model that latentlens understands; no remote code is run and no pickle is read.

    Args:
        name: a shipped model ("walks"), a folder with `config.json` and `*.safetensors`, a hub id, or a `.gguf` file.
        dtype: "float32", "bfloat16", "float16" or the torch dtype; None keeps the dtype of the stored weights.
        device: "cpu", "cuda", "mps" or a torch device.

    Raises:
        ModelError: the model cannot be found, is damaged, or has a config value or tensor that is not understood.

    >>> import latentlens as ll
    >>> model = ll.load("walks", dtype="bfloat16")
    >>> model.family, model.dtype
    ('raven', torch.bfloat16)
    """
    wanted = _checked_dtype(dtype)
    where = _checked_device(device)
    place, family = preflight(name)
    if family is None:
        from latentlens.models.pretrained import from_gguf

        model: LatentModel = from_gguf(place, dtype=wanted, device=where)
    elif hasattr(importlib.import_module(family.module), "build"):
        model = _native(place, family, wanted, where)
    else:
        from latentlens.models.pretrained import from_folder

        model = from_folder(place, masked=family.name == "albert", dtype=wanted, device=where)
    local = name not in SHIPPED and Path(name).expanduser().exists()
    model.name = place.resolve().name if local else name
    model.truth = SHIPPED[name].truth if name in SHIPPED else None
    return model


def _native(folder: Path, family: Family, dtype: torch.dtype | None, device: torch.device) -> LatentModel:
    """A model of our own code, filled with a folder's tensors."""
    model, tensors = importlib.import_module(family.module).build(read_config(folder), read_tensors(folder))
    fill(model, tensors, folder)
    model.to(device=device, dtype=dtype)
    model.eval().requires_grad_(False)
    model.tokenizer = Tokenizer.from_folder(folder)
    return model


def fill(model: Any, tensors: dict[str, Tensor], where: object) -> None:
    """Give an empty module its tensors without a copy; refuses missing, unknown and misshapen ones, by name."""
    wanted = dict(model.state_dict())
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing:
        raise ModelError(f"expected the tensor {missing[0]} in {where}, got none ({len(missing)} missing)")
    if unknown:
        raise ModelError(f"expected only known tensors in {where}, got {unknown[0]} ({len(unknown)} unknown)")
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            raise ModelError(
                f"expected {key} of shape {list(wanted[key].shape)} in {where}, got {list(tensor.shape)}: "
                "config and weights do not belong together"
            )
    model.load_state_dict(tensors, assign=True)
    model.tie()


def _checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or dtype in DTYPES.values():
        return dtype  # type: ignore[return-value]
    if str(dtype) in DTYPES:
        return DTYPES[str(dtype)]
    raise ModelError(f"expected dtype to be {', '.join(DTYPES)} or None, got {dtype!r}")


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"expected a device that torch can use here, got {device!r}: {reason}") from None
    return where
