"""An embedding as one .safetensors file: its arrays, and the rest of it as JSON in the file's own metadata.

In: the parts of an `Embedding`. Out: a file, and the same parts again. No pickle, nothing half written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from latentlens.embeddings.frames import Frame
from latentlens.embeddings.layouts import Layout
from latentlens.embeddings.trust import Evidence
from latentlens.errors import StoreError
from latentlens.files import write_whole

FORMAT = 1
KEY = "latentlens.embedding"
LAYOUT = ("points", "coordinates", "index", "distance")


def pack(
    coords: xr.DataArray, frame: Frame, evidence: Evidence, layout: Layout | None, attrs: dict[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and everything else as plain values."""
    tensors = {
        "coords": torch.from_numpy(coords.values),
        "iteration": torch.tensor(coords.iteration.values),
        "frame.mean": frame.mean,
        "frame.components": frame.components,
        "frame.explained_variance": torch.from_numpy(frame.explained_variance),
        "frame.explained_variance_ratio": torch.from_numpy(frame.explained_variance_ratio),
        "evidence.index": evidence.index,
        "evidence.steps": evidence.steps,
        "evidence.ranks": evidence.ranks,
    }
    told: dict[str, Any] = {
        "format": FORMAT,
        "attrs": attrs,
        "coords": coords.attrs,
        "frame": {"states": frame.states, "space": frame.space, "center": frame.center},
        "evidence": {"variance": evidence.variance, "states": evidence.states},
        "layout": None,
    }
    if layout is not None:
        tensors |= {f"layout.{name}": torch.from_numpy(getattr(layout, name)) for name in LAYOUT}
        told["layout"] = {"parameters": layout.parameters, "versions": layout.versions}
    return {name: tensor.contiguous().clone() for name, tensor in tensors.items()}, told


def unpack(
    tensors: dict[str, Tensor], told: dict[str, Any]
) -> tuple[xr.DataArray, Frame, Evidence, Layout | None, dict[str, Any]]:
    """The parts that were packed."""
    values = tensors["coords"].numpy()
    coords = xr.DataArray(
        values,
        dims=("prompt", "iteration", "position", "component"),
        coords={"iteration": tensors["iteration"].numpy(), "component": np.arange(values.shape[-1]) + 1},
        name="coordinate",
        attrs=told["coords"],
    )
    frame = Frame(
        mean=tensors["frame.mean"],
        components=tensors["frame.components"],
        explained_variance=tensors["frame.explained_variance"].numpy(),
        explained_variance_ratio=tensors["frame.explained_variance_ratio"].numpy(),
        **told["frame"],
    )
    evidence = Evidence(
        tensors["evidence.index"], tensors["evidence.steps"], known=tensors["evidence.ranks"], **told["evidence"]
    )
    layout = None
    if told["layout"] is not None:
        arrays: dict[str, Any] = {name: tensors[f"layout.{name}"].numpy() for name in LAYOUT}
        layout = Layout(**arrays, **told["layout"])
    return coords, frame, evidence, layout, told["attrs"]


def write_file(path: Path, tensors: dict[str, Tensor], told: dict[str, Any]) -> Path:
    """Write a file, whole or not at all."""
    if path.suffix != ".safetensors" or not path.parent.is_dir():
        raise StoreError(f"expected a new file x.safetensors in a folder that exists, got {path}")
    write_whole(path, lambda part: save_file(tensors, part, {KEY: json.dumps(told)}))
    return path


def read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What was written; refuses any other file.

    Raises:
        StoreError: no such file, or one that is not an embedding of this format.
    """
    if not path.is_file():
        raise StoreError(f"expected a saved embedding at {path}, got no file: check the path")
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"expected a saved embedding at {path}, got something else: {error!r}") from None
    if told.get("format") != FORMAT:
        raise StoreError(f"expected an embedding of format {FORMAT} at {path}, got another: make it again")
    return tensors, told
