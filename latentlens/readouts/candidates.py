"""Which tokens are followed through the iterations, and how they fare.

In: leaders or a `track` argument, and what was said. Out: the log-probability and the rank of each candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import ReadoutError
from latentlens.models.base import LatentModel
from latentlens.readouts.said import Said

Track = str | int | Sequence[str | int] | Mapping[str, Sequence[str | int]] | None
Groups = dict[str, list[int] | None]
"""Label to token ids; None is the token that really comes next."""
NEXT = "next"


@dataclass
class Followed:
    """Candidates of some places: token ids (-1: none), and how they fare by iteration; `log_prob` in nats."""

    token: Int[Tensor, "place candidate"]
    log_prob: Float[Tensor, "place iteration candidate"]
    rank: Int[Tensor, "place iteration candidate"]

    def picked(self, order: Int[Tensor, "place kept"]) -> Followed:
        """Some of the candidates, by number; -1 for none."""
        token = self.token.gather(-1, order.clamp(min=0)).masked_fill(order < 0, -1)
        wide = order.clamp(min=0)[:, None].expand(-1, self.rank.shape[1], -1)
        return Followed(token, self.log_prob.gather(-1, wide), self.rank.gather(-1, wide))


def parse_track(track: Track, model: LatentModel) -> Groups | None:
    """Labels and ids of what is to be followed; refuses what is not one token, and groups that overlap."""
    if track is None:
        return None
    if isinstance(track, Mapping):
        groups: Groups = {}
        for label, members in track.items():
            groups[str(label)] = None if members == NEXT else [_token_id(item, model) for item in _several(members)]
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

    def members(self, following: Int[Tensor, place]) -> list[Int[Tensor, "place candidate"]] | None:
        """Token ids of every candidate at each place: the k-th tensor has the k-th of each group; None: the leaders.

        `following` is the token that really comes next, or -1.
        """
        return None if self.groups is None else tracked_ids(self.groups, following)

    def order(self, token: Tensor, prob: Float[Tensor, "place iteration candidate"]) -> Int[Tensor, "place kept"]:
        """The numbers of the leaders with the highest peaks, highest first, -1 behind them.

        A peak counts from iteration `first` on; tokens named `also` are kept whatever theirs.
        """
        peak = prob[:, self.first :].amax(1).masked_fill(token == -1, -1)
        named = torch.isin(token, torch.tensor(self.also, dtype=token.dtype, device=token.device))
        place = peak.masked_fill(named, -1).argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        peak = peak.masked_fill(~named & (place >= self.limit), -1)
        order = peak.argsort(dim=-1, descending=True, stable=True)
        order = order.masked_fill(peak.gather(-1, order) < 0, -1)
        return order[:, : max(int((order >= 0).sum(-1).max()), 1)]


def leaders(
    top: Int[Tensor, "place iteration"], first: int, also: Sequence[int] = ()
) -> Int[Tensor, "place candidate"]:
    """Every token that leads at some iteration from `first` on, and those `also` named; -1 behind them."""
    lead = top[:, first:]
    lead = torch.cat([lead, torch.tensor(also, dtype=lead.dtype, device=lead.device).expand(len(lead), -1)], -1)
    ordered, _ = lead.sort(-1)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    width = int(fresh.sum(-1).max())
    order = (~fresh).to(torch.uint8).argsort(dim=-1, stable=True)[:, :width]
    return ordered.masked_fill(~fresh, -1).gather(-1, order)


def following(tokens: Int[Tensor, "prompt position"], mask: Tensor) -> Int[Tensor, "prompt position"]:
    """The token that really follows each one, or -1."""
    return torch.nn.functional.pad(torch.where(mask[:, 1:], tokens[:, 1:], -1), (0, 1), value=-1)


def tracked_ids(groups: Groups, following: Int[Tensor, place]) -> list[Int[Tensor, "place candidate"]]:
    """The members of each group at each place: the k-th tensor has every group's k-th token, or -1."""
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


def follow(said: Said, members: list[Int[Tensor, "place candidate"]]) -> Followed:
    """Log-probability (of all members of a group together) and rank (of its best member); logits as they came."""
    values = torch.stack([_values(said.logits, ids) for ids in members])
    log_prob = torch.stack([said.log_prob(value) for value in values]).logsumexp(0)
    best = values.amax(0).masked_fill(members[0][:, None] < 0, torch.inf)  # no token: nothing to count
    return Followed(members[0], log_prob, said.rank(best))


def log_probs(said: Said, token: Int[Tensor, "place candidate"]) -> Float[Tensor, "place iteration candidate"]:
    """Log-probabilities alone, without a pass over the vocabulary; -inf where there is no token."""
    return said.log_prob(_values(said.logits, token))


def _values(logits: Tensor, ids: Tensor) -> Tensor:
    wide = ids[:, None].expand(-1, logits.shape[1], -1)
    return logits.gather(-1, wide.clamp(min=0)).masked_fill(wide < 0, -torch.inf)


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
