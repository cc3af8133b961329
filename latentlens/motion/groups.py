"""Quantities over many prompts: mean, quantiles and bootstrap interval of each, by label.

In: a Dataset of `dynamics`, `decode` or `path_independence`, and a label for each prompt or token. Out: a Dataset by
group. Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from latentlens.errors import MotionError

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
INSIDE = ("iteration", "exponent")
"""Dims that a quantity keeps; over prompts and positions it is taken together."""


def aggregate(
    data: xr.Dataset,
    by: Any = None,
    *,
    position: int | None = None,
    quantiles: Sequence[float] = QUANTILES,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Mean, quantiles and bootstrap interval of every quantity, by label.

    Tokens of one prompt are not independent: the bootstrap draws whole prompts (Efron 1979, percentiles; a cluster
    bootstrap as in Davison and Hinkley 1997), and a mean is over all tokens of a group.

    Args:
        data: what `dynamics`, `decode` or `path_independence(...).data` gives.
        by: a label for each prompt, or for each token as `[prompt, position]` ("" or None: in no group); or the name of
            a variable of `data` ("label"). None: everything is one group, "all".
        position: one position of each prompt, a negative one from its own end; None is every token.
        quantiles: which ones, from 0 to 1.
        level: the share of the resampled means within the interval.
        resamples: how often the prompts are drawn anew.
        seed: what they are drawn from.

    Returns:
        A Dataset over group, and over iteration where the quantity is: for each number of `data` its mean, `_low` and
        `_high` (the interval), `_quantile` (over quantile) and `_count` (how many values, NaN left out). `label` gives
        `label_share` by group and label, from 0 to 1, with its interval. Left out: complex numbers, ids, and what has
        no prompt.

    Raises:
        MotionError: labels of another shape, a name that is not there, nothing to take together.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), ["Ann : Bob . Bob : Ann . 1 steps from Ann"] * 2, iterations=16)
    >>> out = ll.aggregate(ll.dynamics(traj), by=["one", "two"])
    >>> out.step_norm.dims, out.group.values.tolist()
    (('group', 'iteration'), ['one', 'two'])
    """
    _check(data, quantiles, level, resamples)
    labels = _labels(data, by)
    kept = _kept(data, position)
    names = sorted({str(label) for label in labels[kept]} - {""})
    if not names:
        raise MotionError("expected labels that name a group, got none: leave by= out for one group")
    groups = [kept & (labels == name) for name in names]
    count = labels.shape[0]
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)
    how = _How(groups, draws, tuple(quantiles), level)
    out = xr.Dataset(coords={"group": names, "quantile": list(quantiles)}, attrs={**data.attrs, "interval": level})
    if "iteration" in data.coords:
        out = out.assign_coords(iteration=data.iteration)
    for name, values in data.data_vars.items():
        if _is_number(values):
            out = out.assign(how.of(name, values, quantile=True))
        elif _is_word(values):
            out = out.assign(_shares(how, str(name), values))
    return out


@dataclass(frozen=True)
class _How:
    """Which tokens make each group, and how the prompts are drawn anew."""

    groups: list[np.ndarray]
    draws: Float[np.ndarray, "resample prompt"]
    quantiles: tuple[float, ...]
    level: float

    def of(self, name: Hashable, values: xr.DataArray, *, quantile: bool) -> dict[str, xr.DataArray]:
        """Mean, interval, number and quantiles of one quantity, by group."""
        inside = [dim for dim in values.dims if dim in INSIDE or dim == "word"]
        cells = [dim for dim in values.dims if dim not in ("prompt", *inside)]
        array = values.transpose("prompt", *cells, *inside).values.astype(float)
        array = array.reshape(len(array), -1, *[values.sizes[dim] for dim in inside])
        groups = self.groups if cells else [np.any(group, axis=1, keepdims=True) for group in self.groups]
        rows = [self._group(array, group) for group in groups]
        dims, about = ["group", *inside], dict(values.attrs)
        found = {key: xr.DataArray(np.stack([row[key] for row in rows]), dims=dims, attrs=about) for key in rows[0]}
        out = {f"{name}{key}": value for key, value in found.items()}
        if quantile:
            spread = [self._quantiles(array, group) for group in groups]
            out[f"{name}_quantile"] = xr.DataArray(np.stack(spread), dims=["group", "quantile", *inside], attrs=about)
        return out

    def _group(self, array: np.ndarray, group: np.ndarray) -> dict[str, np.ndarray]:
        """Mean over the tokens of a group, and the interval of means over prompts that were drawn anew."""
        used = group.reshape(*group.shape, *[1] * (array.ndim - 2)) & np.isfinite(array)
        sums, counts = np.where(used, array, 0).sum(1), used.sum(1).astype(float)
        drawn = np.tensordot(self.draws, sums, 1), np.tensordot(self.draws, counts, 1)
        number = counts.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, means = sums.sum(0) / number, drawn[0] / drawn[1]
        low, high = _quantile(means, [(1 - self.level) / 2, (1 + self.level) / 2])
        return {"": mean, "_low": low, "_high": high, "_count": number.astype(int)}

    def _quantiles(self, array: np.ndarray, group: np.ndarray) -> np.ndarray:
        return _quantile(np.where(np.isfinite(array), array, np.nan)[group], self.quantiles)


def _quantile(values: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    """Quantiles over the first axis, NaN left out; NaN where there is nothing."""
    filled = values if len(values) else np.full((1, *values.shape[1:]), np.nan)
    empty = np.isnan(filled).all(0)
    out = np.nanquantile(np.where(empty, 0.0, filled), wanted, axis=0)
    return np.where(empty, np.nan, out)


def _shares(how: _How, name: str, values: xr.DataArray) -> dict[str, xr.DataArray]:
    """How often each word is said in each group."""
    words = sorted({str(word) for word in values.values.ravel()} - {""})
    said = values.values[..., None] == np.array(words, dtype=object)
    said = np.where((values.values == "")[..., None], np.nan, said)
    shares = xr.DataArray(said, dims=(*values.dims, "word"), coords={"word": words})
    about = {"long_name": f"share of tokens by {values.attrs.get('long_name', name)}", "units": "1"}
    found = how.of(f"{name}_share", shares.assign_attrs(about), quantile=False)
    return {key: value.rename(word=name).assign_coords({name: words}) for key, value in found.items()}


def _is_number(values: xr.DataArray) -> bool:
    known = {"prompt", "position", "place", *INSIDE}
    kind, counted = values.dtype.kind, values.attrs.get("units") == "token id"
    return "prompt" in values.dims and set(values.dims) <= known and kind in "fbi" and not counted


def _is_word(values: xr.DataArray) -> bool:
    return values.dims == ("prompt", "position") and values.dtype.kind == "O" and values.name == "label"


def _kept(data: xr.Dataset, position: int | None) -> np.ndarray:
    """`[prompt, position]`, True at the tokens that are taken."""
    cell = "position" if "position" in data.dims else "place"
    if "token" in data:
        real = data.token.values >= 0
    elif position is not None:
        raise MotionError("expected position= for a Dataset with tokens, got one without: leave it out")
    else:
        real = np.ones((data.sizes["prompt"], data.sizes.get(cell, 1)), dtype=bool)
    if position is None:
        return real
    longest = real.shape[1]
    if isinstance(position, bool) or not isinstance(position, int | np.integer) or not -longest <= position < longest:
        raise MotionError(f"expected a position from {-longest} to {longest - 1}, got {position!r}")
    lengths = real.sum(1, keepdims=True)
    return real & (np.arange(longest) == (position if position >= 0 else lengths + position))


def _labels(data: xr.Dataset, by: Any) -> np.ndarray:
    """A word for each token, "" where there is none."""
    cell = "position" if "position" in data.dims else "place"
    shape = (data.sizes["prompt"], data.sizes.get(cell, 1))
    if by is None:
        return np.full(shape, "all", dtype=object)
    if isinstance(by, str):
        if by not in data:
            raise MotionError(f"expected by= to name a variable, got {by!r}: there are {', '.join(map(str, data))}")
        by = data[by].values
    given = np.asarray(by, dtype=object)
    if given.shape not in (shape[:1], shape):
        raise MotionError(
            f"expected labels of shape {list(shape[:1])} [prompt] or {list(shape)} [prompt, {cell}], "
            f"got {list(given.shape)}"
        )
    words = np.array(["" if word is None else str(word) for word in given.ravel()], dtype=object).reshape(given.shape)
    return words if given.ndim == 2 else np.broadcast_to(words[:, None], shape).copy()


def _check(data: Any, quantiles: Sequence[float], level: float, resamples: int) -> None:
    if not isinstance(data, xr.Dataset) or "prompt" not in data.dims:
        raise MotionError(f"expected a Dataset over prompts, got {type(data).__name__}: pass what ll.dynamics returns")
    if not all(0 <= q <= 1 for q in quantiles):
        raise MotionError(f"expected quantiles from 0 to 1, got {list(quantiles)!r}")
    if not 0 < level < 1 or resamples < 1:
        raise MotionError(f"expected level between 0 and 1 and resamples of 1 or more, got {level!r}, {resamples!r}")
