"""Whether the answer depends on where the state started: one prompt, many initial states.

In: a model, prompts, initial states. Out: a `PathIndependence`: how far the states stay apart after each iteration,
whether the answers agree, every trajectory and their mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.errors import MotionError
from latentlens.models.base import LatentModel
from latentlens.motion.steps import widened
from latentlens.progress import Progress
from latentlens.readouts import logits
from latentlens.recording import capture, prompt_ids
from latentlens.trajectory import Trajectory

LN2 = float(np.log(2))
TITLES = {
    "spread": ("distance of the states from their mean over starts, root mean square", "state units"),
    "relative_spread": ("that distance over the norm of the states", "1"),
    "answer": ("best token", "token id"),
    "agreement": ("share of the starts with the commonest best token", "1"),
    "disagreement": ("mean KL(p of a start || mean p)", "bits"),
    "independent": ("whether all starts end with the same best token", "bool"),
    "position": ("position that is looked at", "position"),
}


@dataclass(frozen=True)
class PathIndependence:
    """What many initial states come to.

    Attributes:
        data: a Dataset over prompt, start, iteration (0 included) and place (the positions asked for).
        trajectories: one a prompt, whose prompt axis is the starts: to be decoded, embedded and drawn like any other.
        ensemble: the mean over the starts of every state, one row a prompt (a mean is no state of the model's own run).
    """

    data: xr.Dataset
    trajectories: list[Trajectory] = field(repr=False)
    ensemble: Trajectory = field(repr=False)


def path_independence(
    model: LatentModel,
    prompts: str | Sequence[str] | None = None,
    starts: int | Float[Tensor, "start position d_model"] = 32,
    *,
    tokens: Sequence[Sequence[int]] | None = None,
    positions: Iterable[int] = (-1,),
    iterations: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress = True,
) -> PathIndependence:
    """Run each prompt from many initial states at once, and compare what they come to (Anil et al. 2022).

    Args:
        model: what `ll.load` returns, if it can step.
        prompts: one text or several; or pass `tokens`, ids `[prompt, position]`.
        starts: how many `s_0`, drawn as the model draws its own, from `seed` on; or the states themselves.
        positions: where answers and spread are looked at; a negative one counts from each prompt's end.
        iterations: how often to iterate; None is the model's own number.
        seed: the first of the seeds.
        batch_size: how many starts run at once.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Returns:
        `data`: `spread` (root mean square distance of the states from their mean over starts) and `relative_spread`
        (over their root mean square norm) by prompt, iteration, place; `answer` (best token id) also by start;
        `agreement`, the share of starts whose answer is the commonest one; `disagreement` [bits], the mean of
        KL(p_start || p_mean) (Jensen-Shannon for many distributions, Lin 1991); `independent`, whether all starts
        end with the same answer. Where a prompt is too short for a position, NaN and -1.

    Raises:
        MotionError: fewer than two starts, or a model without a random `s_0` and no states given.
        CaptureError: initial states that do not fit.

    >>> import latentlens as ll
    >>> prompt = "Ann : Bob . Bob : Ann . 1 steps from Ann"
    >>> found = ll.path_independence(ll.load("walks"), prompt, starts=4, iterations=8)
    >>> found.data.spread.dims, bool(found.data.spread[0, -1, 0] < found.data.spread[0, 0, 0])
    (('prompt', 'iteration', 'place'), True)
    """
    if not isinstance(model, LatentModel):
        raise MotionError(f"expected a model that ll.load returns, got {type(model).__name__}: load it first")
    texts = [prompts] if isinstance(prompts, str) else None if prompts is None else list(prompts)
    ids, seen = prompt_ids(model, texts, tokens, None)
    first, lengths = _starts(model, ids, starts, seed), seen.sum(1).tolist()
    parts, runs = [], []
    for row, length, where in zip(ids, lengths, _places(positions, lengths)):
        run = capture(
            model,
            tokens=row[None, :length].expand(len(first), -1),
            iterations=iterations,
            seed=seed,
            initial_state=first[:, :length],
            batch_size=batch_size,
            progress=progress,
        )
        runs.append(run)
        parts.append(_compared(run, where))
    out = xr.concat(parts, dim="prompt").assign_attrs(model=model.name, seed=seed, starts=len(first))
    for name, about in TITLES.items():
        out[name].attrs.update(zip(("long_name", "units"), about))
    return PathIndependence(out, runs, _ensemble(runs, ids, seen, texts))


def _starts(
    model: LatentModel, ids: Tensor, starts: int | Tensor, seed: int
) -> Float[Tensor, "start position d_model"]:
    """Initial states for the longest prompt; a shorter one takes the first of its positions."""
    if not model.steps:
        raise MotionError(
            f"expected a model that can step for many starts, got {model.name!r} ({model.family}), which cannot: "
            "use a model that is run natively"
        )
    if isinstance(starts, Tensor):
        count, shape = len(starts), [ids.shape[1], model.d_model]
        if list(starts.shape[1:]) != shape:
            raise MotionError(f"expected starts of shape [start, {shape[0]}, {shape[1]}], got {list(starts.shape)}")
    elif isinstance(starts, bool) or not isinstance(starts, int):
        raise MotionError(f"expected starts to be a whole number or states, got {type(starts).__name__}")
    else:
        count = starts
    if count < 2:
        raise MotionError(f"expected two starts or more, got {count}: nothing can be compared with one")
    if isinstance(starts, Tensor):
        return starts
    if not model.random_start:
        raise MotionError(
            f"expected states as starts= for {model.name!r} ({model.family}), got a number: its own s_0 is not random"
        )
    with torch.no_grad():
        return torch.cat([model.begin(ids[:1], seed=seed + i).state.cpu() for i in range(count)])


def _places(positions: Iterable[int], lengths: list[int]) -> list[list[int]]:
    """Each prompt's own positions; -1 where it is too short for one that another prompt has."""
    wanted, longest = list(positions), max(lengths)
    for p in wanted:
        if isinstance(p, bool) or not isinstance(p, int | np.integer) or not -longest <= p < longest:
            raise MotionError(f"expected a position from {-longest} to {longest - 1}, got {p!r}")
    own = [[int(p) if p >= 0 else length + int(p) for p in wanted] for length in lengths]
    return [[at if 0 <= at < length else -1 for at in row] for row, length in zip(own, lengths)]


def _compared(run: Trajectory, where: list[int]) -> xr.Dataset:
    """Spread and answers of one prompt's starts."""
    there = [i for i, at in enumerate(where) if at >= 0]
    seen = [where[i] for i in there]
    count, width = run.iterations + 1, len(where)
    states = widened(run.states[:, :, seen])
    spread = (states - states.mean(0)).square().sum(-1).mean(0).sqrt()
    size = states.square().sum(-1).mean(0).sqrt()
    answer, agreement, apart = _answers(run, seen)
    cells = ("iteration", "place")
    numbers = {"spread": spread, "relative_spread": spread / size, "agreement": agreement, "disagreement": apart}
    data = {}
    for name, values in numbers.items():
        data[name] = (cells, np.full((count, width), np.nan, np.float32))
        data[name][1][:, there] = values.numpy()
    ids = np.full((len(run.tokens), count, width), -1)
    ids[:, :, there] = answer.numpy()
    last = ids[:, -1]
    return xr.Dataset(
        {
            **data,
            "answer": (("start", *cells), ids),
            "independent": ("place", (last == last[:1]).all(0) & (last[0] >= 0)),
            "position": ("place", np.array(where)),
        },
        coords={"iteration": np.arange(count)},
    )


def _answers(run: Trajectory, positions: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Best tokens `[start, iteration, place]`; by iteration and place their agreement, and the bits between starts."""
    if not positions:
        none = torch.empty(run.iterations + 1, 0)
        return torch.empty(len(run.tokens), *none.shape, dtype=torch.int64), none, none
    best, shares, bits = [], [], []
    for iteration in range(run.iterations + 1):
        logp = logits(run, iterations=[iteration], positions=positions)[:, 0].float().log_softmax(-1)
        top = logp.argmax(-1)
        best.append(top)
        shares.append((top == top.mode(0).values).float().mean(0))
        mean = logp.logsumexp(0) - np.log(len(logp))
        bits.append((logp.exp() * (logp - mean)).sum(-1).mean(0).div(LN2).clamp(min=0))
    return torch.stack(best, 1), torch.stack(shares), torch.stack(bits)


def _ensemble(runs: list[Trajectory], ids: Tensor, seen: Tensor, texts: list[str] | None) -> Trajectory:
    """The mean state over the starts, one row a prompt, padded as the prompts are."""
    one = runs[0]
    states = one.states.new_zeros(len(runs), one.states.shape[1], ids.shape[1], one.states.shape[3])
    for row, run in enumerate(runs):
        states[row, :, : run.tokens.shape[1]] = widened(run.states).mean(0).to(states)
    return replace(one, states=states, tokens=ids, mask=seen, prompts=texts)
