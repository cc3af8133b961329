"""All numbers of some places from one pass over their logits.

In: a `Feed` and what is asked for. Out: named tensors over place and iteration, on the CPU. Where all iterations of a
place fit into the budget, its logits are made once and read while they are in the cache, or swept over where they are
many; otherwise a window of iterations at a time, and the leaders, known only at the end, in a second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from latentlens.models.base import LatentModel
from latentlens.readouts.candidates import Followed, Plan, follow, leaders, log_probs
from latentlens.readouts.feeds import Cut, Feed
from latentlens.readouts.said import UNIT, Said
from latentlens.readouts.statistics import divergences, leader_statistics
from latentlens.readouts.truths import Truth, truth_bits

LARGE = 2**23
"""Logits from which loading the compiled sweeps, about as long as a few readouts of so many, is worth it."""
SWEEP = 32 * 2**20
"""Bytes of logits of one sweep: threads start for each, and where a logit is infinite all of it is read plainly."""
Row = dict[str, Tensor]


@dataclass(frozen=True)
class Asked:
    """What is wanted of every place."""

    top_k: int
    wanted: frozenset[str]
    plan: Plan
    vocab_size: int
    swept: bool = False

    @classmethod
    def of(cls, top_k: int, wanted: frozenset[str], plan: Plan, model: LatentModel, states: int) -> Asked:
        """Of so many states of a model: many logits on a CPU are swept over by compiled loops."""
        size = model.vocab_size
        many = states * size >= LARGE and model.device.type == "cpu"
        return cls(min(top_k, size), wanted, plan, size, many)

    @property
    def depth(self) -> int:
        """How many of the best tokens are looked for: two at least, for the margin between them."""
        return min(max(self.top_k, 2), self.vocab_size)


@dataclass(frozen=True)
class Places:
    """Some places: the token that follows each (-1: none), and the exact answer where it is known."""

    following: Int[Tensor, place]
    truths: Sequence[Truth | None]

    def at(self, part: slice) -> Places:
        return Places(self.following[part], self.truths[part])


def read_feed(feed: Feed, asked: Asked, places: Places, budget: int, tick: Callable[[int], None]) -> Iterator[Row]:
    """The numbers of every place of a feed, some places at a time; `tick` is told how many states are done."""
    for cut in feed.cuts(budget):
        if cut.window >= feed.count:
            yield from _whole(feed.window(cut.places, 0, feed.count), asked, places.at(cut.places), tick)
        else:
            yield _windowed(feed, cut, asked, places.at(cut.places), tick)


def _whole(
    logits: Float[Tensor, "place iteration vocab"], asked: Asked, places: Places, tick: Callable[[int], None]
) -> Iterator[Row]:
    """Places of which all iterations are at hand."""
    for part, said in _read(logits, asked):
        some = places.at(part)
        silent = said.mass.isnan()  # the lens says nothing there
        members = asked.plan.members(some.following.to(logits.device))
        if members is None:
            lead = said.top_token[..., 0].masked_fill(silent, -1)
            token = leaders(lead, asked.plan.first, asked.plan.also)
            order = asked.plan.order(token, log_probs(said, token).exp())
            members = [token.gather(-1, order.clamp(min=0)).masked_fill(order < 0, -1)]
        found = _raw(said, some, follow(said, members))
        if said.products is None:
            said.relative()
        yield _hushed(found | _numbers(said, said.at(slice(-1, None)), asked, ends=True), silent)
        tick(said.mass.numel())


def _read(logits: Float[Tensor, "place iteration vocab"], asked: Asked) -> Iterator[tuple[slice, Said]]:
    """What was said at some of them after others: swept, or in whole tensors."""
    place = 4 * logits[0].numel()
    for first in range(0, len(logits), size := max((SWEEP if asked.swept else UNIT) // place, 1)):
        part = slice(first, min(first + size, len(logits)))
        swept = Said.swept(logits[part], asked.depth) if asked.swept else None
        if swept is not None:
            yield part, swept
            continue
        few = max(UNIT // place, 1)
        for start in range(part.start, part.stop, few):
            some = slice(start, min(start + few, part.stop))
            yield some, Said.read(logits[some], asked.depth)


def _windowed(feed: Feed, cut: Cut, asked: Asked, places: Places, tick: Callable[[int], None]) -> Row:
    """Places of which a window of iterations is at hand at a time, beside the last one."""
    final = Said.read(feed.window(cut.places, feed.count - 1, feed.count), asked.depth).relative()
    members = asked.plan.members(places.following.to(final.mass.device))
    rows = []
    for start, said in _windows(feed, cut, asked.depth):
        found = _raw(said, places, follow(said, members) if members is not None else None)
        silent = said.mass.isnan()
        said.relative()
        ends = start + cut.window >= feed.count
        row = _hushed(found | _numbers(said, final, asked, ends=ends), silent)
        rows.append({name: value[:, start > 0 :] for name, value in row.items() if name != "token"})
        tick(rows[-1]["entropy"].numel())
    out = {name: torch.cat([row[name] for row in rows], 1) for name in rows[0]}
    if members is not None:
        return out | {"token": members[0].cpu()}
    return out | _on_cpu(_second_pass(feed, cut, asked, out["top_token"][..., 0]))


def _windows(feed: Feed, cut: Cut, depth: int) -> Iterator[tuple[int, Said]]:
    """Windows of iterations, each with the one before it in front (but the first), and where each starts."""
    for start in range(0, feed.count, cut.window):
        stop = min(start + cut.window, feed.count)
        yield start, Said.read(feed.window(cut.places, max(start - 1, 0), stop), depth)


def _second_pass(feed: Feed, cut: Cut, asked: Asked, top: Int[Tensor, "place iteration"]) -> Row:
    """The leaders, once it is known who led."""
    token = leaders(top, asked.plan.first, asked.plan.also)
    parts = []
    for start, said in _windows(feed, cut, asked.depth):
        part = follow(said, [token])
        parts.append(Followed(token, part.log_prob[:, start > 0 :], part.rank[:, start > 0 :]))
    whole = Followed(token, *(torch.cat([getattr(p, n) for p in parts], 1) for n in ("log_prob", "rank")))
    whole.rank.masked_fill_(whole.log_prob.isnan(), -1)
    return vars(whole.picked(asked.plan.order(token, whole.log_prob.exp())))


def _raw(said: Said, places: Places, followed: Followed | None) -> Row:
    """What is read off the logits as they came."""
    out = {} if followed is None else dict(vars(followed))
    if any(truth is not None for truth in places.truths):
        out["truth_bits"] = truth_bits(said, places.truths)
    else:
        out["truth_bits"] = torch.full_like(said.mass, torch.nan)
    return out


def _numbers(said: Said, final: Said, asked: Asked, *, ends: bool) -> Row:
    """What is read off relative logits: the best tokens and every statistic."""
    prob = said.log_prob(said.top[..., : asked.top_k]).exp()
    out = {"top_token": said.top_token[..., : asked.top_k], "top_prob": prob}
    out |= leader_statistics(said, final.top_token[:, -1, 0], asked.wanted)
    return out | divergences(said, final, ends=ends, wanted=asked.wanted)


def _hushed(row: Row, silent: Bool[Tensor, "place iteration"]) -> Row:
    """On the CPU, without tokens, ranks and counts where logits are NaN: a fitted lens masks what it cannot read."""
    if bool(silent.any()):
        for name, value in row.items():
            if name != "token":
                none = silent.reshape(*silent.shape, *[1] * (value.ndim - 2))
                row[name] = value.masked_fill(none, torch.nan if value.is_floating_point() else -1)
    return _on_cpu(row)


def _on_cpu(row: Row) -> Row:
    return {name: value.cpu() for name, value in row.items()}
