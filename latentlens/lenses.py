"""Lenses: maps from a state to the model's vocabulary.

In: a state of one iteration, `[prompt, position, d_model]`. Out: logits, `[prompt, position, vocab]`, in the
model's dtype. A lens is an object with one method; a user's own is a subclass of `Lens` with `logits`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from latentlens.errors import LensError
from latentlens.models.base import Context, LatentModel
from latentlens.names import LENSES, check_lens


class Lens(ABC):
    """A map from a state to logits over the model's vocabulary.

    >>> import latentlens as ll
    >>> class Sharper(ll.CodaLens):
    ...     name = "sharper"
    ...     def logits(self, model, state, context, iteration):
    ...         return 2 * super().logits(model, state, context, iteration)
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> bool((ll.decode(traj, lens=Sharper()).entropy <= ll.decode(traj).entropy).all())
    True
    """

    name: str

    @abstractmethod
    def logits(
        self,
        model: LatentModel,
        state: Float[Tensor, "prompt position d_model"],
        context: Context,
        iteration: int,
    ) -> Float[Tensor, "prompt position vocab"]:
        """Logits for the states of one iteration; `context` is the model's own for these prompts."""


class CodaLens(Lens):
    """The model's own `finish`: what it would answer if it stopped here (Geiping et al. 2025).

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> ll.decode(traj, lens=ll.CodaLens()).attrs["lens"]
    'coda'
    """

    name = "coda"

    def logits(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor:
        return model.finish(state, replace(context, iteration=iteration))


class LogitLens(Lens):
    """`unembed(norm(s))`, leaving out the coda (nostalgebraist 2020); an already normed state is not normed again.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> ll.logits(traj, lens="logit", positions=[-1]).shape[1:3]
    torch.Size([5, 1])
    """

    name = "logit"

    def logits(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor:
        # Where states are normed, s_0 is not: it is the embedding.
        raw = not model.normed_state or iteration == 0
        return model.unembed(model.norm(state) if raw else state)


_LENSES: dict[str, type[Lens]] = {"coda": CodaLens, "logit": LogitLens}
assert tuple(_LENSES) == LENSES


def find_lens(lens: Lens | str | None) -> Lens:
    """The lens of that name, the lens itself, or (None) the model's own answer, `CodaLens`."""
    if lens is None:
        return CodaLens()
    if isinstance(lens, Lens):
        return lens
    if not isinstance(lens, str):
        raise LensError(f"expected a lens, its name or None, got {type(lens).__name__}: try {', '.join(LENSES)}")
    check_lens(lens)
    return _LENSES[lens]()
