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
from latentlens.statistics import LogitsAt

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

    def by_peak(self, limit: int, first: int) -> Followed:
        """The `limit` candidates with the highest peak probability, from iteration `first` on, highest first."""
        peak = self.prob[:, first:].amax(1).masked_fill(self.token == -1, -1)
        order = peak.argsort(dim=-1, descending=True, stable=True)[..., :limit]
        wide = order[:, None].expand(-1, self.prob.shape[1], -1, -1)
        found = Followed(self.token.gather(-1, order), self.prob.gather(-1, wide), self.rank.gather(-1, wide))
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


def leaders(top: Int[Tensor, "prompt iteration position"], first: int) -> list[Tensor]:
    """Every token that leads at some iteration from `first` on: one tensor `[prompt, position, candidate]`."""
    lead = top[:, first:].transpose(1, 2)
    ordered, _ = lead.sort(-1)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    width = int(fresh.sum(-1).max())
    # Distinct ids to the left, -1 behind them.
    order = (~fresh).to(torch.uint8).argsort(dim=-1, stable=True)[..., :width]
    return [ordered.masked_fill(~fresh, -1).gather(-1, order)]


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
