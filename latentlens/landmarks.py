"""Where the candidates are in a map: their anchors, the way that a logit grows, and a slice of who leads.

In: an `Embedding`, its trajectory, a lens. Out: labelled arrays, which a figure may draw. Knows nothing about drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from latentlens.embeddings import Embedding
from latentlens.errors import EmbeddingError
from latentlens.lenses import Lens, find_lens
from latentlens.trajectory import Trajectory

GRID = 48
"""At most this many points along each side of a slice."""
ARROWS = 3
"""For so many of a state's likeliest tokens it is said which way they grow."""
BYTES = 256 * 2**20
"""Of logits that are held at once while a slice is decoded."""


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Where the candidates are in a map, for `figures.map(emb, readout, landmarks)`.

    Attributes:
        anchors: what `anchors` returns.
        arrows: token id to what `arrow` returns, `[component]`, logits per state unit, at the state that is named.
        slopes: token id to the length of the whole gradient, of which a map shows what lies in its plane.
        regions: what `regions` returns, or None.
        prompt, iteration, position: the state that the arrows and the slice go through.
        components: the two components of the slice.
    """

    anchors: xr.Dataset
    arrows: dict[int, Float[np.ndarray, component]]
    slopes: dict[int, float]
    regions: xr.Dataset | None
    prompt: int
    iteration: int
    position: int
    components: tuple[int, int]


def mark(
    emb: Embedding,
    traj: Trajectory,
    readout: xr.Dataset,
    *,
    prompt: int = 0,
    iteration: int = -1,
    position: int = -1,
    components: tuple[int, int] = (1, 2),
    tokens: Sequence[int] | None = None,
    arrows: int = ARROWS,
    size: int | None = 24,
    lens: Lens | str | None = None,
) -> Landmarks:
    """Anchors, arrows and a slice of a map, at once.

    Args:
        emb: a PCA of raw states about their common mean, where arrows or a slice are asked for.
        readout: what `decode` returns for the trajectory, through the same lens.
        prompt, iteration, position: the state that the arrows start from and the slice goes through.
        components: the two components that the map shows.
        tokens: ids of those that get an anchor; None is every token that leads somewhere.
        arrows: for how many of its likeliest tokens to say which way their logits grow.
        size: points along each side of the slice that says who would lead elsewhere, at most 48; None for no slice.

    Raises:
        EmbeddingError: as `anchors`, `arrow` and `regions` do.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> found = ll.mark(ll.embed(traj), traj, ll.decode(traj), size=4)
    >>> found.regions.top_token.shape, found.iteration, found.position
    ((4, 4), 4, 3)
    """
    there = anchors(emb, readout, tokens)
    _, at, place = _held(traj, prompt, iteration, position)
    state: dict[str, Any] = {"prompt": prompt, "iteration": at, "position": place}
    best = readout.top_token.isel(prompt=prompt, position=place).sel(iteration=at).values
    if isinstance(arrows, bool) or not isinstance(arrows, int) or not 0 <= arrows <= len(best):
        raise EmbeddingError(f"expected arrows from 0 to {len(best)}, the top_k of the readout, got {arrows!r}")
    grow, slopes = {}, {}
    if arrows:
        _check_linear(emb)
    for token in (int(token) for token in best[:arrows] if token >= 0):
        gradient = _gradient(traj, token, lens=lens, **state)
        grow[token], slopes[token] = _projected(emb, gradient), float(gradient.norm())
    area = None if size is None else regions(emb, traj, components=components, size=size, lens=lens, **state)
    return Landmarks(there, grow, slopes, area, prompt, at, place, components)


def anchors(emb: Embedding, readout: xr.Dataset, tokens: Sequence[int] | None = None) -> xr.Dataset:
    """For each candidate the centroid of the states whose lens puts it first.

    Args:
        tokens: token ids; None: every token that leads somewhere (not at a random start).

    Returns:
        `token` (ids), `states` (how many it leads), `coordinate` `[candidate, component]`, NaN where it leads nowhere.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> found = anchors(ll.embed(traj), ll.decode(traj))
    >>> int(found.states.sum()), found.coordinate.dims
    (16, ('candidate', 'component'))
    """
    if not isinstance(emb, Embedding) or not isinstance(readout, xr.Dataset):
        raise EmbeddingError(
            "expected what ll.embed and ll.decode return to find anchors in, got "
            f"{type(emb).__name__} and {type(readout).__name__}"
        )
    coords = emb.coords
    top = readout.top_token.isel(k=0).sel(iteration=coords.iteration.values)
    leads = top.transpose("prompt", "iteration", "position").values
    if leads.shape != coords.shape[:3]:
        raise EmbeddingError(
            f"expected a readout of the embedded trajectory, {list(coords.shape[:3])} [prompt, iteration, position], "
            f"got {list(leads.shape)}"
        )
    if readout.attrs.get("random_start"):
        leads = np.where(coords.iteration.values[None, :, None] == 0, -1, leads)
    wanted = np.unique(leads[leads >= 0]) if tokens is None else np.asarray(tokens, dtype=int)
    centroids = [coords.values[leads == token].mean(0) if (leads == token).any() else np.nan for token in wanted]
    width = coords.sizes["component"]
    middle = np.array([np.broadcast_to(c, width) for c in centroids]).reshape(-1, width)
    return xr.Dataset(
        {
            "token": ("candidate", wanted, {"units": "token id"}),
            "states": ("candidate", [int((leads == token).sum()) for token in wanted]),
            "coordinate": (("candidate", "component"), middle, dict(coords.attrs)),
        },
        coords={"component": coords.component.values},
    )


def arrow(
    emb: Embedding,
    traj: Trajectory,
    token: int,
    *,
    prompt: int = 0,
    iteration: int = -1,
    position: int = -1,
    lens: Lens | str | None = None,
) -> Float[np.ndarray, component]:
    """Which way in the map a token's logit grows: the gradient of the logit by the state, through the lens, projected.

    The other positions are held at that iteration. The unembedding's own direction is not this where a coda follows.

    Returns:
        `[component]`, in logits per state unit along each component.

    Raises:
        EmbeddingError: a UMAP or a frame of normed states, in which no direction stands for one of the state; a lens
            that cannot be differentiated.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> arrow(ll.embed(traj), traj, token=5).shape
    (3,)
    """
    _check_linear(emb)
    return _projected(emb, _gradient(traj, token, prompt=prompt, iteration=iteration, position=position, lens=lens))


def regions(
    emb: Embedding,
    traj: Trajectory,
    *,
    prompt: int = 0,
    iteration: int = -1,
    position: int = -1,
    components: tuple[int, int] = (1, 2),
    size: int = GRID,
    lens: Lens | str | None = None,
) -> xr.Dataset:
    """Who would lead if the state were elsewhere in the plane of two components: a slice, not a map of all states.

    The state at (prompt, iteration, position) is moved through the plane; what it has along all other directions, and
    the states of the other positions, are held. Only the state itself lies on the slice: other states that the map
    shows at a point of it differ in the directions that are held.

    Returns:
        `top_token` and `top_prob`, `[y, x]`, over the coordinates `x` and `y` [state units]; `attrs["slice"]` says
        through which state.

    Raises:
        EmbeddingError: a UMAP, a frame of normed states, or a grid that is too fine.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> regions(ll.embed(traj), traj, size=4).top_token.shape
    (4, 4)
    """
    _check_linear(emb)
    if isinstance(size, bool) or not isinstance(size, int) or not 2 <= size <= GRID:
        raise EmbeddingError(f"expected size from 2 to {GRID}, got {size!r}")
    states, at, place = _held(traj, prompt, iteration, position)
    axes, directions = _plane(emb, components, size)
    y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
    here = emb.coords.sel(iteration=at).values[prompt, place][[c - 1 for c in components]]
    moves = torch.stack([x.flatten() - float(here[0]), y.flatten() - float(here[1])], 1) @ directions
    tokens, probs = _leaders(traj, prompt, _reader(traj, prompt, find_lens(lens), at), states, place, moves)
    return xr.Dataset(
        {"top_token": (("y", "x"), tokens.reshape(size, size)), "top_prob": (("y", "x"), probs.reshape(size, size))},
        coords={"x": axes[0].numpy(), "y": axes[1].numpy()},
        attrs={"slice": f"a slice through the state of prompt {prompt}, iteration {at}, position {place}"},
    )


def _gradient(
    traj: Trajectory, token: int, *, prompt: int, iteration: int, position: int, lens: Lens | str | None
) -> Float[Tensor, d_model]:
    """Of a token's logit by one position's state, the others held."""
    states, at, place = _held(traj, prompt, iteration, position)
    chosen = find_lens(lens)
    with torch.enable_grad():
        state = states[None].to(traj.needs_model().device).clone().requires_grad_()
        logits = _reader(traj, prompt, chosen, at)(state)[0, place, token].float()
        if not logits.requires_grad:
            raise EmbeddingError(
                f"expected a lens with a gradient for an arrow, got {chosen.name!r}: use the logit lens"
            )
        (gradient,) = torch.autograd.grad(logits, state)
    return gradient[0, place].double().cpu()


def _projected(emb: Embedding, gradient: Float[Tensor, d_model]) -> Float[np.ndarray, component]:
    return (emb.components[: emb.coords.sizes["component"]] @ gradient).numpy()


def _check_linear(emb: Embedding) -> None:
    if emb.method != "pca" or emb.frame.space != "raw":
        raise EmbeddingError(
            f"expected a PCA of raw states, got {emb.method} of {emb.frame.space} ones: a point of that map is no one "
            "state"
        )
    if emb.frame.center != "all":
        raise EmbeddingError(
            "expected a frame with center='all', got 'token': its points stand for each token's own states"
        )


def _held(traj: Trajectory, prompt: int, iteration: int, position: int) -> tuple[Tensor, int, int]:
    """All positions' states of a prompt at an iteration, that iteration, and the absolute position."""
    length = int(traj.mask[prompt].sum())
    for what, value, count in (("iteration", iteration, traj.iterations + 1), ("position", position, length)):
        if not -count <= value < count:
            raise EmbeddingError(f"expected {what} from {-count} to {count - 1}, got {value}")
    at = iteration % (traj.iterations + 1)
    return traj.states[prompt, at], at, position % length


def _reader(traj: Trajectory, prompt: int, lens: Lens, iteration: int) -> Callable[[Tensor], Tensor]:
    """Logits of states `[copy, position, d_model]` that stand in for the prompt's at an iteration."""
    model = traj.needs_model()

    def read(states: Tensor) -> Tensor:
        count = len(states)
        row = slice(prompt, prompt + 1)
        start = traj.states[row, 0].expand(count, -1, -1).to(model.device) if model.steps else None
        tokens, mask = traj.tokens[row].expand(count, -1), traj.mask[row].expand(count, -1)
        with torch.no_grad():
            context = model.begin(tokens, mask=mask, seed=traj.seed, initial_state=start)
        return lens.logits(model, states, context, iteration)

    return read


def _plane(emb: Embedding, components: tuple[int, int], size: int) -> tuple[list[Tensor], Tensor]:
    """Grid values along two components that cover all states and a little more, and their directions."""
    there = emb.coords.sizes["component"]
    if len(set(components)) != 2 or not all(1 <= c <= there for c in components):
        raise EmbeddingError(f"expected two components from 1 to {there}, got {components!r}")
    axes = []
    for component in components:
        values = emb.coords.sel(component=component)
        low, high = float(values.min()), float(values.max())
        room = 0.05 * (high - low or 1.0)
        axes.append(torch.linspace(low - room, high + room, size, dtype=torch.float64))
    return axes, emb.components[[c - 1 for c in components]]


def _leaders(
    traj: Trajectory, prompt: int, read: Callable[[Tensor], Tensor], states: Tensor, place: int, moves: Tensor
) -> tuple[Any, Any]:
    """Top token and its probability for every moved copy of one position's state, a few copies at a time."""
    model = traj.needs_model()
    some = max(BYTES // (states.shape[0] * model.vocab_size * 4), 1)
    tokens, probs = [], []
    for part in moves.split(some):
        moved = states.expand(len(part), -1, -1).clone()
        moved[:, place] = (states[place].double() + part).to(states.dtype)
        with torch.no_grad():
            said = read(moved.to(model.device))[:, place].float().softmax(-1).max(-1)
        tokens.append(said.indices.cpu())
        probs.append(said.values.cpu())
    return torch.cat(tokens).numpy(), torch.cat(probs).numpy()
