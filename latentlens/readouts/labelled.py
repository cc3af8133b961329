"""Numbers of places to an xarray Dataset: axes, names, units, texts.

In: tensors over place (and iteration), where the places are. Out: a Dataset over prompt, iteration, position; at pads
-1 and NaN. Computes nothing that needs the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import ReadoutError
from latentlens.exits import exit_iteration, exit_pdf
from latentlens.models.base import LatentModel
from latentlens.quantities import SETTLED, TITLES
from latentlens.readouts.inputs import Input
from latentlens.readouts.truths import Truth, truth_of

CELLS = ("prompt", "iteration", "position")
Variables = dict[str, tuple[tuple[str, ...], Tensor]]


def dataset(
    given: Input,
    rows: dict[str, Tensor],
    *,
    wanted: frozenset[str],
    labels: list[str] | None,
    truths: Sequence[Truth | None],
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Everything that was read of all places, named."""
    first = int(given.model.random_start)
    data = _candidates(given, rows, wanted) | _leaders(given, rows, wanted, first)
    for name in rows.keys() & TITLES.keys() - data.keys() - {"token", "rank", "truth_bits"}:
        data[name] = (CELLS, _spread(given, rows[name], torch.nan))
    if any(truth is not None for truth in truths):
        data["truth"] = (("prompt", "position", "candidate"), truth_of(data["candidate_token"][1], truths, given.mask))
        data["truth_bits"] = (CELLS, _spread(given, rows["truth_bits"], torch.nan))
    data |= _exits(given, rows)
    data = {name: data[name] for name in TITLES if name in data}
    out = xr.Dataset(
        {name: (dims, value.numpy()) for name, (dims, value) in data.items()},
        coords={"iteration": ("iteration", np.arange(given.iterations + 1), {"long_name": "iteration", "units": "1"})},
        attrs=attrs | {"random_start": first},
    )
    return _with_units(_with_text(out, given.model, labels))


def token_text(out: xr.Dataset, ids: Any) -> np.ndarray:
    """The texts of token ids that occur in a readout, same shape; "" for -1 (a pad).

    >>> import latentlens as ll
    >>> out = ll.decode(ll.capture(ll.load("walks"), "1 steps from Ann", iterations=4))
    >>> ll.token_text(out, out.token[0]).tolist()
    ['1', 'steps', 'from', 'Ann']
    """
    wanted, known = np.asarray(ids), out.vocabulary.values
    place = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    if ((known[place] != wanted) & (wanted != -1)).any():
        raise ReadoutError("expected token ids that occur in this readout, got another: decode again with track=")
    return np.where(wanted == -1, "", out.text.values[place])


def _spread(given: Input, values: Float[Tensor, "place ..."], fill: float) -> Tensor:
    """Places to prompt and position, `fill` at pads; iterations go in between."""
    if bool(given.mask.all()):
        out = values.unflatten(0, given.mask.shape)
    else:
        out = torch.full((*given.mask.shape, *values.shape[1:]), fill, dtype=values.dtype)
        out[given.mask] = values
    return out.transpose(1, 2).contiguous() if values.ndim > 1 else out


def _candidates(given: Input, rows: dict[str, Tensor], wanted: frozenset[str]) -> Variables:
    """Who is followed, and how each fares."""
    dims, none = (*CELLS, "candidate"), (rows["token"] == -1)[:, None]
    log_prob, rank = rows.pop("log_prob"), rows.pop("rank")  # let go of as soon as they are in place
    prob = log_prob.exp()
    token = torch.full((*given.mask.shape, rows["token"].shape[-1]), -1, dtype=torch.int64)
    token[given.mask] = rows["token"]
    out: Variables = {
        "candidate_token": (("prompt", "position", "candidate"), token),
        "prob": (dims, _spread(given, prob.masked_fill(none, torch.nan), torch.nan)),
        "rank": (dims, _spread(given, rank.masked_fill_(none, -1), -1)),
        "other_prob": (CELLS, _spread(given, (1 - prob.masked_fill(none, 0).sum(-1)).clamp(min=0), torch.nan)),
    }
    if "surprisal" in wanted:
        bits = log_prob.div(-np.log(2)).clamp(min=0).masked_fill(none, torch.nan)
        out["surprisal"] = (dims, _spread(given, bits, torch.nan))
    return out


def _leaders(given: Input, rows: dict[str, Tensor], wanted: frozenset[str], first: int) -> Variables:
    """The best tokens, and what their order over the iterations says."""
    leader = rows["top_token"][..., 0]
    commitment, settled = _commitment(leader, first)
    flat = ("prompt", "position")
    out: Variables = {
        "top_token": ((*CELLS, "k"), _spread(given, rows.pop("top_token"), -1)),
        "top_prob": ((*CELLS, "k"), _spread(given, rows.pop("top_prob"), torch.nan)),
        "commitment": (flat, _spread(given, commitment, -1)),
        "settled": (flat, _spread(given, settled, False)),
        "token": (flat, given.tokens.masked_fill(~given.mask, -1)),
    }
    if "leader_changes" in wanted:
        changes = (leader[:, first + 1 :] != leader[:, first:-1]).sum(-1)
        out["leader_changes"] = (flat, _spread(given, changes, -1))
    return out


def _commitment(leader: Int[Tensor, "place iteration"], first: int) -> tuple[Tensor, Tensor]:
    """The first iteration from which top-1 never changes, and whether it held for the last `SETTLED`."""
    last = leader.shape[1] - 1
    changed = leader != leader[:, -1:]
    commitment = torch.where(changed, torch.arange(last + 1) + 1, 0).amax(1).clamp(min=first)
    return commitment, last - commitment + 1 >= SETTLED


def _exits(given: Input, rows: dict[str, Tensor]) -> Variables:
    """What the exit gate says: the pdf and cdf of stopping, and where the model's own threshold stops."""
    if "gate" not in rows:
        return {}
    pdf = exit_pdf(rows["gate"].T).T
    stop = exit_iteration(pdf.T, given.model.exit_threshold or 0.0)
    none = torch.full_like(pdf[:, :1], torch.nan)
    return {
        "exit_pdf": (CELLS, _spread(given, torch.cat([none, pdf], 1), torch.nan)),
        "exit_cdf": (CELLS, _spread(given, torch.cat([none, pdf.cumsum(1)], 1), torch.nan)),
        "exit_iteration": (("prompt", "position"), _spread(given, stop, -1)),
    }


def _with_units(out: xr.Dataset) -> xr.Dataset:
    for name in out.data_vars:
        long_name, units = TITLES[str(name)]
        out[name].attrs.update(long_name=long_name, units=units)
    return out


def _with_text(out: xr.Dataset, model: LatentModel, labels: list[str] | None) -> xr.Dataset:
    """Add the text of every token id that occurs, once, and a label for every candidate."""
    tokenizer = model.tokenizer
    ids = np.unique(np.concatenate([out[n].values.ravel() for n in ("top_token", "candidate_token", "token")]))
    ids = ids[ids >= 0]
    texts = [tokenizer.text(int(i)) if tokenizer else f"<{i}>" for i in ids]
    out = out.assign_coords(vocabulary=("vocabulary", ids)).assign(text=("vocabulary", np.array(texts, dtype=object)))
    candidates = out.candidate_token.values
    if labels is None:
        named = token_text(out, candidates)
    else:
        named = np.where(candidates == -1, "", np.array(labels, dtype=object))
    return out.assign(candidate_label=(("prompt", "position", "candidate"), named.astype(object)))
