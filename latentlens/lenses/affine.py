"""An affine map for each iteration, added to the identity: what a tuned lens learns.

In: states `[map, token, d_model]`. Out: states of the same shape. Knows no models or losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(eq=False)
class Affine:
    """`x + left @ right @ x + bias`; without `right`, `left` is the whole matrix. One map serves all, or one for each.

    >>> shift = Affine(torch.zeros(1, 2, 2), None, torch.ones(1, 2))
    >>> shift(torch.zeros(3, 1, 2)).tolist()
    [[[1.0, 1.0]], [[1.0, 1.0]], [[1.0, 1.0]]]
    """

    left: Float[Tensor, "map d_model rank"]
    right: Float[Tensor, "map rank d_model"] | None
    bias: Float[Tensor, "map d_model"]

    def __call__(self, x: Float[Tensor, "map token d_model"]) -> Float[Tensor, "map token d_model"]:
        inner = x if self.right is None else x @ self.right.mT
        return x + inner @ self.left.mT + self.bias[:, None]

    def __len__(self) -> int:
        return len(self.bias)

    def parts(self) -> list[Tensor]:
        """The tensors that there are."""
        return [part for part in (self.left, self.right, self.bias) if part is not None]

    def each(self, change: Callable[[Tensor], Tensor]) -> Affine:
        """The same maps with every tensor changed."""
        return Affine(change(self.left), None if self.right is None else change(self.right), change(self.bias))

    def at(self, number: int) -> Affine:
        """One of the maps."""
        return self.each(lambda part: part[number, None])

    def better(self, other: Affine, where: Tensor) -> Affine:
        """These maps, with those of `other` where `where` `[map]` says so."""
        found = iter(other.parts())
        return self.each(lambda part: torch.where(where.view(-1, *[1] * (part.ndim - 1)), next(found).detach(), part))


@dataclass(eq=False)
class Scale:
    """Coordinates in which one learning rate suits every model: states are standardised, maps move them in shares of
    their size."""

    mean: Float[Tensor, "map d_model"]
    spread: Float[Tensor, "map d_model"]
    size: Float[Tensor, map]

    @classmethod
    def of(cls, x: Float[Tensor, "map token d_model"]) -> Scale:
        """Measured on these states; a direction that hardly varies is not blown up."""
        spread = x.std(1, correction=0)
        return cls(
            x.mean(1),
            spread.clamp(min=1e-8).maximum(0.01 * spread.mean(1, keepdim=True)),
            x.square().mean((1, 2)).sqrt(),
        )

    def start(self, rank: int | None, generator: torch.Generator) -> Affine:
        """The identity, in these coordinates: `left` and `bias` are zero."""
        maps, width = self.mean.shape
        right = None if rank is None else torch.randn(maps, rank, width, generator=generator)
        left = torch.zeros(maps, width, width if rank is None else rank)
        return Affine(left, right, torch.zeros(maps, width)).each(lambda part: part.to(self.mean))

    def folded(self, inner: Affine) -> Affine:
        """The map of plain states that is `inner` in these coordinates."""
        width, size = self.mean.shape[1], self.size[:, None, None]
        if inner.right is None:
            left, right = inner.left / self.spread[:, None] * size / width, None
            moved = left @ self.mean[..., None]
        else:
            left = inner.left * size / inner.left.shape[2]
            right = inner.right / self.spread[:, None] / width**0.5
            moved = left @ (right @ self.mean[..., None])
        return Affine(left, right, 0.1 * self.size[:, None] * inner.bias - moved[..., 0])
