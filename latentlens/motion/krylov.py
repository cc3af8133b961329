"""Leading eigenvalues and the largest singular value of many matrices at once, known only by their products.

In: functions from vectors to vectors, one vector a row. Out: values in float64 on the CPU.
Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

Vectors = Float[Tensor, "row d"]
Product = Callable[[Vectors], Vectors]
"""The product of each row's own matrix with its vector."""


@dataclass(frozen=True)
class Arnoldi:
    """An orthonormal basis of vectors, and what the matrices are in it: A Q_m = Q_{m+1} H (Arnoldi 1951)."""

    basis: Float[Tensor, "row m+1 d"]
    hessenberg: Float[Tensor, "row m+1 m"]

    def leading(self, count: int) -> tuple[Complex[Tensor, "row count"], Float[Tensor, row]]:
        """Eigenvalues by falling modulus (NaN behind the last), and the residual |A v - l v| of the first (|v| = 1).

        Of a real Hessenberg matrix, so that complex pairs come as pairs.
        """
        m = self.hessenberg.shape[2]
        values, vectors = torch.linalg.eig(self.hessenberg[:, :m])
        order = values.abs().argsort(dim=1, descending=True, stable=True)
        first = vectors.gather(2, order[:, None, :1].expand(-1, m, 1))[:, :, 0]
        residual = self.hessenberg[:, m, m - 1] * first[:, -1].abs() / first.norm(dim=1)
        found = values.gather(1, order)[:, :count]
        blank = found.new_full((len(found), max(count - m, 0)), complex(torch.nan, torch.nan))
        return torch.cat([found, blank], dim=1), residual


def arnoldi(product: Product, start: Vectors, count: int, *, eps: float, seed: int = 0) -> Arnoldi:
    """`count` products, each made orthogonal to those before, twice.

    Where a row's vectors close on themselves (to `eps`, the rounding of the products), it goes on from a fresh random
    one, so that with as many products as dimensions every eigenvalue is found, repeated ones too.
    """
    rows, width = start.shape
    count = min(count, width)
    fresh = torch.randn(count + 1, rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    basis = torch.zeros(rows, count + 1, width, dtype=torch.float64)
    hessenberg = torch.zeros(rows, count + 1, count, dtype=torch.float64)
    basis[:, 0] = start / start.norm(dim=1, keepdim=True)
    size = torch.zeros(rows, dtype=torch.float64)
    for i in range(count):
        image = product(basis[:, i])
        size = torch.maximum(size, image.norm(dim=1))
        rest, along = _orthogonal(image, basis[:, : i + 1])
        hessenberg[:, : i + 1, i] = along
        length = rest.norm(dim=1)
        if i + 1 == width:  # the whole space: what is left is rounding
            break
        closed = length <= 10 * eps * size
        other, _ = _orthogonal(fresh[i], basis[:, : i + 1])
        hessenberg[:, i + 1, i] = length.masked_fill(closed, 0)
        following = torch.where(closed[:, None], other, rest)
        basis[:, i + 1] = following / following.norm(dim=1, keepdim=True)
    return Arnoldi(basis, hessenberg)


def largest_singular_value(product: Product, transposed: Product, found: Arnoldi, pairs: int) -> Float[Tensor, row]:
    """The largest singular value, from below, by Golub and Kahan's bidiagonalisation (1965) with `pairs` vectors.

    It begins with the best vector of an Arnoldi basis, whose product is known already: 2 (pairs - 1) further products.
    """
    m = found.hessenberg.shape[2]
    _, _, rights = torch.linalg.svd(found.hessenberg)
    right = torch.einsum("rm,rmd->rd", rights[:, 0], found.basis[:, :m])[:, None]
    image = torch.einsum("rim,rm,rid->rd", found.hessenberg, rights[:, 0], found.basis)
    left, sizes = _unit(image)[:, None], image.norm(dim=1)[:, None]
    across = sizes[:, :0]
    for _ in range(pairs - 1):
        rest, _ = _orthogonal(transposed(left[:, -1]), right)
        right, across = torch.cat([right, _unit(rest)[:, None]], 1), torch.cat([across, rest.norm(dim=1)[:, None]], 1)
        rest, _ = _orthogonal(product(right[:, -1]), left)
        left, sizes = torch.cat([left, _unit(rest)[:, None]], 1), torch.cat([sizes, rest.norm(dim=1)[:, None]], 1)
    return torch.linalg.svdvals(torch.diag_embed(sizes) + torch.diag_embed(across, offset=1))[:, 0]


def _orthogonal(vectors: Vectors, basis: Float[Tensor, "row k d"]) -> tuple[Vectors, Float[Tensor, "row k"]]:
    """What is left of the vectors outside of a basis, and what was inside (Gram-Schmidt, twice is enough)."""
    inside = torch.zeros(basis.shape[:2], dtype=basis.dtype)
    for _ in range(2):
        part = torch.einsum("rkd,rd->rk", basis, vectors)
        vectors, inside = vectors - torch.einsum("rk,rkd->rd", part, basis), inside + part
    return vectors, inside


def _unit(vectors: Vectors) -> Vectors:
    """Vectors of length 1; zero stays zero."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
