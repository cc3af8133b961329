"""Fit to some prompts, measure on others, and do the same with shuffled targets.

In: features of examples and their targets. Out: a linear map, its scores and those of its control. A prompt's examples
are all on one side of the split. Knows nothing about models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentlens.errors import ProbeError
from latentlens.probes.linear import Fit, Linear, Scale, best_penalty, ridge_fit, softmax_fit
from latentlens.probes.targets import Examples

FITS: dict[str, Fit] = {"softmax": softmax_fit, "ridge": ridge_fit}
KINDS = tuple(FITS)
INNER = 0.25
"""The share of the fit split that chooses the penalty."""
FITTED, TRIED, HELD = range(3)


@dataclass(frozen=True)
class Found:
    """One iteration's map, in float32, and what it scored."""

    mean: Float[Tensor, feature]
    spread: Float[Tensor, feature]
    weight: Float[Tensor, "output feature"]
    bias: Float[Tensor, output]
    scores: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """How a probe is fitted and measured: the kind, the side of every prompt, the penalty (None: chosen)."""

    kind: str
    side: Int[Tensor, prompt]
    penalty: float | None
    seed: int

    @classmethod
    def make(cls, prompts: int, kind: str, held_out: float, penalty: float | None, seed: int) -> Trial:
        """Draw the split; refuses one that leaves a side empty."""
        if not 0 < held_out < 1:
            raise ProbeError(f"expected held_out between 0 and 1, the share of prompts to measure on, got {held_out!r}")
        if penalty is not None and not 0 < penalty < math.inf:
            raise ProbeError(f"expected a penalty above 0, got {penalty!r}: leave it out to have one chosen")
        if prompts < 4:
            raise ProbeError(f"expected at least 4 prompts to fit a probe to and hold some out, got {prompts}")
        held = min(max(round(held_out * prompts), 1), prompts - 2)
        tried = min(max(round(INNER * (prompts - held)), 1), prompts - held - 1)
        side = torch.full((prompts,), FITTED)
        order = torch.randperm(prompts, generator=torch.Generator().manual_seed(seed))
        side[order[:held]], side[order[held : held + tried]] = HELD, TRIED
        return cls(kind, side, penalty, seed)

    @property
    def held_out(self) -> Bool[Tensor, prompt]:
        """Whether each prompt is only measured on."""
        return self.side == HELD

    def run(self, x: Float[Tensor, "example feature"], examples: Examples) -> Found:
        """Fit and measure on features in float64."""
        side, target, fit = self.side[examples.prompt], examples.target, FITS[self.kind]
        inside, outside = side != HELD, side == HELD
        if not bool(inside.any() and outside.any()):
            raise ProbeError("expected targets on both sides of the split, got none on one: give more prompts targets")
        scale = Scale.of(x[inside])
        x = scale(x)
        penalty, start = (self.penalty, None) if self.penalty else self._chosen(fit, x, target, side)
        probe = fit(x[inside], target[inside], penalty, start)
        scores = measured(probe(x[outside]), target[outside], self.kind)
        shuffled = self._shuffled(target, inside, outside)
        control = fit(x[inside], shuffled[inside], penalty, None)
        controls = measured(control(x[outside]), shuffled[outside], self.kind)
        scores |= {f"{name}_control": value for name, value in controls.items()} | {"penalty": penalty}
        mean, spread = scale.mean.float(), scale.spread.float()
        return Found(mean, spread, probe.weight.float(), probe.bias.float(), scores)

    def _chosen(self, fit: Fit, x: Tensor, target: Tensor, side: Tensor) -> tuple[float, Linear]:
        """The penalty that does best on a part of the fit split, and its fit; `x` is standardised by all of it."""
        fitted, tried = side == FITTED, side == TRIED
        if not bool(fitted.any() and tried.any()):
            raise ProbeError("expected more prompts with targets to choose a penalty by, got too few: pass penalty=")

        def loss(probe: Linear) -> float:
            return _loss(probe(x[tried]), target[tried], self.kind)

        return best_penalty(fit, loss, x[fitted], target[fitted])

    def _shuffled(self, target: Tensor, *parts: Tensor) -> Tensor:
        """The targets of each part in another order."""
        out, generator = target.clone(), torch.Generator().manual_seed(self.seed)
        for part in parts:
            rows = part.nonzero()[:, 0]
            out[rows] = target[rows[torch.randperm(len(rows), generator=generator)]]
        return out


def measured(said: Float[Tensor, "example output"], target: Tensor, kind: str) -> dict[str, float]:
    """Accuracy and KL(target || probe) in bits, or R^2 pooled over the outputs.

    Right is any of the target's likeliest classes. R^2 is 1 - squared error / squared distance from the targets' mean.

    >>> import torch
    >>> measured(torch.zeros(1, 4).double(), torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double(), "softmax")
    {'accuracy': 1.0, 'bits': 2.0}
    """
    if kind == "ridge":
        spread = float((target - target.mean(0)).square().sum())
        return {"r2": 1 - float((said - target).square().sum()) / spread if spread > 0 else math.nan}
    best = target.gather(1, said.argmax(1, keepdim=True))[:, 0]
    right = best > target.max(1).values - 1e-9
    return {"accuracy": float(right.double().mean()), "bits": _loss(said, target, kind) / math.log(2)}


def _loss(said: Tensor, target: Tensor, kind: str) -> float:
    """The mean KL(target || probe) in nats, or the mean squared error."""
    if kind == "ridge":
        return float((said - target).square().sum(1).mean())
    return max(float((torch.xlogy(target, target) - target * said.log_softmax(1)).sum(1).mean()), 0.0)
