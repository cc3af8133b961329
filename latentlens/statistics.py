"""Logits to numbers, one iteration at a time: top-k, entropy, divergences.

In: a function that gives the logits of an iteration. Out: tensors over prompt, iteration, position, on the CPU.
Bits everywhere. Knows nothing about tokens' texts or datasets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.lenses import Lens
from latentlens.trajectory import Trajectory

LogitsAt = Callable[[int], Float[Tensor, "prompt position vocab"]]
LN2 = math.log(2)
BUFFERS = 6
"""How many tensors of the size of one iteration's logits are alive at once while statistics are made."""


class LogitStream:
    """The logits of a trajectory through a lens, a few prompts and one iteration at a time.

    A chunk's logits are kept for the second pass where all of its iterations fit into the budget.
    """

    def __init__(self, traj: Trajectory, lens: Lens, budget: int) -> None:
        self.traj, self.lens, self.budget = traj, lens, budget
        self.model = traj.needs_model()
        self.bytes_a_prompt = traj.tokens.shape[1] * self.model.vocab_size * 4
        fit = max(budget // (self.bytes_a_prompt * (BUFFERS + traj.iterations + 1)), 1)
        self.chunks = torch.arange(len(traj.tokens)).split(fit)

    def __len__(self) -> int:
        return len(self.traj.tokens)

    def open(self, rows: Tensor, *, upcast: bool = True) -> LogitsAt:
        """A function from an iteration to the logits of these prompts, in float32 unless `upcast` is off."""
        states = self.traj.states[rows].to(self.model.device)
        start = states[:, 0] if self.model.steps else None
        context = self.model.begin(
            self.traj.tokens[rows], mask=self.traj.mask[rows], seed=self.traj.seed, initial_state=start
        )
        held: dict[int, Tensor] = {}
        count = self.traj.iterations + 1
        keep = len(rows) * self.bytes_a_prompt * (BUFFERS + count) <= self.budget

        def logits_at(iteration: int) -> Tensor:
            if iteration in held:
                return held[iteration]
            out = self.lens.logits(self.model, states[:, iteration], context, iteration)
            out = out.float() if upcast else out
            if keep:
                held[iteration] = out
            return out

        return logits_at


@dataclass
class Statistics:
    """What does not depend on candidates, `[prompt, iteration, position]` (and `k`); bits."""

    top_token: Int[Tensor, "prompt iteration position k"]
    top_prob: Float[Tensor, "prompt iteration position k"]
    entropy: Float[Tensor, "prompt iteration position"]
    kl_to_final: Float[Tensor, "prompt iteration position"]
    missing_bits: Float[Tensor, "prompt iteration position"]
    kl_step: Float[Tensor, "prompt iteration position"]
    normaliser: Float[Tensor, "prompt iteration position"]

    @classmethod
    def collect(
        cls, logits_at: LogitsAt, last: int, top_k: int, prompts: int, tick: Callable[[int], None]
    ) -> Statistics:
        """One pass over the iterations; `tick` is told how many states are done."""
        final = _log_probabilities(logits_at(last))[0]
        before: Tensor | None = None
        rows: list[tuple[Tensor, ...]] = []
        for iteration in range(last + 1):
            logp, normaliser = _log_probabilities(logits_at(iteration))
            top = logp.topk(top_k, dim=-1)
            step = _kl(before, logp) if before is not None else torch.full_like(normaliser, torch.nan)
            p = logp.exp()
            row = (
                top.indices,
                top.values.exp(),
                (p * logp).sum(-1).div(-LN2).clamp(min=0),
                (p * (logp - final)).sum(-1).div(LN2).clamp(min=0),
                _kl(final, logp),
                step,
                normaliser,
            )
            rows.append(tuple(value.cpu() for value in row))
            before = logp
            tick(prompts)
        return cls(*(torch.stack(column, dim=1) for column in zip(*rows)))

    @classmethod
    def joined(cls, parts: list[Statistics]) -> Statistics:
        """Chunks of prompts, one after the other."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def _log_probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Natural log-probabilities and their normaliser; one way for all, so that a state is at 0 bits from itself."""
    normaliser = logits.logsumexp(-1)
    return logits - normaliser[..., None], normaliser


def _kl(logp: Tensor, logq: Tensor) -> Tensor:
    """KL(p || q) in bits over the last axis; rounding never makes it negative."""
    return (logp.exp() * (logp - logq)).sum(-1).div(LN2).clamp(min=0)
