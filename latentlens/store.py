"""Tensors on disk: one zarr folder a trajectory, every dtype bit for bit.

In: named tensors, what to remember about them, and a path. Out: the same, read back. Writes beside the target and
renames, so that nothing is half written; reads only plain numeric arrays, so that nothing can run.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import BloscCodec

from latentlens.errors import StoreError

FORMAT = 1
# zarr has no bfloat16: its bits are kept as unsigned integers, and the array's attribute says what they are.
AS_BITS = {torch.bfloat16: torch.uint16}
SAFE_CODECS = {"bytes", "blosc", "zstd", "gzip", "crc32c", "sharding_indexed", "transpose"}
SAFE_TYPES = {"bool", "uint8", "uint16", "int32", "int64", "float16", "float32", "float64"}


def write(path: Path, tensors: dict[str, Tensor], about: dict[str, Any], *, overwrite: bool = False) -> Path:
    """Write tensors and what is known `about` them; the folder appears under its name only when it is whole."""
    check_target(path, overwrite=overwrite)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        draft.chmod(0o755)
        root = zarr.open_group(draft, mode="w")
        root.attrs["latentlens"] = {"format": FORMAT, **about}
        for name, tensor in tensors.items():
            _write_tensor(root, name, tensor)
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return path


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a path that cannot be written to, before anything is computed for it."""
    if not path.parent.is_dir():
        raise StoreError(f"expected a folder at {path.parent}, got none: make it first")
    if path.exists() and not overwrite:
        raise StoreError(f"expected a new path, got {path}, which exists: pass overwrite=True or another name")
    if path.exists() and not (path / "zarr.json").is_file():
        raise StoreError(f"expected a trajectory to overwrite, got {path}, which is something else: use another name")


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a folder and what is known about them; refuses any array that is not plain numbers."""
    about = _checked_about(path)
    try:
        root = zarr.open_group(path, mode="r")
        return {name: _read_tensor(root[name]) for name in root.array_keys()}, about
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise StoreError(f"expected a whole trajectory in {path}, got one that cannot be read: {error}") from None


@dataclass(frozen=True)
class Stored:
    """One array of a folder that stays on disk: `stored[3]` reads the chunks that hold row 3, and nothing else.

    Rows are chosen as in numpy; by a list of them too.
    """

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole array."""
        return tuple(self.array.shape)

    def __getitem__(self, rows: Any) -> Tensor:
        rows = rows.tolist() if isinstance(rows, Tensor) else rows
        values = self.array.oindex[rows] if isinstance(rows, list) else self.array[rows]
        return _as_tensor(values, self.array)


def open_folder(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """The arrays of a folder, none of them read yet, and what is known about them; refuses what `read` refuses."""
    about = _checked_about(path)
    try:
        root = zarr.open_group(path, mode="r")
        return {name: Stored(root[name]) for name in root.array_keys()}, about
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise StoreError(f"expected a whole trajectory in {path}, got one that cannot be read: {error}") from None


def _write_tensor(root: Any, name: str, tensor: Tensor) -> None:
    kind = str(tensor.dtype).removeprefix("torch.")
    values = tensor.contiguous().view(AS_BITS.get(tensor.dtype, tensor.dtype)).numpy()
    chunks, shards = _layout(values.shape)
    array = root.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        compressors=BloscCodec(cname="zstd", shuffle="shuffle"),
    )
    array.attrs["torch_dtype"] = kind
    array[...] = values


def _layout(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """One prompt and a quarter of its iterations a chunk, up to 16 prompts a shard."""
    if len(shape) < 4:
        return tuple(max(n, 1) for n in shape), None
    quarter = max(math.ceil(shape[1] / 4), 1)
    chunks = (1, quarter, *shape[2:])
    return chunks, (min(16, shape[0]), 4 * quarter, *shape[2:])


def _read_tensor(array: Any) -> Tensor:
    return _as_tensor(array[...], array)


def _as_tensor(values: Any, array: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values)).view(getattr(torch, str(array.attrs["torch_dtype"])))


def _checked_about(path: Path) -> dict[str, Any]:
    """The folder's own description, after a look at every array's metadata, before zarr touches any of it."""
    if not (path / "zarr.json").is_file():
        raise StoreError(f"expected a trajectory folder at {path}, got none: check the path")
    try:
        about = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]["latentlens"]
        for file in path.glob("*/zarr.json"):
            _check_array(json.loads(file.read_text(encoding="utf-8")), file)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"expected a latentlens trajectory at {path}, got something else ({error!r})") from None
    if any(path.rglob(".zarray")) or about.get("format") != FORMAT:
        raise StoreError(f"expected a trajectory of format {FORMAT} at {path}, got another: make it again")
    return about


def _check_array(meta: dict[str, Any], file: Path) -> None:
    kind = meta.get("data_type")
    if not isinstance(kind, str) or kind not in SAFE_TYPES:
        raise StoreError(f"expected plain numbers in {file.parent}, got {kind!r}: not read")
    for codec in _codecs(meta.get("codecs", [])):
        if codec not in SAFE_CODECS:
            raise StoreError(f"expected plain compression in {file.parent}, got the codec {codec!r}: not read")


def _codecs(codecs: list[dict[str, Any]]) -> list[str]:
    names = []
    for codec in codecs:
        names.append(codec["name"])
        inner = codec.get("configuration", {})
        names += _codecs(inner.get("codecs", [])) + _codecs(inner.get("index_codecs", []))
    return names
