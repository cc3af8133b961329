"""Linear maps from features to distributions or to vectors, and how strongly to hold them back.

In: features `[example, feature]` and targets `[example, output]` in float64. Out: weights. Knows no models or labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

PENALTIES = (10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4)
"""What is tried where no penalty is given, the strongest first."""
STEPS = 1000
"""Steps of the solver, at most."""


@dataclass(frozen=True)
class Linear:
    """`x @ weight.T + bias`."""

    weight: Float[Tensor, "output feature"]
    bias: Float[Tensor, output]

    def __call__(self, x: Float[Tensor, "example feature"]) -> Float[Tensor, "example output"]:
        return x @ self.weight.T + self.bias


Fit = Callable[[Tensor, Tensor, float, "Linear | None"], Linear]


@dataclass(frozen=True)
class Scale:
    """Mean and spread of each feature; one that does not vary becomes 0, whatever its value."""

    mean: Float[Tensor, feature]
    spread: Float[Tensor, feature]

    @classmethod
    def of(cls, x: Float[Tensor, "example feature"]) -> Scale:
        """Measured on these examples.

        >>> Scale.of(torch.tensor([[1.0, 5.0], [3.0, 5.0]]).double())(torch.tensor([[3.0, 9.0]])).tolist()
        [[1.0, 0.0]]
        """
        mean, spread = x.mean(0), x.std(0, correction=0)
        size = (mean.square() + spread.square()).sqrt()
        return cls(mean, torch.where(spread > 1e-6 * size, spread, torch.inf))

    def __call__(self, x: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        return (x - self.mean) / self.spread


def softmax_fit(x: Tensor, target: Tensor, penalty: float, start: Linear | None = None) -> Linear:
    """The softmax regression that minimises the mean of KL(target || p) + penalty / 2 |w|^2, by L-BFGS.

    `w` are the weights, and the bias beyond the logarithm of the mean target (half an example added to each class):
    under a strong penalty the map says how frequent the classes are, whatever the features.

    >>> x = torch.tensor([[-1.0], [1.0]]).double()
    >>> softmax_fit(x, torch.eye(2).double(), 1e-4)(x).argmax(1).tolist()
    [0, 1]
    """
    count, outputs = target.shape
    base = (target.sum(0) + 0.5).div(count + 0.5 * outputs).log()
    x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
    first = torch.zeros(outputs, x.shape[1], dtype=x.dtype)
    if start is not None:
        first = torch.cat([start.weight, (start.bias - base)[:, None]], 1)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.from_numpy(flat).view_as(first)
        logp = (x @ w.T + base).log_softmax(1)
        slope = (logp.exp() * target.sum(1, keepdim=True) - target).T @ x / count + penalty * w
        value = -(target * logp).sum() / count + 0.5 * penalty * w.square().sum()
        return float(value), slope.flatten().numpy()

    options = {"maxiter": STEPS, "gtol": 1e-5, "ftol": 1e-9}
    found = minimize(loss, first.flatten().numpy(), jac=True, method="L-BFGS-B", options=options)
    w = torch.from_numpy(found.x).view_as(first)
    return Linear(w[:, :-1].contiguous(), w[:, -1] + base)


def ridge_fit(x: Tensor, target: Tensor, penalty: float, start: Linear | None = None) -> Linear:
    """The map that minimises the mean of |target - w x - b|^2 + penalty |w|^2, in closed form; `b` is free.

    Solved on the side with fewer equations, features or examples. `start` is not needed.

    >>> x = torch.tensor([[-1.0], [1.0]]).double()
    >>> ridge_fit(x, 2 * x, 1.0).weight.tolist()
    [[1.0]]
    """
    count, width = x.shape
    middle, mean = x.mean(0), target.mean(0)
    x, y = x - middle, target - mean
    if width <= count:
        weight = torch.linalg.solve(x.T @ x / count + penalty * torch.eye(width, dtype=x.dtype), x.T @ y / count)
    else:
        weight = x.T @ torch.linalg.solve(x @ x.T / count + penalty * torch.eye(count, dtype=x.dtype), y / count)
    return Linear(weight.T.contiguous(), mean - middle @ weight)


def best_penalty(fit: Fit, loss: Callable[[Linear], float], x: Tensor, target: Tensor) -> tuple[float, Linear]:
    """The penalty whose fit loses least elsewhere, and that fit.

    From the strongest on, until a tenth of it gains less than a thousandth: a weaker one must earn its keep.
    """
    best, found, least = PENALTIES[0], fit(x, target, PENALTIES[0], None), float("inf")
    for penalty in PENALTIES:
        tried = fit(x, target, penalty, found)
        lost = loss(tried)
        if lost > 0.999 * least:
            break
        best, found, least = penalty, tried, lost
    return best, found
