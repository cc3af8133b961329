"""How a state moves: any quantity of `dynamics` over the iterations, of one token, of many, or by group.

In: what `dynamics` or `aggregate` returns. Out: one row a (series, iteration), with its bands; drawn as lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, check_whole, option
from latentlens.figures.kinds.bands import BANDS_SAID, Bands, alone, quantiles
from latentlens.figures.kinds.curves import described, spans
from latentlens.figures.kinds.line import drawable, title_of
from latentlens.figures.kinds.places import check_iteration, check_position, check_prompt, lengths_of
from latentlens.names import check_name

REFERENCES = {"spectral_radius": 1.0, "largest_singular_value": 1.0, "cosine": 0.0, "angle": 90.0}
"""Where a rule is drawn: a small change neither grows nor shrinks; a step is at right angles to the one before."""
ASKED = {
    "spectral_radius": "spectra=[-1]",
    "largest_singular_value": "spectra=[-1]",
    "spectral_residual": "spectra=[-1]",
    "distance_to_fixed_point": "fixed_point=True",
}
"""What `dynamics` must be asked for."""
DERIVED = ("_low", "_high", "_count", "_quantile")


@dataclass(frozen=True)
class Motion(Figure):
    """How far, how fast and how steadily a state moves, iteration by iteration.

    One token is a line; many are their median, with a band from the 25th to the 75th percentile and a fainter one from
    the 5th to the 95th. What `aggregate` returns is drawn as a line a group. Iterations without a number (before the
    first step, or where no Jacobian was looked at) are passed over. A broken rule stands at 1 where a small change
    neither grows nor shrinks (spectral radius, singular value), and where a step is at right angles to the one before.
    """

    kind: ClassVar[str] = "motion"

    y: str = option("step_norm", "which quantity over the iterations", whole=False)
    prompt: int | None = option(None, "which prompt, negative ones count from the end; None is all")
    position: int | None = option(
        -1, "which token, negative ones count from each prompt's own end; None is every one", whole=False
    )
    band: str | None = option(
        None,
        "of groups: a mean with its interval (also None), or a median with quantiles",
        choices=("interval", "quantiles"),
    )
    scale: str = option(
        "auto", "the vertical axis; auto is log where it spans decades", choices=("auto", "linear", "log")
    )
    start: int | None = option(None, "the first iteration to draw; None is 0, the initial state", low=0)
    playhead: int | None = option(None, "an iteration to mark", low=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.position is not None:
            check_whole("position of motion", self.position)

    def table(self, data: xr.Dataset) -> pd.DataFrame:
        """One row a (series, iteration) that has a number.

        Columns: series (number), label (the group; "" where there is none), iteration; value (the median where there
        are several tokens); low and high, the inner band; lowest and highest, the outer one (NaN without a band);
        slot, the place in the palette. `attrs`: title (with the unit), note (what the bands are), log (whether the
        vertical axis is), reference (where the rule stands, or None), first, iterations, random_start, model.
        """
        grouped = check_motion(self.kind, data)
        self._check(data)
        last = int(data.iteration.values[-1])
        check_iteration("start", last - 1, self.start)
        check_iteration("playhead", last, self.playhead)
        found, note = self._groups(data) if grouped else self._tokens(data)
        rows = [
            pd.DataFrame({"series": i, "label": label, "iteration": data.iteration.values, **bands, "slot": i})
            for i, (label, bands) in enumerate(found.items())
        ]
        first = self.start or 0
        table = pd.concat(rows, ignore_index=True).query("iteration >= @first", local_dict={"first": first})
        table = table.dropna(subset="value").reset_index(drop=True)
        if not len(table):
            raise FigureError(
                f"expected numbers to draw for y={self.y!r} of motion, got none at position {self.position}: pass a "
                "position that was looked at"
            )
        table.attrs = {
            "title": title_of(data[self.y]),
            "note": note,
            "log": self.scale == "log" or (self.scale == "auto" and self.y != "angle" and spans(table)),
            "reference": REFERENCES.get(self.y),
            "first": first,
            "iterations": last,
            "random_start": bool(data.attrs.get("random_start", 0)),
            "model": str(data.attrs.get("model")),
            "commitment": -1,
        }
        return table

    def _check(self, data: xr.Dataset) -> None:
        """The quantity must be there, and go over the iterations."""
        known = [name for name in drawable(data) if not _is_derived(name, data)]
        if self.y not in known and self.y in ASKED:
            raise FigureError(
                f"expected dynamics with {ASKED[self.y].split('=')[0]}= for y={self.y!r} of motion, got one without: "
                f"pass ll.dynamics(traj, {ASKED[self.y]})"
            )
        if self.y not in known and self.y in data:
            raise FigureError(
                f"expected a quantity over iterations for y of motion ({', '.join(known)}), got {self.y!r}, which has "
                "one value for them all"
            )
        check_name("y of motion", self.y, known, FigureError)

    def _tokens(self, data: xr.Dataset) -> tuple[dict[str, Bands], str]:
        """One line: of a token, or the median of several."""
        values = data[self.y]
        if self.band is not None:
            raise FigureError("expected no band for motion of tokens, got one: pass what ll.aggregate returns")
        if "prompt" not in values.dims:
            if self.prompt is not None or self.position not in (-1, None):
                raise FigureError(
                    f"expected no prompt and no position for y={self.y!r} of motion, which is over all: leave them out"
                )
            return {"": alone(values.values.astype(float))}, ""
        count, lengths = data.sizes["prompt"], lengths_of(data)
        prompts = range(count) if self.prompt is None else [check_prompt(count, self.prompt)]
        cells = values.transpose("prompt", "position", "iteration").values.astype(float)
        if self.position is None:
            numbers = np.concatenate([cells[p, : lengths[p]] for p in prompts])
        else:
            numbers = np.stack([cells[p, check_position(int(lengths[p]), self.position, p)] for p in prompts])
        if len(numbers) == 1:
            return {"": alone(numbers[0])}, ""
        what = "prompts" if self.position is not None else "tokens"
        return {"": quantiles(numbers)}, f"median of {len(numbers):,} {what}; {BANDS_SAID}"

    def _groups(self, data: xr.Dataset) -> tuple[dict[str, Bands], str]:
        """A line a group."""
        if self.prompt is not None or self.position != -1:
            raise FigureError(
                "expected no prompt and no position for motion of groups, got one: choose before ll.aggregate"
            )
        names = [str(name) for name in data.group.values]
        if self.band == "quantiles":
            return _group_quantiles(data, self.y, names)
        mean, low, high = (
            data[name].transpose("group", "iteration").values.astype(float)
            for name in (self.y, f"{self.y}_low", f"{self.y}_high")
        )
        note = f"mean of each group; band {data.attrs.get('interval', 0.95):.0%} interval"
        return {name: alone(*rows) for name, *rows in zip(names, mean, low, high)}, note

    def describe(self, table: pd.DataFrame) -> str:
        """Where each line starts and ends, in one sentence."""
        return described(table)


def check_motion(kind: str, data: Any) -> bool:
    """Refuse what neither `dynamics` nor `aggregate` returned; whether it is in groups."""
    grouped = isinstance(data, xr.Dataset) and "group" in data.dims
    if not isinstance(data, xr.Dataset) or "iteration" not in data.dims or not (grouped or "step_norm" in data):
        raise FigureError(
            f"expected what ll.dynamics or ll.aggregate returns for {kind}, got {type(data).__name__}: call one first"
        )
    return grouped


def _group_quantiles(data: xr.Dataset, name: str, groups: list[str]) -> tuple[dict[str, Bands], str]:
    """The median of each group with the quantiles on either side of it, the nearest and the farthest."""
    shares = data["quantile"].values.astype(float)
    below, above = np.sort(shares[shares < 0.5])[::-1], np.sort(shares[shares > 0.5])
    if 0.5 not in shares or not len(below) or len(below) != len(above):
        raise FigureError(
            f"expected quantiles on both sides of 0.5 for band='quantiles' of motion, got {shares.tolist()}: "
            "leave quantiles= of ll.aggregate as it is"
        )
    values = data[f"{name}_quantile"].transpose("group", "quantile", "iteration").values.astype(float)
    value, low, high, lowest, highest = (
        values[:, int(np.flatnonzero(shares == share)[0])] for share in (0.5, below[0], above[0], below[-1], above[-1])
    )
    ends = [f"{100 * a:g}–{100 * b:g}%" for a, b in zip(below, above)]
    said = f"band {ends[0]}" if len(below) == 1 else f"bands {ends[0]} and {ends[-1]}"
    out = {}
    for row, group in enumerate(groups):
        bands = alone(value[row], low[row], high[row])
        out[group] = bands | ({"lowest": lowest[row], "highest": highest[row]} if len(below) > 1 else {})
    return out, f"median of each group; {said}"


def _is_derived(name: str, data: xr.Dataset) -> bool:
    """Whether it only goes with another quantity: the end of an interval, a number, quantiles."""
    return any(name.endswith(end) and name.removesuffix(end) in data for end in DERIVED)
