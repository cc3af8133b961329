"""Figures: drawn with plotly for the browser and with matplotlib for paper, from one table of numbers.

In: a readout of `decode`, scores, an `Embedding`, or what `dynamics` returns. Out: a `Drawing`: `.table()`, `.show()`,
`.plotly()`, `.matplotlib()`, `.save("x.pdf")`, `.describe()`. Neither plotly nor matplotlib is imported before
something is drawn.

>>> import latentlens as ll
>>> out = ll.decode(ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=8))
>>> ll.figures.stream(out, mode="line").table().columns[:5].tolist()
['iteration', 'candidate', 'token', 'label', 'prob']
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from latentlens.embeddings import Embedding
    from latentlens.figures.base import Drawing, Figure
    from latentlens.landmarks import Landmarks
    from latentlens.motion.starts import PathIndependence
    from latentlens.probes import Probe

__all__ = [
    "KINDS",
    "convergence",
    "grid",
    "line",
    "map",
    "motion",
    "orbits",
    "path_independence",
    "spectrum",
    "stream",
    "waterfall",
]

_HOMES = {
    "stream": "Stream",
    "map": "Map",
    "grid": "Grid",
    "line": "Line",
    "motion": "Motion",
    "convergence": "Convergence",
    "spectrum": "Spectrum",
    "path_independence": "PathIndependent",
    "orbits": "Orbits",
    "waterfall": "Waterfall",
}


class _Kinds(Mapping[str, "type[Figure]"]):
    """The class of each figure by name, imported when it is looked up."""

    def __getitem__(self, kind: str) -> type[Figure]:
        return getattr(importlib.import_module(f"latentlens.figures.kinds.{kind}"), _HOMES[kind])

    def __iter__(self) -> Iterator[str]:
        return iter(_HOMES)

    def __len__(self) -> int:
        return len(_HOMES)


KINDS: Mapping[str, type[Figure]] = _Kinds()
"""Name to `Figure` class; the fields of the class are the figure's options."""


def stream(out: xr.Dataset, **options: Any) -> Drawing:
    """The probability of each candidate over the iterations, with the entropy below and the truth at the right.

    Args:
        out: what `decode` returns.
        options: the fields of `figures.KINDS["stream"]`: mode, prompt, position, start, entropy, playhead.

    Raises:
        FigureError: an unknown option or value, or a prompt or position that is not there.

    >>> import latentlens as ll
    >>> out = ll.decode(ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=8))
    >>> table = ll.figures.stream(out, position=-1).table()
    >>> bool((table.groupby("iteration").prob.sum() - 1).abs().max() < 1e-6)
    True
    """
    return KINDS["stream"].make(**options).of(out)


def map(
    emb: Embedding, readout: xr.Dataset | None = None, landmarks: Landmarks | None = None, **options: Any
) -> Drawing:
    """The path of each token's state through the iterations, in two or three principal components.

    Args:
        emb: what `embed` returns.
        readout: what `decode` returns for the same trajectory; needed for `color="top"` and for token texts.
        landmarks: what `mark` returns: anchors, arrows and regions of the candidates, in a map of two components.
        options: the fields of `figures.KINDS["map"]`: dims, components, color, prompt, position, playhead.

    Raises:
        FigureError: an unknown option or value, or a readout of another trajectory.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> ll.figures.map(ll.embed(traj), ll.decode(traj), dims=3).table().shape[0]
    20
    """
    return KINDS["map"].make(**options).of(emb, readout, landmarks)


def grid(out: xr.Dataset, **options: Any) -> Drawing:
    """Tokens by iterations: the leading candidate as text, and a quantity as colour.

    Args:
        out: what `decode` returns.
        options: the fields of `figures.KINDS["grid"]`: color, prompt, text, mark, playhead.

    Raises:
        FigureError: an unknown option or value, or a prompt that is not there.

    >>> import latentlens as ll
    >>> out = ll.decode(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
    >>> ll.figures.grid(out, color="kl_to_final").table().shape[0]
    20
    """
    return KINDS["grid"].make(**options).of(out)


def line(out: xr.Dataset | Probe, **options: Any) -> Drawing:
    """Any statistic over the iterations, for one prompt, or for many as median and quantiles.

    Args:
        out: what `decode`, `score`, `evaluate` or `Probe.fit` returns.
        options: the fields of `figures.KINDS["line"]`: y, prompt, position, scale, start, playhead.

    Raises:
        FigureError: an unknown option or statistic, or a prompt or position that is not there.

    >>> import latentlens as ll
    >>> out = ll.decode(ll.capture(ll.load("walks"), ["2 steps from Ann", "1 steps from Bob"], iterations=4))
    >>> ll.figures.line(out, y="kl_step").table().columns[:4].tolist()
    ['series', 'label', 'iteration', 'value']
    """
    return KINDS["line"].make(**options).of(out)


def motion(dyn: xr.Dataset, **options: Any) -> Drawing:
    """Any quantity of the states' motion over the iterations: of one token, of many with quantiles, or by group.

    Args:
        dyn: what `dynamics` returns, or what `aggregate` makes of it (a line a group).
        options: the fields of `figures.KINDS["motion"]`: y, prompt, position, band, scale, start, playhead.

    Raises:
        FigureError: an unknown option or quantity, or a prompt or position that is not there.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=32)
    >>> ll.figures.motion(ll.dynamics(traj), y="relative_step").table().attrs["log"]
    True
    """
    return KINDS["motion"].make(**options).of(dyn)


def convergence(dyn: xr.Dataset, **options: Any) -> Drawing:
    """Tokens by iterations: how far each state still is from its last, in logarithmic colours.

    Args:
        dyn: what `dynamics` returns.
        options: the fields of `figures.KINDS["convergence"]`: color, prompt, labels, mark, playhead.

    Raises:
        FigureError: an unknown option or value, or a prompt that is not there.

    >>> import latentlens as ll
    >>> dyn = ll.dynamics(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=8))
    >>> ll.figures.convergence(dyn, color="relative_step").table().shape[0]
    36
    """
    return KINDS["convergence"].make(**options).of(dyn)


def spectrum(dyn: xr.Dataset, **options: Any) -> Drawing:
    """The leading eigenvalues of one iteration's Jacobian in the complex plane, with the unit circle.

    Args:
        dyn: what `dynamics` returns with `spectra=`.
        options: the fields of `figures.KINDS["spectrum"]`: prompt, position, iteration, floquet.

    Raises:
        FigureError: an unknown option or value, dynamics without spectra, or a place that was not looked at.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=8)
    >>> table = ll.figures.spectrum(ll.dynamics(traj, spectra=[-1])).table()
    >>> bool((table.modulus < 1).all())
    True
    """
    return KINDS["spectrum"].make(**options).of(dyn)


def path_independence(found: PathIndependence | xr.Dataset, **options: Any) -> Drawing:
    """Whether answers depend on the initial state: the spread of the states, and the agreement of the answers.

    Args:
        found: what `path_independence` returns, or its `data`.
        options: the fields of `figures.KINDS["path_independence"]`: spread, answers, prompt, place, playhead.

    Raises:
        FigureError: an unknown option or value, or a prompt or place that is not there.

    >>> import latentlens as ll
    >>> prompt = "Ann : Bob . Bob : Ann . 1 steps from Ann"
    >>> found = ll.path_independence(ll.load("walks"), prompt, starts=4, iterations=8)
    >>> ll.figures.path_independence(found).table().label.unique().tolist()
    ['spread', 'agreement']
    """
    return KINDS["path_independence"].make(**options).of(found)


def orbits(emb: Embedding, dyn: xr.Dataset | None = None, **options: Any) -> Drawing:
    """The path of one token in pairs of principal components, about where it ends.

    Args:
        emb: a PCA of `embed`; `n_components=6` gives three pairs.
        dyn: what `dynamics` returns for the same trajectory, for the token's label and period.
        options: the fields of `figures.KINDS["orbits"]`: prompt, position, pairs, center, start.

    Raises:
        FigureError: an unknown option or value, a UMAP, or dynamics of another trajectory.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=8)
    >>> table = ll.figures.orbits(ll.embed(traj, n_components=4), ll.dynamics(traj)).table()
    >>> table.pair.unique().tolist(), float(table.x.iloc[-1])
    ([1, 2], 0.0)
    """
    return KINDS["orbits"].make(**options).of(emb, dyn)


def waterfall(emb: Embedding, readout: xr.Dataset | None = None, **options: Any) -> Drawing:
    """The paths of neighbouring tokens one behind the other, each about where it ends, in three dimensions.

    Args:
        emb: a PCA of `embed`.
        readout: what `decode` returns for the same trajectory, for the tokens' texts.
        options: the fields of `figures.KINDS["waterfall"]`: prompt, position, tokens, components, center, start.

    Raises:
        FigureError: an unknown option or value, a UMAP, or a readout of another trajectory.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4)
    >>> ll.figures.waterfall(ll.embed(traj), ll.decode(traj)).table().shape[0]
    16
    """
    return KINDS["waterfall"].make(**options).of(emb, readout)
