"""Whether and how fast a state comes to rest, and the one word that this makes of its motion.

In: norms and distances, iterations first, any number of tokens. Out: one number or word a token.
Knows nothing about models; the thresholds are the user's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import MotionError
from latentlens.names import check_name

LABELS = ("fixed point", "orbit", "slider", "wandering")
HELD = 4
"""What holds at the end holds for this many iterations."""


@dataclass(frozen=True)
class Thresholds:
    """From which numbers on a motion is called what.

    Attributes:
        still: a fixed point where none of the last 4 relative steps is larger.
        contracts: a fixed point too where the contraction is smaller (0.97: steps halve within 24 iterations).
        straight: a slider where the straightness is this or more.
        orbits: an orbit where the strength of the period is this or more.
        settles: settled where the distance to the last state is at most this share of the largest one.
        floor: rounding floor: steps below this many eps (of the states' dtype) of the state's norm are not fitted.
    """

    still: float = 1e-3
    contracts: float = 0.97
    straight: float = 0.5
    orbits: float = 0.5
    settles: float = 0.05
    floor: float = 8.0

    @classmethod
    def checked(cls, given: Mapping[str, float] | None) -> Thresholds:
        """The thresholds with some replaced by name; refuses other names and what is no number above 0."""
        names = [field.name for field in fields(cls)]
        for name, value in (given or {}).items():
            check_name("a threshold", name, names, MotionError)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
                raise MotionError(f"expected threshold {name} to be a number above 0, got {value!r}")
        return cls(**dict(given or {}))

    def as_dict(self) -> dict[str, float]:
        """By name, to be kept beside what they decided."""
        return asdict(self)


def contraction(
    step_norm: Float[Tensor, "iteration *token"], floor: Float[Tensor, "iteration *token"]
) -> Float[Tensor, "*token"]:
    """The factor by which a step is shorter than the one before: exp of the slope of ln |d_r| over r.

    Least squares over the second half of the iterations before the first step at the rounding floor. At a fixed point
    it goes to the spectral radius of the Jacobian; 1 is no contraction. NaN where fewer than three steps are left.
    """
    lengths = step_norm[1:].double()
    above = (lengths > floor[1:].double()).cumprod(0).bool()
    number = torch.arange(1, len(lengths) + 1, dtype=torch.float64).reshape(-1, *[1] * (lengths.ndim - 1))
    last = above.sum(0)
    used = above & (number >= last / 2)
    weight, count = used.double(), used.sum(0).clamp(min=1)
    logs = lengths.log().masked_fill(~used, 0)
    time = (number - (weight * number).sum(0) / count) * weight
    rate = ((time * logs).sum(0) / time.square().sum(0)).exp()
    return rate.masked_fill(used.sum(0) < 3, torch.nan).to(step_norm.dtype)


def settle(distance_to_final: Float[Tensor, "iteration *token"], share: float) -> Float[Tensor, "*token"]:
    """The first iteration from which the distance to the last state stays within a share of the largest distance.

    The settling time of control theory, with 5% as is usual there. NaN where it did not hold for the last 4 iterations,
    nor for twice as many as something at constant speed is so near for.
    """
    outside = distance_to_final > share * distance_to_final.amax(0)
    number = torch.arange(1, len(outside) + 1).reshape(-1, *[1] * (outside.ndim - 1))
    first = (outside * number).amax(0).to(distance_to_final.dtype)
    held = max(HELD, math.ceil(2 * share * len(outside)))
    return first.masked_fill(first > len(outside) - held, torch.nan)


def straightness(tail: Float[Tensor, "token state d_model"]) -> Float[Tensor, token]:
    """How straight the last states go: distance from first to last over the length of the path; from 0 to 1.

    1 on a line, near 0 on a circle, about 1 / sqrt(n) for n random steps. NaN where nothing moves.
    """
    return (tail[:, -1] - tail[:, 0]).norm(dim=-1) / tail.diff(dim=1).norm(dim=-1).sum(-1)


def last_step(relative_step: Float[Tensor, "iteration *token"]) -> Float[Tensor, "*token"]:
    """The largest of the last 4 relative steps."""
    return relative_step[1:][-HELD:].amax(0)


def labels(
    last: np.ndarray, rate: np.ndarray, straight: np.ndarray, strength: np.ndarray, eps: float, limits: Thresholds
) -> np.ndarray:
    """One word for each token, the first that fits; comparisons with NaN do not.

    - `fixed point`: `last_step` <= still (or the rounding floor), or `contraction` < contracts
    - `slider`: `straightness` >= straight
    - `orbit`: `period_strength` >= orbits
    - `wandering`: none of these
    """
    rests = (last <= max(limits.still, limits.floor * eps)) | (rate < limits.contracts)
    choices = [rests, straight >= limits.straight, strength >= limits.orbits]
    return np.select(choices, ["fixed point", "slider", "orbit"], default="wandering").astype(object)
