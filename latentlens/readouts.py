"""States to statistics over the vocabulary, streamed.

In: a `Trajectory` and a lens. Out: an xarray Dataset, or the logits themselves. Probabilities are never rounded;
entropies and divergences are in bits, computed in float32 whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.candidates import Plan, Track, gather
from latentlens.errors import ReadoutError
from latentlens.exits import exit_iteration, exit_pdf
from latentlens.lenses import Lens, find_lens
from latentlens.progress import Progress, progress_bar
from latentlens.statistics import LogitStream, Statistics
from latentlens.trajectory import Trajectory
from latentlens.truths import Truth, known_truths, truth_bits, truth_of

SETTLED = 4
"""A commitment is `settled` where it held for this many iterations at the end."""


def decode(
    traj: Trajectory,
    lens: Lens | str | None = None,
    *,
    top_k: int = 10,
    track: Track = None,
    also: Track = None,
    max_candidates: int = 10,
    budget: int = 512 * 2**20,
    progress: Progress = True,
) -> xr.Dataset:
    """What a lens says at every (prompt, iteration, position).

    Logits are made for one iteration of a few prompts at a time; no more than `budget` bytes of them are held.

    Args:
        traj: what `capture` returns.
        lens: None or "coda" is the model's own answer; "logit" leaves the coda out; or a `Lens`.
        top_k: how many of the best tokens to keep.
        track: candidates to follow: texts, token ids, `{"Paris": [" Paris", "Paris"]}` (one answer, several
            tokens), or "next" (the token that really follows). None follows every token that is top-1 at some
            iteration of that (prompt, position), by peak probability; `s_0` does not count where it is random.
        also: tokens to follow beside those leaders (texts or ids), or "truth" for the names in the exact answers
            (none where the task knows none); only where `track` is None.
        max_candidates: how many of the leaders to keep where `track` is None.
        budget: bytes of logits held at once.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Returns:
        A Dataset over prompt, iteration (0 included), position, k, candidate. At pads -1 and NaN.
        `top_token` (ids), `top_prob`; `candidate_token` (the first id of a group), `candidate_label`, `prob`,
        `rank` (number of strictly greater logits); `entropy`, `kl_to_final` = KL(p_r || p_R), `missing_bits` =
        KL(p_R || p_r), `kl_step` = KL(p_{r-1} || p_r) in bits; `commitment`, the first iteration from which
        top-1 never changes, and `settled`, whether it held for the last 4 iterations; `text`, the text of every
        token id that occurs. Where the model's task knows the exact answer (`walks` does), `truth`, the
        probability of each candidate, and `truth_bits` = KL(truth || p_r), at the prompt's last position. Where the
        model has an exit gate, `exit_pdf`, `exit_cdf` and, at the model's own threshold, `exit_iteration`.

    Raises:
        ReadoutError: options that do not fit. TokenError: a tracked text that is not one token.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=8)
    >>> out = ll.decode(traj, track=["Bob", "Ann"])
    >>> float(out.prob.sel(candidate=0)[0, -1, -1]) > 0.9
    True
    """
    model, chosen = traj.needs_model(), find_lens(lens)
    _check_counts(top_k=top_k, max_candidates=max_candidates, budget=budget)
    truths = known_truths(traj)
    named = sorted({token for truth in truths for token in truth or {}}) if also == "truth" else also
    plan = Plan.make(track, named or None, max_candidates, model)
    stream = LogitStream(traj, chosen, budget)
    parts = []
    with torch.no_grad(), progress_bar(progress, 2 * len(stream) * (traj.iterations + 1), "decode", "state") as tick:
        for rows in stream.chunks:
            logits_at = stream.open(rows)
            stats = Statistics.collect(logits_at, traj.iterations, min(top_k, model.vocab_size), len(rows), tick)
            members = plan.members(stats, traj.tokens[rows], traj.mask[rows])
            followed = plan.kept(gather(logits_at, stats.normaliser, members, len(rows), tick))
            missing = truth_bits(logits_at, stats.normaliser, [truths[i] for i in rows.tolist()], traj.mask[rows])
            parts.append((stats, followed, missing))
    return _dataset(traj, chosen, parts, plan.labels, truths)


def logits(
    traj: Trajectory,
    lens: Lens | str | None = None,
    *,
    iterations: Iterable[int] | None = None,
    positions: Iterable[int] | None = None,
) -> Float[Tensor, "prompt iteration position vocab"]:
    """The logits themselves, in the dtype of the model's answers, for chosen iterations and positions (default: all).

    A negative position counts from each prompt's own end; logits at pads are NaN.

    Raises:
        ReadoutError: an iteration or position that is not there.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "1 steps from Ann", iterations=4)
    >>> ll.logits(traj, iterations=[0, 4], positions=[-1]).shape[:3]
    torch.Size([1, 2, 1])
    """
    model, chosen = traj.needs_model(), find_lens(lens)
    at = _checked_iterations(traj, iterations)
    where = positions_of(traj, range(traj.tokens.shape[1]) if positions is None else positions)
    stream = LogitStream(traj, chosen, budget=512 * 2**20)
    out = torch.empty(len(traj.tokens), len(at), where.shape[1], model.vocab_size, dtype=model.dtype)
    with torch.no_grad():
        for rows in stream.chunks:
            index, logits_at = where[rows][..., None], stream.open(rows, upcast=False)
            for number, iteration in enumerate(at):
                full = logits_at(iteration).cpu()
                out = out.to(full.dtype)  # some answer in float32 whatever their states are in
                out[rows, number] = full.gather(1, index.clamp(min=0).expand(-1, -1, full.shape[-1]))
    real = traj.mask.gather(1, where.clamp(min=0)) & (where >= 0)
    return out.masked_fill_(~real[:, None, :, None], torch.nan)


def positions_of(traj: Trajectory, positions: Iterable[int]) -> Tensor:
    """Absolute positions for each prompt, `[prompt, n]`; negative ones count from each prompt's own end.

    Where a prompt is too short for a position that another prompt has, -1.
    """
    wanted, longest = list(positions), traj.tokens.shape[1]
    for position in wanted:
        if (
            isinstance(position, bool)
            or not isinstance(position, (int, np.integer))
            or not -longest <= position < longest
        ):
            raise ReadoutError(f"expected a position from {-longest} to {longest - 1}, got {position!r}")
    lengths = traj.lengths
    columns = [lengths + p if p < 0 else torch.full_like(lengths, p) for p in wanted]
    return torch.stack(columns, dim=1).clamp(min=-1)


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


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ReadoutError(f"expected {name} to be a whole number of 1 or more, got {value!r}")


def _checked_iterations(traj: Trajectory, iterations: Iterable[int] | None) -> list[int]:
    last = traj.iterations
    wanted = list(range(last + 1)) if iterations is None else list(iterations)
    for r in wanted:
        if isinstance(r, bool) or not isinstance(r, (int, np.integer)) or not -last - 1 <= r <= last:
            raise ReadoutError(f"expected an iteration from 0 to {last}, got {r!r}: capture with more iterations")
    return [int(r) % (last + 1) for r in wanted]


def _commitment(leader: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """The first iteration from which top-1 never changes, and whether it held for the last `SETTLED`."""
    last = leader.shape[1] - 1
    changed = leader != leader[:, -1:]
    numbers = torch.arange(last + 1)[None, :, None]
    commitment = torch.where(changed, numbers + 1, 0).amax(1).clamp(min=first)
    return commitment, last - commitment + 1 >= SETTLED


def _dataset(
    traj: Trajectory, lens: Lens, parts: list, labels: list[str] | None, truths: list[Truth | None]
) -> xr.Dataset:
    """Put the chunks together, blank the pads, name everything."""
    model = traj.needs_model()
    mask = traj.mask
    stats = Statistics.joined([part[0] for part in parts])
    width = max(f.token.shape[-1] for _, f, _ in parts)
    token = torch.cat([f.padded("token", width) for _, f, _ in parts]).masked_fill(~mask[..., None], -1)
    prob = torch.cat([f.padded("prob", width) for _, f, _ in parts])
    rank = torch.cat([f.padded("rank", width) for _, f, _ in parts])
    blank = ~mask[:, None, :]
    none = blank[..., None] | (token == -1)[:, None]
    commitment, settled = _commitment(stats.top_token[..., 0], int(model.random_start))
    cells = ("prompt", "iteration", "position")
    data: dict[str, Any] = {
        "top_token": ((*cells, "k"), stats.top_token.masked_fill(blank[..., None], -1)),
        "top_prob": ((*cells, "k"), stats.top_prob.masked_fill(blank[..., None], torch.nan)),
        "candidate_token": (("prompt", "position", "candidate"), token),
        "prob": ((*cells, "candidate"), prob.masked_fill(none, torch.nan)),
        "rank": ((*cells, "candidate"), rank.masked_fill(none, -1)),
        "commitment": (("prompt", "position"), commitment.masked_fill(~mask, -1)),
        "settled": (("prompt", "position"), settled & mask),
        "token": (("prompt", "position"), traj.tokens.masked_fill(~mask, -1)),
    }
    for name in ("entropy", "kl_to_final", "missing_bits", "kl_step"):
        data[name] = (cells, getattr(stats, name).masked_fill(blank, torch.nan))
    if any(truth is not None for truth in truths):
        data["truth"] = (("prompt", "position", "candidate"), truth_of(token, truths, mask))
        data["truth_bits"] = (cells, torch.cat([part[2] for part in parts]))
    if model.exit_threshold is not None:
        data |= _exits(traj, cells)
    out = xr.Dataset(
        {name: (dims, value.numpy()) for name, (dims, value) in data.items()},
        coords={"iteration": np.arange(traj.iterations + 1)},
        attrs={
            "lens": lens.name,
            "model": model.name,
            "seed": traj.seed,
            "random_start": int(model.random_start),
        },
    )
    return _with_text(_with_units(out), traj, labels)


def _exits(traj: Trajectory, cells: tuple[str, ...]) -> dict[str, Any]:
    """What the exit gate says: the pdf and cdf of stopping, and where the model's own threshold stops."""
    model = traj.needs_model()
    with torch.no_grad():
        gate = torch.stack([model.gate(states[1:].to(model.device)).cpu() for states in traj.states])
    pdf = exit_pdf(gate.transpose(0, 1)).transpose(0, 1)
    stop = exit_iteration(pdf.transpose(0, 1), model.exit_threshold or 0.0)
    none, blank = torch.full_like(pdf[:, :1], torch.nan), ~traj.mask[:, None]
    return {
        "exit_pdf": (cells, torch.cat([none, pdf], 1).masked_fill(blank, torch.nan)),
        "exit_cdf": (cells, torch.cat([none, pdf.cumsum(1)], 1).masked_fill(blank, torch.nan)),
        "exit_iteration": (("prompt", "position"), stop.masked_fill(~traj.mask, -1)),
    }


def _with_units(out: xr.Dataset) -> xr.Dataset:
    names = {
        "top_token": ("best tokens", "token id"),
        "top_prob": ("probability of the best tokens", "1"),
        "candidate_token": ("followed tokens", "token id"),
        "prob": ("probability of the candidates", "1"),
        "rank": ("number of tokens with a strictly greater logit", "1"),
        "entropy": ("entropy of the prediction", "bits"),
        "kl_to_final": ("KL(p_r || p_R)", "bits"),
        "missing_bits": ("KL(p_R || p_r)", "bits"),
        "kl_step": ("KL(p_{r-1} || p_r)", "bits"),
        "commitment": ("first iteration from which the top candidate never changes", "iteration"),
        "settled": (f"whether the commitment held for the last {SETTLED} iterations", "bool"),
        "token": ("token of the prompt", "token id"),
        "exit_pdf": ("probability that the exit gate stops here", "1"),
        "exit_cdf": ("probability that the exit gate has stopped by here", "1"),
        "exit_iteration": ("iteration at which the model's own exit threshold stops", "iteration"),
        "truth": ("exact probability of the candidates", "1"),
        "truth_bits": ("KL(truth || p_r)", "bits"),
    }
    for name in names.keys() & set(out.data_vars):
        long_name, units = names[name]
        out[name].attrs.update(long_name=long_name, units=units)
    return out


def _with_text(out: xr.Dataset, traj: Trajectory, labels: list[str] | None) -> xr.Dataset:
    """Add the text of every token id that occurs, once, and a label for every candidate."""
    tokenizer = traj.needs_model().tokenizer
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
