"""The mean and the covariance of any number of states, in one pass, and its leading directions.

In: states, some at a time, from anywhere. Out: a `Covariance` that can be added to another one, and its eigenvectors.
Sums are float64; so are products of float64 states. Those of narrower ones are float32, which is twice as fast.
Knows nothing about iterations or tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor

from latentlens.errors import EmbeddingError

ROWS, FEWEST = 2048, 512
"""Rows that are multiplied at once at most, and rows below which others are waited for."""
BLOCKS = 4
"""The scatter is symmetric: only the blocks from the diagonal on are multiplied, 10 of 16."""

FAR = 0.1
"""The point that differences are taken from moves where its squared distance from the mean is this share of theirs."""
SMALL = 1e-25
"""Sums of squares below this are not left to float32, whose smallest number is 1e-38."""


@dataclass(eq=False)
class Covariance:
    """Count, mean and scatter of states of one width, streamed (Chan, Golub and LeVeque 1983).

    What has been added in parts, or merged, is what one pass over all of it gives. Products are taken about a point
    near the mean, some rows at a time: of float64 states exactly but for rounding; of narrower ones in float32, and
    then summed in float64, which is wrong by less than 1e-6 of the largest variance, wherever the mean is. As long as
    there are fewer states than dimensions the states themselves are kept, which is less.

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
    _about: Tensor = field(init=False, repr=False)
    _sum: Tensor = field(init=False, repr=False)
    _scatter: Tensor | None = field(default=None, init=False, repr=False)
    _waiting: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        """`_sum` and `_scatter` are those of the differences from `_about`, a point near the mean."""
        self._about = torch.zeros(self.width, dtype=torch.float64)
        self._sum = torch.zeros(self.width, dtype=torch.float64)

    def add(self, states: Float[Tensor, "... d_model"]) -> None:
        """Take in more states, of any dtype; they are not kept once there are enough of them to fold in.

        Raises:
            EmbeddingError: another width, or states that are not finite.
        """
        if states.ndim < 2 or states.shape[-1] != self.width:
            raise EmbeddingError(f"expected states [..., {self.width}], got {list(states.shape)}: another model?")
        rows = states.detach().cpu().reshape(-1, self.width)
        if not finite(rows):
            raise EmbeddingError("expected finite states, got NaN or infinity: leave them out")
        least = FEWEST if self._scatter is not None else max(self.width, FEWEST)
        if len(rows) >= least:
            self._fold(rows)
            return
        self._waiting.append(rows.clone())
        if sum(map(len, self._waiting)) >= max(least, ROWS):
            self._settle()

    def merge(self, other: Covariance) -> None:
        """Take in everything that another one has seen; the other stays as it is."""
        if other.width != self.width:
            raise EmbeddingError(f"expected a covariance of width {self.width}, got {other.width}: another model?")
        if other._count:
            total = self._count + other._count
            self._move(self._folded_mean)
            shift = other._folded_mean - self._about
            self._grown().add_(other._scatter).addr_(other._sum, other._sum, alpha=-1 / other._count)  # type: ignore[arg-type]
            self._grown().addr_(shift, shift, alpha=self._count * other._count / total)
            self._about = self._about + shift * (other._count / total)
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
        waiting = sum((rows.sum(0, dtype=torch.float64) for rows in self._waiting), torch.zeros_like(self._sum))
        return (self._folded_mean * self._count + waiting) / max(self.count, 1)

    @property
    def matrix(self) -> Float[Tensor, "d_model d_model"]:
        """The covariance, n - 1 in the denominator."""
        self._settle()
        lower = self._grown().addr(self._sum, self._sum, alpha=-1 / max(self._count, 1)).tril()
        return (lower + lower.tril(-1).T) / max(self._count - 1, 1)

    def leading(self, count: int) -> tuple[Float[Tensor, component], Float[Tensor, "component d_model"], float]:
        """The `count` largest variances, their orthonormal directions, and the sum of all variances.

        From the eigenvectors of the covariance, or, where there are fewer states than dimensions, of the matrix of
        their inner products. Each direction's largest entry is positive.

        Raises:
            EmbeddingError: fewer than two states, or more directions than there are states or dimensions.
        """
        if self.count < 2:
            raise EmbeddingError(f"expected at least two states to lay out, got {self.count}: capture more iterations")
        most = min(self.width, self.count)
        if not 1 <= count <= most:
            what = "d_model" if most == self.width else "states"
            raise EmbeddingError(f"expected n_components from 1 to {most} ({what}), got {count}: ask for fewer")
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
    def _folded_mean(self) -> Tensor:
        return self._about + self._sum / max(self._count, 1)

    def _settle(self) -> None:
        if self._waiting:
            self._fold(torch.cat(self._waiting))
            self._waiting = []

    def _grown(self) -> Tensor:
        if self._scatter is None:
            self._scatter = torch.zeros(self.width, self.width, dtype=torch.float64)
        return self._scatter

    def _fold(self, rows: Tensor) -> None:
        """Add products about a point near the mean to the scatter; only its lower blocks are kept."""
        kind = torch.float32 if rows.is_floating_point() and rows.dtype != torch.float64 else torch.float64
        scatter, step = self._grown(), -(-self.width // BLOCKS)
        for part in rows.chunk(-(-len(rows) // ROWS)):
            values = part.to(kind)
            about = self._near(values)
            values = values - about
            lefts = range(0, self.width, step)
            for left, block in zip(lefts, _lower_blocks(values, step)):
                scatter[left:, left : left + step].add_(block)
            self._sum += values.sum(0, dtype=torch.float64)
            self._count += len(part)

    def _near(self, values: Float[Tensor, "state d_model"]) -> Float[Tensor, d_model]:
        """The point that differences are taken from, in the dtype of the values; it follows the mean from afar."""
        kind = values.dtype
        if self._count == 0:
            self._about = values.mean(0).double()
        away = self._sum / max(self._count, 1)
        spread = self._grown().diagonal().sum() / max(self._count, 1)
        far = bool(away.square().sum() > FAR * spread)
        about = self._about + away if far else self._about
        self._move(about.to(kind).double())
        return self._about.to(kind)

    def _move(self, about: Float[Tensor, d_model]) -> None:
        """Take the sums about another point, exactly but for rounding in float64."""
        shift = about - self._about
        if bool(shift.any()):
            half = self._sum - shift * (self._count / 2)
            self._grown().addr_(half, shift, alpha=-1).addr_(shift, half, alpha=-1)
            self._sum = self._sum - shift * self._count
            self._about = about


def finite(states: Float[Tensor, "... d_model"]) -> bool:
    """Whether no entry is NaN or infinite. A finite sum tells at once; an infinite one may have overflowed."""
    return bool(torch.isfinite(states.sum())) or bool(torch.isfinite(states).all())


def _lower_blocks(values: Float[Tensor, "state d_model"], step: int) -> list[Tensor]:
    """The products of all dimensions from `left` on with the next `step`, for every `left`."""
    blocks = [values[:, left:].T @ values[:, left : left + step] for left in range(0, values.shape[1], step)]
    trace = sum(float(block.diagonal().sum()) for block in blocks)
    if values.dtype == torch.float64 or SMALL < trace < float("inf"):
        return blocks
    return _lower_blocks(values.double(), step)  # squares that float32 does not hold


def _signed(directions: Tensor) -> Tensor:
    """The same directions, each with its largest entry positive."""
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return (directions * torch.where(largest < 0, -1.0, 1.0)).contiguous()
