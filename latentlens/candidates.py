"""Which tokens are followed through the iterations, and how they fare.

In: leaders or a `track` argument, and logits. Out: the probability and the rank of each candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import ReadoutError
from latentlens.models.base import LatentModel
from latentlens.statistics import LogitsAt, Statistics

Track = str | int | Sequence[str | int] | Mapping[str, Sequence[str | int]] | None
Groups = dict[str, list[int] | None]
"""Label to token ids; None is the token that really comes next."""
NEXT = "next"


@dataclass
class Followed:
    """Candidates of some prompts: token ids (-1: none), and probability and rank by iteration."""

    token: Int[Tensor, "prompt position candidate"]
    prob: Float[Tensor, "prompt iteration position candidate"]
    rank: Int[Tensor, "prompt iteration position candidate"]

    def by_peak(self, limit: int, first: int, also: Sequence[int] = ()) -> Followed:
        """The `limit` candidates with the highest peak probability from iteration `first` on, highest first.

        Those `also` named are kept whatever their peak.
        """
        peak = self.prob[:, first:].amax(1).masked_fill(self.token == -1, -1)
        named = torch.isin(self.token, torch.tensor(also, dtype=self.token.dtype))
        place = peak.masked_fill(named, -1).argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        peak = peak.masked_fill(~named & (place >= limit), -1)
        order = peak.argsort(dim=-1, descending=True, stable=True)
        wide = order[:, None].expand(-1, self.prob.shape[1], -1, -1)
        token = self.token.masked_fill(peak < 0, -1).gather(-1, order)
        found = Followed(token, self.prob.gather(-1, wide), self.rank.gather(-1, wide))
        used = max(int((found.token != -1).sum(-1).max()), 1)
        return Followed(found.token[..., :used], found.prob[..., :used], found.rank[..., :used])

    def padded(self, name: str, width: int) -> Tensor:
        """One of the tensors, widened to `width` candidates."""
        value = getattr(self, name)
        return torch.nn.functional.pad(value, (0, width - value.shape[-1]), value=-1)


def parse_track(track: Track, model: LatentModel) -> Groups | None:
    """Labels and ids of what is to be followed; refuses what is not one token, and groups that overlap."""
    if track is None:
        return None
    if isinstance(track, Mapping):
        groups: Groups = {str(label): [_token_id(t, model) for t in _several(ts)] for label, ts in track.items()}
    else:
        items = [track] if isinstance(track, (str, int)) else list(track)
        groups = {}
        for item in items:
            found = None if item == NEXT else [_token_id(item, model)]
            groups[_fresh_label(item, model, groups)] = found
    if not groups or any(ids is not None and not ids for ids in groups.values()):
        raise ReadoutError(f"expected at least one token to track, got {track!r}: leave track out for the leaders")
    seen: dict[int, str] = {}
    for label, ids in groups.items():
        for token in ids or []:
            if token in seen:
                raise ReadoutError(
                    f"expected candidates that do not overlap, got token {token} in {seen[token]!r} and {label!r}"
                )
            seen[token] = label
    return groups


@dataclass(frozen=True)
class Plan:
    """What is followed: given groups, or (None) the leaders and some tokens `also`."""

    groups: Groups | None
    also: tuple[int, ...]
    limit: int
    first: int

    @classmethod
    def make(cls, track: Track, also: Track, limit: int, model: LatentModel) -> Plan:
        """Read `track` and `also`; `also` goes with the leaders only, and names single tokens."""
        if track is not None and also is not None:
            raise ReadoutError("expected also= only where track is None, got both: put everything into track")
        extra = parse_track(also, model) or {}
        if any(ids is None or len(ids) != 1 for ids in extra.values()):
            raise ReadoutError(f"expected single tokens in also=, got {also!r}: use track= for groups and 'next'")
        ids = tuple(ids[0] for ids in extra.values() if ids)
        return cls(parse_track(track, model), ids, limit, 1 if model.random_start else 0)

    @property
    def labels(self) -> list[str] | None:
        """One label a candidate, or None where each position has its own."""
        return None if self.groups is None else list(self.groups)

    def members(self, stats: Statistics, tokens: Tensor, mask: Tensor) -> list[Tensor]:
        """Token ids of every candidate at each (prompt, position): the k-th tensor has the k-th of each group."""
        if self.groups is not None:
            return tracked_ids(self.groups, tokens, mask)
        return [leaders(stats.top_token[..., 0], self.first, self.also)]

    def kept(self, followed: Followed) -> Followed:
        """The leaders with the highest peaks; all of them where they were named."""
        if self.groups is not None:
            return followed
        return followed.by_peak(self.limit, self.first, self.also)


def leaders(
    top: Int[Tensor, "prompt iteration position"], first: int, also: Sequence[int] = ()
) -> Int[Tensor, "prompt position candidate"]:
    """Every token that leads at some iteration from `first` on, and those `also` named; -1 behind them."""
    lead = top[:, first:].transpose(1, 2)
    lead = torch.cat([lead, torch.tensor(also, dtype=lead.dtype).expand(*lead.shape[:2], -1)], -1)
    ordered, _ = lead.sort(-1)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    width = int(fresh.sum(-1).max())
    order = (~fresh).to(torch.uint8).argsort(dim=-1, stable=True)[..., :width]
    return ordered.masked_fill(~fresh, -1).gather(-1, order)


def tracked_ids(groups: Groups, tokens: Tensor, mask: Tensor) -> list[Tensor]:
    """The members of each group at each (prompt, position): the k-th tensor has every group's k-th token, or -1."""
    following = torch.where(mask[:, 1:], tokens[:, 1:], -1)
    following = torch.nn.functional.pad(following, (0, 1), value=-1)
    most = max(1 if ids is None else len(ids) for ids in groups.values())
    out = []
    for member in range(most):
        columns = []
        for ids in groups.values():
            if ids is None:
                columns.append(following if member == 0 else torch.full_like(following, -1))
            else:
                columns.append(torch.full_like(following, ids[member] if member < len(ids) else -1))
        out.append(torch.stack(columns, -1))
    return out


def gather(
    logits_at: LogitsAt,
    normaliser: Float[Tensor, "prompt iteration position"],
    members: list[Int[Tensor, "prompt position candidate"]],
    prompts: int,
    tick: Callable[[int], None],
) -> Followed:
    """Probability (summed over the members of a group) and rank (of its best member), iteration by iteration."""
    probs, ranks = [], []
    for iteration in range(normaliser.shape[1]):
        logits = logits_at(iteration)
        scale = normaliser[:, iteration, :, None].to(logits.device)
        prob = torch.zeros(members[0].shape, device=logits.device)
        best = torch.full(members[0].shape, -torch.inf, device=logits.device)
        for ids in members:
            ids = ids.to(logits.device)
            value = logits.gather(-1, ids.clamp(min=0)).masked_fill(ids < 0, -torch.inf)
            prob += (value - scale).exp()
            best = torch.maximum(best, value)
        probs.append(prob.cpu())
        ranks.append(_rank(logits, best).cpu())
        tick(prompts)
    return Followed(members[0], torch.stack(probs, 1), torch.stack(ranks, 1))


def _rank(logits: Tensor, value: Tensor) -> Tensor:
    """How many logits are strictly greater; one candidate at a time, so that no [.., candidate, vocab] is made."""
    columns = [(logits > value[..., c : c + 1]).sum(-1) for c in range(value.shape[-1])]
    return torch.stack(columns, -1)


def _token_id(item: str | int, model: LatentModel) -> int:
    if isinstance(item, str):
        if model.tokenizer is None:
            raise ReadoutError(f"expected token ids to track, got {item!r}: {model.name!r} came without a tokenizer")
        return model.tokenizer.token_id(item)
    if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < model.vocab_size:
        raise ReadoutError(f"expected token ids from 0 to {model.vocab_size - 1} to track, got {item!r}")
    return item


def _several(items: str | int | Sequence[str | int]) -> list[str | int]:
    return [items] if isinstance(items, (str, int)) else list(items)


def _fresh_label(item: str | int, model: LatentModel, taken: Groups) -> str:
    """The token's text, with its id where another candidate has the same text."""
    text = item if isinstance(item, str) else model.tokenizer.text(item) if model.tokenizer else f"<{item}>"
    return f"{text} ({item})" if text in taken else text
