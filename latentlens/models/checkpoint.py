"""Where a model is, and what is in it: a folder, a hub id or a file, its config and its tensors.

In: what the user typed. Out: a folder, a config, tensors from safetensors. Never reads a pickle. Imports torch
only to read tensors, so that a wrong name is refused at once.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlens.errors import ModelError
from latentlens.models import FAMILIES, SHIPPED, Family

if TYPE_CHECKING:
    from torch import Tensor

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def locate(name: str) -> Path:
    """The folder of a shipped model, a local one or a hub id (fetched through `huggingface_hub`); or a GGUF file."""
    if not isinstance(name, str) or not name.strip():
        raise ModelError(f"expected a model's name, folder or hub id, got {name!r}: {_known(name)}")
    if name in SHIPPED:
        return SHIPPED[name].folder
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        return _checked_gguf(path)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"expected a model's folder, got the file {name}: pass the folder that holds config.json")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return _from_hub(name)
    raise ModelError(f"expected a model's name, folder or hub id, got {name!r}, which is none: {_known(name)}")


def preflight(name: str) -> tuple[Path, Family | None]:
    """Where a model is and which family reads it (None: a GGUF file), with everything checked that needs no torch."""
    place = locate(name)
    if place.suffix == ".gguf":
        return place, None
    family = family_of(read_config(place), place)
    tensor_files(place)
    return place, family


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder, as a dict."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"expected config.json in {folder}, got none: pass the folder of a whole checkpoint")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"expected JSON in {path}, got something else ({error}): fetch the file again") from None
    if not isinstance(config, dict):
        raise ModelError(f"expected a JSON object in {path}, got {type(config).__name__}: fetch the file again")
    return config


def family_of(config: dict[str, Any], folder: Path) -> Family:
    """The family whose configs have this `model_type`."""
    came = config.get("model_type")
    for family in FAMILIES:
        if came in family.model_types:
            return family
    known = ", ".join(kind for family in FAMILIES for kind in family.model_types)
    raise ModelError(
        f"expected model_type to be one of {known} in {folder / 'config.json'}, got {came!r}: load it yourself and say "
        "where its loop is with ll.wrap"
    )


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, whole or sharded; refuses a folder that has only pickles."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _shards(index)
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles:
        raise ModelError(
            f"expected weights in *.safetensors in {folder}, got only {pickles[0]}, a pickle, which latentlens "
            "never reads because it can run code: convert it to safetensors"
        )
    raise ModelError(f"expected weights in *.safetensors in {folder}, got none: pass the folder of a whole checkpoint")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's safetensors files, by name, memory-mapped where the library does so."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in tensor_files(folder):
        try:
            tensors.update(load_file(path))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"expected safetensors in {path}, got a file that cannot be read: {error}") from None
    return tensors


def _shards(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"expected a weight_map in {index}, got something else ({error!r})") from None
    missing = [n for n in names if Path(n).name != n or not (index.parent / n).is_file()]
    if missing:
        raise ModelError(f"expected the shard {missing[0]} beside {index}, got none: fetch the checkpoint again")
    return [index.parent / n for n in names]


def _checked_gguf(path: Path) -> Path:
    if not path.is_file():
        raise ModelError(f"expected a GGUF file at {path}, got none: check the path")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"expected a GGUF file at {path}, got one that starts with {magic!r}: it is damaged or not GGUF"
        )
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # offline, no such repository, no access: the hub has many classes for it
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"expected a local folder or a model on the hub, got {name!r}, which is no folder here and could not "
            f"be fetched ({reason}): check the name, or download it and pass its folder"
        ) from None


def _known(name: object) -> str:
    close = difflib.get_close_matches(str(name), SHIPPED, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"shipped is {', '.join(SHIPPED)}"
