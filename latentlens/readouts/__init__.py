"""States to statistics over the vocabulary, streamed.

In: states (a `Trajectory`, one on disk, or a model and prompts) and a lens. Out: an xarray Dataset, or the logits
themselves. Probabilities are never rounded; entropies and divergences are in bits, in float32 whatever the model's
dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import ReadoutError
from latentlens.lenses import Lens, find_lens
from latentlens.models.base import LatentModel
from latentlens.names import check_whole
from latentlens.progress import Progress, progress_bar
from latentlens.quantities import check_statistics
from latentlens.readouts.candidates import Plan, Track, following
from latentlens.readouts.feeds import feeds, opened, prompts_at_once
from latentlens.readouts.inputs import Decodable, Input, input_of
from latentlens.readouts.labelled import dataset, token_text
from latentlens.readouts.passes import Asked, Places, Row, read_feed
from latentlens.readouts.truths import Truth, known_truths
from latentlens.trajectory import Trajectory

__all__ = ["decode", "logits", "positions_of", "token_text"]

BUDGET = 512 * 2**20
TOP_K = 10


def decode(
    source: Decodable,
    second: Any = None,
    /,
    *,
    lens: Lens | str | None = None,
    prompts: str | Sequence[str] | None = None,
    tokens: Any = None,
    mask: Any = None,
    iterations: int | None = None,
    seed: int | None = None,
    model: LatentModel | None = None,
    top_k: int = TOP_K,
    track: Track = None,
    also: Track = None,
    max_candidates: int = 10,
    statistics: str | Sequence[str] = (),
    budget: int = BUDGET,
    progress: Progress = True,
) -> xr.Dataset:
    """What a lens says at every (prompt, iteration, position).

    `decode(traj, lens)` reads a trajectory; `decode("run.zarr", model=model)` one on disk, some prompts at a time;
    `decode(model, prompts, iterations=8)` runs the prompts and keeps no state. No more than `budget` bytes are held
    beyond the weights, the trajectory (where it is in memory) and the result, as long as one prompt's states, and its
    logits after one iteration, fit.

    Args:
        source: what `capture` returns, the path of a saved one, or a model.
        second: the lens; after a model, the prompts.
        lens: None or "coda" is the model's own answer; "logit" leaves the coda out; or a `Lens`.
        prompts, tokens, mask, iterations, seed: with a model only, as in `capture`.
        model: with a path only: the model that made the trajectory.
        top_k: how many of the best tokens to keep; all of them where the vocabulary has less than 10.
        track: candidates to follow: texts, token ids, `{"Paris": [" Paris", "Paris"]}` (one answer, several
            tokens), or "next" (the token that really follows). None follows every token that is top-1 at some
            iteration of that (prompt, position), by peak probability; `s_0` does not count where it is random.
        also: tokens to follow beside those leaders (texts or ids), or "truth" for the names in the exact answers
            (none where the task knows none); only where `track` is None.
        max_candidates: how many of the leaders to keep where `track` is None.
        statistics: a name, names, or "all": what to add to what is always there.
        budget: bytes held at once.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Returns:
        A Dataset over prompt, iteration (0 included), position, k, candidate. At pads -1 and NaN.
        `top_token` (ids; of equal logits the lowest first), `top_prob`; `candidate_token` (the first id of a group),
        `candidate_label`, `prob`, `rank` (number of strictly greater logits), `other_prob` (the rest of the mass);
        `entropy`, `kl_to_final` = KL(p_r || p_R), `missing_bits` = KL(p_R || p_r), `kl_step` = KL(p_{r-1} || p_r) in
        bits; `commitment`, the first iteration from which top-1 never changes, and `settled`, whether it held for the
        last 4 iterations; `text`, the text of every token id that occurs. Where the model's task knows the exact
        answer (`walks` does), `truth`, the probability of each candidate, and `truth_bits` = KL(truth || p_r), at the
        prompt's last position. Where the model has an exit gate, `exit_pdf`, `exit_cdf` and, at the model's own
        threshold, `exit_iteration`.

        With `statistics`: `kl_step_back` = KL(p_r || p_{r-1}) and `js_to_final`, the Jensen-Shannon divergence of p_r
        and p_R (Lin 1991), in bits; `total_variation`, half their L1 distance; `agreement` of top-1 with the final
        one, 0 or 1; `leader_changes` by (prompt, position); `margin`, the probability of the best token less that of
        the second; `nucleus_size`, how many tokens hold 0.9 of the mass; `surprisal` of each candidate, -log2 of its
        probability, in bits.

    Raises:
        ReadoutError: options that do not fit. TokenError: a tracked text that is not one token.
        LensError: an unknown lens. StoreError: a path that holds no trajectory of this model.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=8)
    >>> out = ll.decode(traj, track=["Bob", "Ann"])
    >>> float(out.prob.sel(candidate=0)[0, -1, -1]) > 0.9
    True

    A tidy table is one call away, a row for each prompt, iteration and position:

    >>> out = ll.decode(traj, track="next", statistics=["margin", "surprisal"])
    >>> out[["entropy", "margin"]].to_dataframe().reset_index().columns.tolist()
    ['prompt', 'iteration', 'position', 'entropy', 'margin']
    >>> float(out.surprisal.to_dataframe().surprisal.min()) >= 0
    True
    """
    chosen, run = _arguments(source, second, lens, prompts)
    for name, value in (("top_k", top_k), ("max_candidates", max_candidates), ("budget", budget)):
        check_whole(name, value, ReadoutError)
    wanted = check_statistics(statistics)
    given = input_of(source, model=model, tokens=tokens, mask=mask, iterations=iterations, seed=seed, prompts=run)
    if top_k > max(given.model.vocab_size, TOP_K):
        raise ReadoutError(f"expected top_k of at most {given.model.vocab_size}, the vocabulary, got {top_k}")
    reader = find_lens(chosen)
    truths = known_truths(given.model, given.prompts, len(given.tokens))
    named = sorted({token for truth in truths for token in truth or {}}) if also == "truth" else also
    plan = Plan.make(track, named or None, max_candidates, given.model)
    total = int(given.mask.sum()) * (given.iterations + 1)
    asked = Asked.of(top_k, wanted, plan, given.model, total)
    with torch.no_grad(), progress_bar(progress, total, "decode", "state") as tick:
        rows = _joined(_read(given, reader, asked, truths, budget, tick))
    about = {"lens": reader.name, "model": given.model.name, "seed": given.seed}
    return dataset(given, rows, wanted=wanted, labels=plan.labels, truths=truths, attrs=about)


def _arguments(source: Any, second: Any, lens: Any, prompts: Any) -> tuple[Any, Any]:
    """The lens and the prompts: what comes second is one of them."""
    if second is None:
        return lens, prompts
    if isinstance(source, LatentModel):
        if prompts is not None:
            raise ReadoutError("expected prompts once, got them twice: leave prompts= out")
        if isinstance(second, Lens):
            raise ReadoutError(f"expected prompts after a model, got the lens {second.name!r}: pass lens=")
        return lens, second
    if lens is not None:
        raise ReadoutError("expected a lens once, got it twice: leave lens= out")
    return second, prompts


def _read(
    given: Input, lens: Lens, asked: Asked, truths: Sequence[Truth | None], budget: int, tick: Callable[[int], None]
) -> Iterator[Row]:
    """The numbers of all places, in the order of prompts and positions."""
    next_token = following(given.tokens, given.mask)
    size = prompts_at_once(given, lens, budget)
    for start in range(0, len(given.tokens), size):
        rows = slice(start, start + size)
        for feed in feeds(given, lens, rows, budget):
            prompt = feed.prompt + start
            last = given.mask.sum(1)[prompt] - 1 == feed.position
            exact = [truths[i] if end else None for i, end in zip(prompt.tolist(), last.tolist())]
            places, done = Places(next_token[prompt, feed.position], exact), 0
            for row in read_feed(feed, asked, places, budget // 2, tick):
                count = len(row["token"])
                yield row if feed.gate is None else row | {"gate": feed.gate[done : done + count]}
                done += count


def _joined(parts: Iterable[Row]) -> Row:
    """One after the other, some at a time, so that few small pieces lie about between the large ones."""
    done: list[Row] = []
    rows: list[Row] = []
    for row in parts:
        rows.append(row)
        if len(rows) == 64:
            done, rows = [*done, _stacked(rows)], []
    return _stacked([*done, *rows])


def _stacked(rows: list[Row]) -> Row:
    """Where they follow different numbers of candidates, -1 stands behind the fewer."""
    width = max(row["token"].shape[-1] for row in rows)
    padded = {"token", "rank", "log_prob"}
    return {
        name: torch.cat([_wide(row[name], width) if name in padded else row[name] for row in rows]) for name in rows[0]
    }


def _wide(values: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[-1]), value=-1)


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
    given, chosen = input_of(traj), find_lens(lens)
    model, at = given.model, _checked_iterations(traj, iterations)
    where = positions_of(traj, range(traj.tokens.shape[1]) if positions is None else positions)
    size = max(BUDGET // (6 * 4 * model.vocab_size * traj.tokens.shape[1]), 1)
    out = torch.empty(len(traj.tokens), len(at), where.shape[1], model.vocab_size, dtype=model.dtype)
    with torch.no_grad():
        for begin in range(0, len(traj.tokens), size):
            rows = slice(begin, begin + size)
            index, (states, context) = where[rows][..., None].clamp(min=0), opened(given, rows)
            for number, iteration in enumerate(at):
                full = chosen.logits(model, states[:, iteration], context, iteration).cpu()
                out = out.to(full.dtype)  # some answer in float32 whatever their states are in
                out[rows, number] = full.gather(1, index.expand(-1, -1, full.shape[-1]))
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


def _checked_iterations(traj: Trajectory, iterations: Iterable[int] | None) -> list[int]:
    last = traj.iterations
    wanted = list(range(last + 1)) if iterations is None else list(iterations)
    for r in wanted:
        if isinstance(r, bool) or not isinstance(r, (int, np.integer)) or not -last - 1 <= r <= last:
            raise ReadoutError(f"expected an iteration from 0 to {last}, got {r!r}: capture with more iterations")
    return [int(r) % (last + 1) for r in wanted]
