"""What a lens is, a map from a state to the model's vocabulary, and the two that need no fitting.

In: a state of one iteration, `[prompt, position, d_model]`. Out: logits, `[prompt, position, vocab]`, in the
model's dtype. A lens is an object with one method; a user's own is a subclass of `Lens` with `logits`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from latentlens.models.base import Context, LatentModel


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

    def hidden(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor | None:
        """What `head` makes logits of, `[prompt, position, width]`, so that a few rows can be read at a time.

        None where the lens knows nothing but whole logits, as a user's own may.
        """
        return None

    def head(self, model: LatentModel, hidden: Float[Tensor, "... width"]) -> Float[Tensor, "... vocab"]:
        """Logits of any rows of `hidden`; the same as those of `logits`."""
        return model.answer(hidden)

    def in_rows(self, model: LatentModel) -> bool:
        """Whether `hidden` and `head` say what `logits` says: not where `logits` was changed after them."""
        return _keeps_up(type(self), "logits", "hidden")


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

    def hidden(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor | None:
        return model.hidden(state, replace(context, iteration=iteration))

    def in_rows(self, model: LatentModel) -> bool:
        shows = type(model).hidden is not LatentModel.hidden
        return shows and super().in_rows(model) and _keeps_up(type(model), "finish", "hidden")


class LogitLens(Lens):
    """`unembed(norm(s))`, leaving out the coda (nostalgebraist 2020); an already normed state is not normed again.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> ll.logits(traj, lens="logit", positions=[-1]).shape[1:3]
    torch.Size([5, 1])
    """

    name = "logit"

    def logits(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor:
        return model.unembed(self.hidden(model, state, context, iteration))

    def hidden(self, model: LatentModel, state: Tensor, context: Context, iteration: int) -> Tensor:
        # Where states are normed, s_0 is not: it is the embedding.
        raw = not model.normed_state or iteration == 0
        return model.norm(state) if raw else state

    def head(self, model: LatentModel, hidden: Tensor) -> Tensor:
        return model.unembed(hidden)


def _keeps_up(kind: type, whole: str, part: str) -> bool:
    """Whether no class redefines method `whole` below the one that defines `part`, so that they say the same."""
    homes = [next(i for i, k in enumerate(kind.__mro__) if name in vars(k)) for name in (whole, part)]
    return homes[0] >= homes[1]
