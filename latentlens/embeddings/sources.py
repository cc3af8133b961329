"""The states of a run, a prompt at a time, from memory or from a folder on disk.

In: a `Trajectory`, or the path of a saved one. Out: a `Source`. Never holds more than one prompt's states of a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentlens import store
from latentlens.errors import EmbeddingError, StoreError
from latentlens.models.base import LatentModel
from latentlens.trajectory import Trajectory, identify


@dataclass(frozen=True, eq=False)
class Source:
    """The states of one run.

    Attributes:
        states: from a prompt's number to its states, `[iteration, position, d_model]`, pads included.
        mask: `[prompt, position]`, True where there is a token.
        iterations: R, the number of the last iteration.
        width: d_model.
        about: model (its name), seed, prompts.
        normed_state: whether a state already went through the norm.

    >>> import latentlens as ll
    >>> source = source_of(ll.capture(ll.load("walks"), ["Ann", "2 steps from Ann"], iterations=4))
    >>> source.mask.shape, source.iterations, source.states(0).shape[:2]
    (torch.Size([2, 4]), 4, torch.Size([5, 4]))
    """

    states: Callable[[int], Float[Tensor, "iteration position d_model"]] = field(repr=False)
    mask: Bool[Tensor, "prompt position"]
    iterations: int
    width: int
    about: dict[str, Any]
    model: LatentModel | None = field(default=None, repr=False)

    def prepared(
        self, prompt: int, iterations: Sequence[int], space: str, center: str
    ) -> Float[Tensor, "iteration position d_model"]:
        """A prompt's states in the space of the frame: normed, or each token's own mean over iterations taken away."""
        states = self.states(prompt)
        if list(iterations) != list(range(len(states))):
            states = states[list(iterations)]
        if space == "norm":
            states = normed(states, self.needs_model(), torch.tensor(list(iterations)))
        if center == "token":
            states = states.double()
            states = states - states.mean(0)
        return states

    def needs_model(self) -> LatentModel:
        """The model that made the states; refuses where it is not known."""
        if self.model is None:
            raise EmbeddingError(
                "expected a model for space='norm', got states without one: load them with model=, or pass space='raw'"
            )
        return self.model


Run = Trajectory | str | Path | Source
"""Where states come from: a trajectory in memory, or the path of a saved one, which is then read a prompt at a time."""


def source_of(run: Run, model: LatentModel | None = None) -> Source:
    """A `Source` of a trajectory, or of the path of a saved one; with `model`, of states that can be normed.

    Raises:
        EmbeddingError: something else. StoreError: a path that is no saved trajectory, or one of another model.
    """
    if isinstance(run, Source):
        return run
    if isinstance(run, (str, Path)):
        return _on_disk(Path(run), model)
    if not isinstance(run, Trajectory):
        raise EmbeddingError(
            f"expected a trajectory or the path of a saved one, got {type(run).__name__}: pass what ll.capture returns"
        )
    states, about = run.states, {"model": run.origin.get("name"), "seed": run.seed, "prompts": run.prompts}
    return Source(lambda prompt: states[prompt], run.mask, run.iterations, states.shape[-1], about, model or run.model)


def _on_disk(path: Path, model: LatentModel | None) -> Source:
    arrays, about = store.open_folder(path)
    missing = {"states", "mask"} - arrays.keys()
    if missing:
        raise StoreError(f"expected a whole trajectory in {path}, got one without {sorted(missing)[0]!r}")
    if model is not None and identify(model) != about["origin"]:
        raise StoreError(f"expected the model that made {path}, {about['origin']['name']!r}, got {model.name!r}")
    states = arrays["states"]
    known = {"model": about["origin"].get("name"), "seed": about["seed"], "prompts": about["prompts"]}
    last, width = states.shape[1] - 1, states.shape[-1]
    return Source(lambda prompt: states[prompt], arrays["mask"][:], last, width, known, model)


def normed(
    states: Float[Tensor, "iteration ... d_model"], model: LatentModel, iterations: Tensor
) -> Float[Tensor, "iteration ... d_model"]:
    """The states after the norm before the unembedding, in the model's dtype; those that are normed stay as they are.

    Where a family's states are normed, `s_0` is not: it is the embedding.
    """
    with torch.no_grad():
        out = model.norm(states.to(model.device)).cpu()
    if not model.normed_state:
        return out
    first = (iterations == 0).reshape(-1, *[1] * (states.ndim - 1))
    return torch.where(first, out, states)
