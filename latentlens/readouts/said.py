"""Logits with what every statistic begins with: the best of them, their exponentials and dot products of both.

In: float32 logits of some places, `[place, iteration, vocab]`. Out: a `Said`, made in whole tensors or by one compiled
sweep. Knows nothing about models, nor what is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentlens.readouts.ordering import best, greater

UNIT = 3 * 2**20
"""Bytes of logits that are read together: what stays in the cache of two cores while several statistics are taken."""


@dataclass
class Products:
    """`w_r . z_r`, `w_{r-1} . z_r`, `w_r . z_{r-1}` (NaN at the first), `w_r . z_R`, `w_R . (z_R - z_r)`."""

    own: Float[Tensor, "place iteration"]
    step: Float[Tensor, "place iteration"]
    back: Float[Tensor, "place iteration"]
    to_final: Float[Tensor, "place iteration"]
    from_final: Float[Tensor, "place iteration"]

    @property
    def finite(self) -> bool:
        """Whether they say anything of all of them: not where a logit is infinite or NaN."""
        return all(bool(x.isfinite().all()) for x in (self.own, self.to_final, self.from_final))

    def say_all_but(self, silent: Bool[Tensor, "place iteration"]) -> bool:
        """Whether they say all but what is NaN because a state, or the final one, says nothing."""
        apart = silent | silent[:, -1:]
        both = bool((self.to_final.isfinite() & self.from_final.isfinite() | apart).all())
        return both and bool((self.own.isfinite() | silent).all())


@dataclass
class Said:
    """Logits, their distributions and the best tokens, of some places and iterations.

    `logits` are relative to the best one after `relative()`; `weights` are the exponentials of those, `mass` is their
    sum. Where one sweep said it all, there are `products` in place of weights, made with the last iteration as the
    final one, and logits stay as they came.
    """

    logits: Float[Tensor, "place iteration vocab"]
    top: Float[Tensor, "place iteration k"]
    top_token: Int[Tensor, "place iteration k"]
    mass: Float[Tensor, "place iteration"]
    log_mass: Float[Tensor, "place iteration"]
    weights: Float[Tensor, "place iteration vocab"] | None = None
    products: Products | None = None

    @classmethod
    def read(cls, logits: Float[Tensor, "place iteration vocab"], top_k: int) -> Said:
        """The best `top_k` and the exponentials, in float32."""
        top, token = best(logits, top_k)
        weights = torch.sub(logits, top[..., :1]).exp_()
        mass = weights.sum(-1)
        return cls(logits, top, token, mass, mass.log(), weights)

    @classmethod
    def swept(cls, logits: Float[Tensor, "place iteration vocab"], top_k: int) -> Said | None:
        """The best `top_k` and the products, the last iteration being the final one; None where a logit is infinite.

        States that say nothing, whose logits are NaN, have NaN for products, as they have for everything.
        """
        from latentlens.readouts import sweeps

        some = logits.split(max(UNIT // (4 * logits[0].numel()), 1))
        top, token = map(torch.cat, zip(*(best(part, top_k) for part in some)))
        mass, own, step, back, to_final, from_final = sweeps.sums(logits, top[..., 0])
        step[:, 0] = back[:, 0] = torch.nan
        products = Products(own, step, back, to_final, own[:, -1:] - from_final)
        silent = ~top[..., 0].isfinite()  # NaN, or infinite: in whole tensors the mass is NaN
        if not products.say_all_but(silent):
            return None
        mass.masked_fill_(silent, torch.nan)
        return cls(logits, top, token, mass.float(), mass.log().float(), products=products)

    def rank(self, values: Float[Tensor, "place iteration n"]) -> Int[Tensor, "place iteration n"]:
        """How many logits, as they came, are strictly greater than each value."""
        if self.products is None:
            return greater(self.logits, values, self.top)
        from latentlens.readouts import sweeps

        return sweeps.greater(self.logits, values, self.top)

    def log_prob(self, values: Float[Tensor, "place iteration n"]) -> Float[Tensor, "place iteration n"]:
        """Natural log-probabilities of logits as they came; the best one is taken away first, lest rounding grow."""
        return values - self.top[..., :1] - self.log_mass[..., None]

    def relative(self) -> Said:
        """Take the best logit from every logit, in place: dot products lose less to rounding."""
        self.logits.sub_(self.top[..., :1])
        return self

    def probs(self) -> Float[Tensor, "place iteration vocab"]:
        """The distributions themselves, from relative logits."""
        assert self.weights is not None
        return self.weights / self.mass[..., None]

    def at(self, part: slice) -> Said:
        """Some of the iterations, nothing copied."""
        given = {name: value[:, part] for name, value in vars(self).items() if isinstance(value, Tensor)}
        products = self.products and Products(*(value[:, part] for value in vars(self.products).values()))
        return Said(**given, products=products)
