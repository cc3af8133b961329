"""A trajectory survives a round trip to disk bit for bit, and nothing else is read."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

import latentlens as ll
from latentlens.errors import CaptureError, StoreError


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_dtype_comes_back_bit_for_bit(folder, tmp_path, dtype):
    model = ll.load(str(folder), dtype=dtype)
    traj = ll.capture(model, ["the cat sat", "a b"], iterations=5, seed=7, layers=True)
    traj.aux["extra"] = torch.arange(6).reshape(2, 3)
    back = ll.Trajectory.load(traj.save(tmp_path / "run.zarr"), model=model)
    for name in ("states", "layer_states", "tokens", "mask"):
        assert getattr(back, name).dtype == getattr(traj, name).dtype
        assert torch.equal(getattr(back, name), getattr(traj, name))
    assert torch.equal(back.aux["extra"], traj.aux["extra"])
    assert (back.seed, back.prompts, back.str_tokens) == (
        7,
        ["the cat sat", "a b"],
        [["the", "cat", "sat"], ["a", "b"]],
    )
    assert ll.decode(back).equals(ll.decode(traj))


def test_not_a_number_survives(wordy, tmp_path):
    traj = ll.capture(wordy, "a", iterations=1)
    traj.states[0, 0, 0, 0] = torch.nan
    back = ll.Trajectory.load(traj.save(tmp_path / "run.zarr"))
    assert back.states.view(torch.int32).equal(traj.states.view(torch.int32))


def test_many_prompts_fill_many_shards(wordy, tmp_path):
    traj = ll.capture(wordy, ["a b c"] * 35, iterations=6)
    assert torch.equal(ll.Trajectory.load(traj.save(tmp_path / "run.zarr")).states, traj.states)


def test_a_store_that_exists_is_refused_unless_overwritten(wordy, tmp_path):
    traj = ll.capture(wordy, "a", iterations=1)
    path = traj.save(tmp_path / "run.zarr")
    with pytest.raises(
        StoreError, match=f"^expected a new path, got {path}, which exists: pass overwrite=True or another"
    ):
        traj.save(path)
    other = ll.capture(wordy, "b", iterations=2)
    assert ll.Trajectory.load(other.save(path, overwrite=True)).iterations == 2
    (tmp_path / "precious").mkdir()
    with pytest.raises(StoreError, match="which is something else: use another name$"):
        traj.save(tmp_path / "precious", overwrite=True)


def test_a_missing_parent_is_refused_and_a_failed_write_leaves_nothing(wordy, tmp_path):
    traj = ll.capture(wordy, "a", iterations=1)
    with pytest.raises(StoreError, match=r"^expected a folder at .*/no, got none: make it first$"):
        traj.save(tmp_path / "no" / "run.zarr")
    traj.aux["unwritable"] = "not a tensor"
    with pytest.raises(AttributeError):
        traj.save(tmp_path / "run.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["wordy"]


def test_another_model_is_refused_and_no_model_cannot_be_decoded(folder, wordy, tmp_path):
    path = ll.capture(wordy, "a", iterations=1).save(tmp_path / "run.zarr")
    changed = ll.load(str(folder))
    with torch.no_grad():
        changed.transformer.adapter.weight += 1
    with pytest.raises(
        StoreError, match=r"^expected the model that made .* \(raven 'wordy', weights [0-9a-f]{12}\), got raven"
    ):
        ll.Trajectory.load(path, model=changed)
    with pytest.raises(CaptureError, match=r"pass Trajectory.load\(path, model=ll.load\('wordy'\)\)$"):
        ll.decode(ll.Trajectory.load(path))


def test_labelled_states_have_named_axes_and_no_numbers_at_pads(wordy):
    array = ll.capture(wordy, ["a b", "c"], iterations=2).to_xarray()
    assert array.dims == ("prompt", "iteration", "position", "d_model")
    assert np.isnan(array.sel(prompt=1, position=1)).all()
    assert not np.isnan(array.sel(prompt=1, position=0)).any()


def run_me() -> None:  # pragma: no cover - a pickle that would call it must never be loaded
    raise AssertionError("a pickle was loaded")


class Evil:
    def __reduce__(self):
        return (run_me, ())


def crafted(path: Path, how: str) -> None:
    """Three ways to hide a pickle in a store: an object array (zarr 2), a pickle codec, an unknown data type."""
    root = zarr.open_group(path, mode="a", zarr_format=3)
    meta = json.loads((path / "zarr.json").read_text())
    if how == "object array":
        old = path / "states"
        for file in sorted(old.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        chunk = pickle.dumps(Evil())
        (old / "0").write_bytes(chunk)
        (old / ".zarray").write_text(
            json.dumps({"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "order": "C",
                        "fill_value": None, "filters": [{"id": "pickle", "protocol": 5}]})
        )  # fmt: skip
    elif how == "pickle codec":
        file = path / "tokens" / "zarr.json"
        array = json.loads(file.read_text())
        array["codecs"] = [{"name": "numcodecs.pickle", "configuration": {"protocol": 5}}]
        file.write_text(json.dumps(array))
    else:
        file = path / "tokens" / "zarr.json"
        array = json.loads(file.read_text())
        array["data_type"] = {"name": "object", "configuration": {}}
        file.write_text(json.dumps(array))
    assert root is not None
    assert meta["attributes"]["latentlens"]["format"] == 1


@pytest.mark.parametrize("how", ["object array", "pickle codec", "unknown type"])
def test_a_crafted_store_is_refused_before_zarr_reads_it(wordy, tmp_path, how):
    path = ll.capture(wordy, "a", iterations=1).save(tmp_path / "run.zarr")
    crafted(path, how)
    with pytest.raises(StoreError, match="expected (plain numbers|plain compression|a trajectory of format 1)"):
        ll.Trajectory.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a trajectory folder at"),
        ("not json", "expected a latentlens trajectory at"),
        ('{"zarr_format": 3, "node_type": "group", "attributes": {}}', "expected a latentlens trajectory at"),
        (
            '{"zarr_format": 3, "node_type": "group", "attributes": {"latentlens": {"format": 1}}}',
            "expected a whole trajectory in",
        ),
    ],
)
def test_a_folder_that_is_no_trajectory_is_refused(tmp_path, content, message):
    path = tmp_path / "run.zarr"
    path.mkdir()
    if content is not None:
        (path / "zarr.json").write_text(content)
    with pytest.raises(StoreError, match=f"^{re.escape(message)}"):
        ll.Trajectory.load(path)
