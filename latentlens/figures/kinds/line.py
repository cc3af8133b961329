"""Any statistic over the iterations: of one prompt, or of many with quantiles.

In: what `decode`, `score`, `evaluate` or `Probe.fit` returns. Out: one row a (series, iteration), with its bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, option
from latentlens.figures.escape import distinct
from latentlens.figures.kinds.bands import BANDS_SAID, alone, quantiles, share
from latentlens.figures.kinds.curves import described
from latentlens.figures.kinds.places import check_iteration, check_position, check_prompt, lengths_of
from latentlens.figures.style import token_slots
from latentlens.names import check_name

CONTROL = "shuffled targets"


@dataclass(frozen=True)
class Line(Figure):
    """How a number goes over the iterations; one line a candidate, answer or statistic.

    Many prompts are drawn as their median, with a band from the 25th to the 75th percentile and a fainter one from the
    5th to the 95th; of what is true or false, the share is drawn. A mean that comes with its interval (`evaluate`) has
    that as its band, and a probe stands beside its control. Bands and lines join the iterations, which are whole
    numbers. Where the model starts from a random state, what lies before iteration 1 is veiled.
    """

    kind: ClassVar[str] = "line"

    y: str | tuple[str, ...] = option("entropy", "which statistic; several with one unit may be given", whole=False)
    prompt: int | None = option(None, "which prompt, negative ones count from the end; None is all")
    position: int = option(-1, "which token; negative ones count from each prompt's own end")
    scale: str = option("linear", "the vertical axis", choices=("linear", "log"))
    start: int | None = option(None, "the first iteration to draw; None is the first there is", low=0)
    playhead: int | None = option(None, "an iteration to mark", low=0)

    def table(self, out: Any) -> pd.DataFrame:
        """One row a (series, iteration).

        Columns: series (number), label (text; "" where there is one series), iteration; value (the median where there
        are several prompts); low and high, the inner band; lowest and highest, the outer one (NaN without a band);
        slot, the place in the palette (-1: a control). `attrs`: title (with the unit), note (what the bands are),
        prompts, first, iterations, random_start, model; log (whether the vertical axis is) and reference (None).
        """
        data = checked_data(out)
        names = self._names(data)
        last = int(data.iteration.values[-1])
        check_iteration("start", last - 1, self.start)
        check_iteration("playhead", last, self.playhead)
        prompts = self._prompts(data, names)
        series = [one for name in names for one in self._series(data, name, prompts, len(names) > 1)]
        if len(names) == 1 and series and f"{names[0]}_control" in data:
            series[0]["label"] = "probe"
            series += [s | {"label": CONTROL, "slot": -1} for s in self._series(data, f"{names[0]}_control", [], False)]
        if not series:
            raise FigureError(f"expected numbers to draw for y={self.y!r}, got none at position {self.position}")
        taken = [number if one["slot"] is None else one["slot"] for number, one in enumerate(series)]
        rows = [pd.DataFrame({"series": i, **one, "slot": slot}) for i, (one, slot) in enumerate(zip(series, taken))]
        first = max(self.start or 0, int(data.iteration.values[0]))
        table = pd.concat(rows, ignore_index=True).query("iteration >= @first", local_dict={"first": first})
        table.attrs = {
            "title": _title(data, names),
            "note": _note(data, names, len(prompts)),
            "log": self.scale == "log",
            "reference": None,
            "prompts": len(prompts),
            "first": first,
            "iterations": last,
            "random_start": bool(data.attrs.get("random_start", 0)),
            "model": str(data.attrs.get("model")),
            "commitment": -1,
        }
        return table.reset_index(drop=True)

    def _names(self, data: xr.Dataset) -> list[str]:
        names = [self.y] if isinstance(self.y, str) else list(self.y)
        known = drawable(data)
        for name in names:
            check_name("y of line", name, known, FigureError)
        units = list(dict.fromkeys(str(data[name].attrs.get("units")) for name in names))
        if len(units) != 1:
            raise FigureError(f"expected statistics of one unit in y of line, got {', '.join(units) or 'none'}")
        return names

    def _prompts(self, data: xr.Dataset, names: list[str]) -> list[int]:
        """The prompts that are drawn; none where the statistic is over all of them already."""
        whole = [name for name in names if "prompt" not in data[name].dims]
        if whole:
            if self.prompt is not None or len(whole) < len(names):
                raise FigureError(f"expected no prompt for y={whole[0]!r} of line, which is over all: leave prompt out")
            return []
        count = data.sizes["prompt"]
        return list(range(count)) if self.prompt is None else [check_prompt(count, self.prompt)]

    def _series(self, data: xr.Dataset, name: str, prompts: list[int], several: bool) -> list[dict[str, Any]]:
        """One line for each candidate, answer or whatever else the statistic is over."""
        values = self._placed(data, name, prompts)
        extra = [str(d) for d in values.dims if d not in ("prompt", "iteration")]
        values = values.transpose(*(d for d in ("prompt", "iteration") if d in values.dims), *extra)
        flat = values.values.astype(float).reshape(*values.shape[: values.ndim - len(extra)], -1)
        labels, slots = self._labels(data, values, extra, prompts)
        out: list[dict[str, Any]] = []
        for number, (label, slot) in enumerate(zip(labels, slots)):
            numbers = flat[..., number]
            if not np.isnan(numbers).all():
                label = " ".join([name] * several + [label] * bool(label))
                row = {"label": label, "iteration": data.iteration.values, **_bands(data, name, numbers)}
                out.append(row | {"slot": slot})
        return out

    def _placed(self, data: xr.Dataset, name: str, prompts: list[int]) -> xr.DataArray:
        """One position of each prompt; the best of the k; NaN where there is no candidate."""
        values = data[name]
        values = values.isel(k=0) if "k" in values.dims else values
        if "candidate" in values.dims and "candidate_token" in data:
            values = values.where(data.candidate_token >= 0)
        if "position" not in values.dims:
            if self.position != -1:
                raise FigureError(f"expected no position for y={name!r} of line, which has none: leave position out")
            return values.isel(prompt=prompts) if prompts else values
        rows = [
            values.isel(prompt=p, position=self._place(data, p)).drop_vars("position", errors="ignore") for p in prompts
        ]
        return xr.concat(rows, "prompt")

    def _place(self, data: xr.Dataset, prompt: int) -> int:
        length = int(lengths_of(data)[prompt]) if "token" in data else data.sizes["position"]
        return check_position(length, self.position, prompt)

    def _labels(
        self, data: xr.Dataset, values: xr.DataArray, extra: list[str], prompts: list[int]
    ) -> tuple[list[str], list[int | None]]:
        """A text for each series, and its place in the palette (None: the next)."""
        if not extra:
            return [""], [None]
        if extra == ["candidate"] and "candidate_token" in data:
            return self._candidates(data, prompts)
        names = [values.coords[d].values if d in values.coords else np.arange(values.sizes[d]) for d in extra]
        labels = [" ".join(map(str, row)) for row in pd.MultiIndex.from_product(names)]
        return labels, [None] * len(labels)

    def _candidates(self, data: xr.Dataset, prompts: list[int]) -> tuple[list[str], list[int | None]]:
        rows = [data.isel(prompt=p, position=self._place(data, p)) for p in prompts]
        labels = rows[0].candidate_label.values.tolist()
        if any(row.candidate_label.values.tolist() != labels for row in rows):
            raise FigureError(
                f"expected one prompt for y={self.y!r} of line, got {len(prompts)} whose candidates differ: pass "
                "prompt=0, or decode with track="
            )
        tokens, slots = rows[0].candidate_token.values.tolist(), token_slots(data)
        return distinct(tokens, labels), [slots.get(int(token), 0) for token in tokens]

    def describe(self, table: pd.DataFrame) -> str:
        """Where each line starts and ends, in one sentence."""
        return described(table)


def checked_data(out: Any) -> xr.Dataset:
    """A Dataset over iterations: of a readout, scores, an evaluation, or a probe."""
    data = getattr(out, "scores", out) if not isinstance(out, xr.Dataset | xr.DataArray) else out
    data = data.to_dataset(name=data.name or "value") if isinstance(data, xr.DataArray) else data
    if not isinstance(data, xr.Dataset) or "iteration" not in data.dims:
        raise FigureError(
            "expected what ll.decode, ll.score, ll.evaluate or ll.Probe.fit returns for line, got "
            f"{type(out).__name__}: make one of them first"
        )
    return data


def drawable(data: xr.Dataset) -> list[str]:
    """The variables that are numbers over iterations, or true and false; not ids."""
    return [
        str(name)
        for name, values in data.data_vars.items()
        if "iteration" in values.dims and values.dtype.kind in "fiub" and values.attrs.get("units") != "token id"
    ]


def is_flag(values: xr.DataArray) -> bool:
    """Whether a statistic only says yes or no: of many prompts, the share that says yes is drawn."""
    numbers = values.values.astype(float)
    return values.dtype.kind == "b" or bool(np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all())


def _bands(data: xr.Dataset, name: str, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The value and its bands, from `[iteration]` or `[prompt, iteration]`."""
    if numbers.ndim == 2 and len(numbers) > 1:
        return share(numbers) if is_flag(data[name]) else quantiles(numbers)
    low, high = (data[f"{name}_{end}"].values if f"{name}_{end}" in data else None for end in ("low", "high"))
    return alone(numbers[0] if numbers.ndim == 2 else numbers, low, high)


def title_of(values: xr.DataArray) -> str:
    """What stands along the axis: the statistic's name and unit."""
    said = values.attrs
    unit = "" if said.get("units") in (None, "1") else f" [{said['units']}]"
    return str(said.get("long_name", values.name)) + unit


def _title(data: xr.Dataset, names: list[str]) -> str:
    """The statistic's name and unit; of several, what they share."""
    if len(names) == 1:
        return title_of(data[names[0]])
    unit = data[names[0]].attrs.get("units")
    return ", ".join(names) if unit in (None, "1") else str(unit)


def _note(data: xr.Dataset, names: list[str], prompts: int) -> str:
    if prompts > 1 and is_flag(data[names[0]]):
        return f"share of {prompts} prompts"
    if prompts > 1:
        return f"median of {prompts} prompts; {BANDS_SAID}"
    if f"{names[0]}_low" in data:
        return f"mean of {data.sizes['prompt']} prompts; band {data[names[0]].attrs.get('interval', 0.95):.0%} interval"
    return ""
