"""The mean and the covariance of any number of states, in one pass, and its leading directions.

In: states, some at a time, from anywhere. Out: a `Covariance` that can be added to another one, and its eigenvectors.
Everything is float64. Knows nothing about iterations or tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor

from latentlens.errors import EmbeddingError

ROWS = 2048
"""Rows that are folded in at a time, at least."""
BLOCKS = 4
"""The scatter is symmetric: only the blocks from the diagonal on are multiplied, 10 of 16."""


@dataclass(eq=False)
class Covariance:
    """Count, mean and scatter of states of one width, streamed (Chan, Golub and LeVeque 1983).

    Exact: what has been added in parts, or merged, is what one pass over all of it gives, to rounding in float64.
    As long as there are fewer states than dimensions the states themselves are kept, which is less.

    Attributes:
        width: d_model.

    >>> import torch
    >>> one, two = Covariance(2), Covariance(2)
    >>> one.add(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    >>> two.add(torch.tensor([[4.0, 3.0]]))
    >>> one.merge(two)
    >>> one.count, one.mean.tolist(), one.matrix.tolist()
    (3, [2.0, 1.0], [[4.0, 3.0], [3.0, 3.0]])
    """

    width: int
    _count: int = field(default=0, init=False)
    _mean: Tensor = field(init=False, repr=False)
    _scatter: Tensor | None = field(default=None, init=False, repr=False)
    _waiting: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        self._mean = torch.zeros(self.width, dtype=torch.float64)

    def add(self, states: Float[Tensor, "... d_model"]) -> None:
        """Take in more states, of any dtype; they are not kept once there are enough of them to fold in.

        Raises:
            EmbeddingError: another width, or states that are not finite.
        """
        if states.ndim < 2 or states.shape[-1] != self.width:
            raise EmbeddingError(f"expected states [..., {self.width}], got {list(states.shape)}: another model?")
        rows = states.detach().cpu().reshape(-1, self.width)
        if not bool(torch.isfinite(rows.sum(-1, dtype=torch.float64)).all()):
            raise EmbeddingError("expected finite states, got NaN or infinity: leave them out")
        if len(rows) >= self._enough:
            self._fold(rows)
            return
        self._waiting.append(rows.clone())
        if sum(map(len, self._waiting)) >= self._enough:
            self._fold(torch.cat(self._waiting))
            self._waiting = []

    def merge(self, other: Covariance) -> None:
        """Take in everything that another one has seen; the other stays as it is."""
        if other.width != self.width:
            raise EmbeddingError(f"expected a covariance of width {self.width}, got {other.width}: another model?")
        if other._count:
            total = self._count + other._count
            shift = other._mean - self._mean
            self._grown().add_(other._grown()).addr_(shift, shift, alpha=self._count * other._count / total)
            self._mean = self._mean + shift * (other._count / total)
            self._count = total
        for rows in other._waiting:
            self.add(rows)

    @property
    def count(self) -> int:
        """How many states it has seen."""
        return self._count + sum(map(len, self._waiting))

    @property
    def mean(self) -> Float[Tensor, d_model]:
        """The mean of all states."""
        waiting = sum((rows.sum(0, dtype=torch.float64) for rows in self._waiting), torch.zeros_like(self._mean))
        return (self._mean * self._count + waiting) / max(self.count, 1)

    @property
    def matrix(self) -> Float[Tensor, "d_model d_model"]:
        """The covariance, n - 1 in the denominator."""
        self._settle()
        lower = self._grown().tril()
        return (lower + lower.tril(-1).T) / max(self._count - 1, 1)

    def leading(self, count: int) -> tuple[Float[Tensor, component], Float[Tensor, "component d_model"], float]:
        """The `count` largest variances, their orthonormal directions, and the sum of all variances.

        From the eigenvectors of the covariance, or, where there are fewer states than dimensions, of the matrix of
        their inner products. Each direction's largest entry is positive.

        Raises:
            EmbeddingError: fewer than two states, or more directions than there are states or dimensions.
        """
        if self.count < 2:
            raise EmbeddingError(f"expected at least two states to lay out, got {self.count}")
        most = min(self.width, self.count)
        if not 1 <= count <= most:
            what = "d_model" if most == self.width else "states"
            raise EmbeddingError(f"expected n_components from 1 to {most} ({what}), got {count}")
        variance, directions, total = self._of_states(count) if self._scatter is None else self._of_matrix(count)
        return variance.clamp(min=0), _signed(directions), total

    def _of_matrix(self, count: int) -> tuple[Tensor, Tensor, float]:
        matrix = self.matrix
        values, vectors = eigh(
            matrix.numpy(), subset_by_index=[self.width - count, self.width - 1], driver="evr", check_finite=False
        )
        found = torch.from_numpy(vectors.T[::-1].copy())
        return torch.from_numpy(values[::-1].copy()), found, float(matrix.trace())

    def _of_states(self, count: int) -> tuple[Tensor, Tensor, float]:
        rows = torch.cat(self._waiting).double() - self.mean
        values, vectors = torch.linalg.eigh(rows @ rows.T / (len(rows) - 1))
        leading = vectors.flip(1)[:, :count]
        # Householder's QR gives orthonormal directions also where there is no variance left.
        return values.flip(0)[:count], torch.linalg.qr(rows.T @ leading).Q.T, float(values.clamp(min=0).sum())

    @property
    def _enough(self) -> int:
        return max(self.width, ROWS) if self._scatter is None else ROWS

    def _settle(self) -> None:
        if self._waiting:
            self._fold(torch.cat(self._waiting))
            self._waiting = []

    def _grown(self) -> Tensor:
        if self._scatter is None:
            self._scatter = torch.zeros(self.width, self.width, dtype=torch.float64)
        return self._scatter

    def _fold(self, rows: Tensor) -> None:
        """Add to the scatter about the mean so far, then move it to the new mean; only its lower blocks are kept."""
        scatter, step = self._grown(), -(-self.width // BLOCKS)
        for part in rows.split(ROWS):
            values = part.double()
            if self._count == 0:
                self._mean = values.mean(0)
            values = values - self._mean
            for left in range(0, self.width, step):
                block = scatter[left:, left : left + step]
                block.addmm_(values[:, left:].T, values[:, left : left + step])
            self._count += len(part)
            shift = values.sum(0) / self._count
            scatter.addr_(shift, shift, alpha=-self._count)
            self._mean = self._mean + shift


def _signed(directions: Tensor) -> Tensor:
    """The same directions, each with its largest entry positive."""
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return (directions * torch.where(largest < 0, -1.0, 1.0)).contiguous()
