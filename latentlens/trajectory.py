"""The states of all iterations for every token position, with labelled axes.

In: what `capture` or a store hands over. Out: a `Trajectory`. Knows nothing about vocabularies or plots.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentlens import store
from latentlens.errors import CaptureError, StoreError
from latentlens.models.base import LatentModel


@dataclass(eq=False)
class Trajectory:
    """The hidden state of every iteration of one run, on the CPU, bit for bit in the model's dtype.

    Attributes:
        states: `[prompt, iteration, position, d_model]`; iteration 0 is `s_0`; zero at pads.
        tokens: `[prompt, position]` token ids, padded on the right.
        mask: `[prompt, position]`, True where there is a token.
        layer_states: `[prompt, iteration, layer, position, d_model]` for iterations 1..R, or None.
        aux: further tensors of the family, by name.
        seed: what `s_0` was drawn from.
        prompts: the texts, or None where token ids were given.
        model: the model that made it, or None when loaded without one.
        origin: how to recognise that model: family, name, fingerprint, d_model, vocab_size, random_start.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), ["Ann", "2 steps from Ann"], iterations=4)
    >>> traj.states.shape[:3], traj.str_tokens[1]
    (torch.Size([2, 5, 4]), ['2', 'steps', 'from', 'Ann'])
    """

    states: Float[Tensor, "prompt iteration position d_model"]
    tokens: Int[Tensor, "prompt position"]
    mask: Bool[Tensor, "prompt position"]
    layer_states: Float[Tensor, "prompt iteration layer position d_model"] | None = None
    aux: dict[str, Tensor] = field(default_factory=dict)
    seed: int = 0
    prompts: list[str] | None = None
    model: LatentModel | None = field(default=None, repr=False)
    origin: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        prompt, iteration, position, width = self.states.shape
        return (
            f"Trajectory({self.origin.get('name')}: {prompt} prompts, {iteration - 1} iterations after s_0, "
            f"{position} positions, d_model {width}, {str(self.states.dtype).removeprefix('torch.')}, seed {self.seed})"
        )

    @property
    def iterations(self) -> int:
        """R, the number of the last iteration (there are R + 1 states, `s_0` among them)."""
        return self.states.shape[1] - 1

    @property
    def lengths(self) -> Int[Tensor, prompt]:
        """The number of tokens of each prompt, pads not counted."""
        return self.mask.sum(dim=1)

    @property
    def str_tokens(self) -> list[list[str]]:
        """The text of each prompt's tokens, pads left out; the ids themselves where there is no tokenizer."""
        tokenizer = self.model.tokenizer if self.model is not None else None
        kept = [row[seen].tolist() for row, seen in zip(self.tokens, self.mask)]
        return [[tokenizer.text(i) if tokenizer else f"<{i}>" for i in ids] for ids in kept]

    def to_xarray(self) -> xr.DataArray:
        """The states as an xarray in float32 (numpy has no bfloat16), with named axes and NaN at pads."""
        values = self.states.float().masked_fill(~self.mask[:, None, :, None], torch.nan)
        return xr.DataArray(
            values.numpy(),
            dims=("prompt", "iteration", "position", "d_model"),
            coords={"iteration": range(self.iterations + 1)},
            name="state",
        )

    def at_layer(self, layer: int) -> Trajectory:
        """The outputs of one layer in place of the states, from iteration 1 on, ready for any lens, layout or figure.

        The norm that the last layer's output would get at the end of an iteration is applied, where there is one.
        Needs `capture(..., layers=True)`.

        >>> import latentlens as ll
        >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4, layers=True)
        >>> bool((traj.at_layer(-1).states == traj.states).all())
        True
        """
        if self.layer_states is None:
            raise CaptureError("expected a trajectory with layers, got one without: capture with layers=True")
        most = self.layer_states.shape[2]
        if isinstance(layer, bool) or not isinstance(layer, int) or not -most <= layer < most:
            raise CaptureError(f"expected a layer from {-most} to {most - 1}, got {layer!r}")
        model = self.needs_model()
        with torch.no_grad():
            closed = model.close(self.layer_states[:, :, layer].to(model.device)).cpu()
        states = torch.cat([self.states[:, :1], closed], dim=1).masked_fill(~self.mask[:, None, :, None], 0)
        return replace(self, states=states, layer_states=None, aux={})

    def needs_model(self) -> LatentModel:
        """The model that made this trajectory; refuses where it was loaded without one."""
        if self.model is None:
            raise CaptureError(
                "expected a trajectory that knows its model, got one that was loaded without: "
                f"pass Trajectory.load(path, model=ll.load({self.origin.get('name')!r}))"
            )
        return self.model

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write everything to a zarr folder; a folder that exists is refused unless `overwrite`.

        >>> import latentlens as ll, tempfile
        >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
        >>> path = traj.save(tempfile.mkdtemp() + "/run.zarr")
        >>> bool((ll.Trajectory.load(path).states == traj.states).all())
        True
        """
        tensors = {"states": self.states, "tokens": self.tokens, "mask": self.mask}
        if self.layer_states is not None:
            tensors["layer_states"] = self.layer_states
        tensors |= {f"aux.{name}": tensor for name, tensor in self.aux.items()}
        about = {"seed": self.seed, "prompts": self.prompts, "origin": self.origin}
        return store.write(Path(path), tensors, about, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path, *, model: LatentModel | None = None) -> Trajectory:
        """Read a trajectory from a zarr folder; with `model`, refuses a model that did not make it."""
        tensors, about = store.read(Path(path))
        aux = {name.removeprefix("aux."): tensors.pop(name) for name in list(tensors) if name.startswith("aux.")}
        try:
            traj = cls(
                states=tensors["states"],
                tokens=tensors["tokens"],
                mask=tensors["mask"],
                layer_states=tensors.get("layer_states"),
                aux=aux,
                seed=about["seed"],
                prompts=about["prompts"],
                origin=about["origin"],
            )
        except KeyError as error:
            raise StoreError(f"expected a whole trajectory in {path}, got one without {error}") from None
        if model is not None:
            check_origin(path, traj.origin, model)
        traj.model = model
        return traj


def check_origin(path: str | Path, origin: dict[str, Any], model: LatentModel) -> None:
    """Refuse a model that did not make what is stored at `path`."""
    if identify(model) != origin:
        raise StoreError(
            f"expected the model that made {path} ({_described(origin)}), got {_described(identify(model))}"
        )


def identify(model: LatentModel) -> dict[str, Any]:
    """How to recognise a model again: its family, its sizes and a fingerprint of its weights."""
    return {
        "family": model.family,
        "name": model.name,
        "fingerprint": model.fingerprint,
        "d_model": model.d_model,
        "vocab_size": model.vocab_size,
        "random_start": model.random_start,
    }


def _described(origin: dict[str, Any]) -> str:
    return f"{origin.get('family')} {origin.get('name')!r}, weights {str(origin.get('fingerprint'))[:12]}"
