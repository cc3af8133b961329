"""Whether the answer depends on where the state started: how far the states stay apart, and whether answers agree.

In: what `path_independence` returns. Out: one row a (panel, iteration), with bands over the prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, option
from latentlens.figures.kinds.bands import BANDS_SAID, alone, quantiles
from latentlens.figures.kinds.curves import spans
from latentlens.figures.kinds.places import check_iteration, check_prompt

SPREADS, ANSWERS = ("spread", "relative_spread"), ("agreement", "disagreement")
TITLES = {
    "spread": "spread [state units]",
    "relative_spread": "spread over norm",
    "agreement": "starts that agree",
    "disagreement": "disagreement [bits]",
}


@dataclass(frozen=True)
class PathIndependent(Figure):
    """Many initial states of one prompt (Anil et al. 2022): the spread of their states above, their answers below.

    The spread is on a logarithmic axis: a straight line down forgets its start at a steady rate. Many prompts are drawn
    as their median, with a band from the 25th to the 75th percentile and a fainter one from the 5th to the 95th. Above
    stands for how many prompts all starts end with the same answer.
    """

    kind: ClassVar[str] = "path_independence"

    spread: str = option("spread", "how far the states are apart", choices=SPREADS)
    answers: str = option("agreement", "what is said of the answers", choices=ANSWERS)
    prompt: int | None = option(None, "which prompt, negative ones count from the end; None is all")
    place: int = option(0, "which of the positions that were asked for; the first is 0", low=0)
    playhead: int | None = option(None, "an iteration to mark", low=0)

    def table(self, found: Any) -> pd.DataFrame:
        """One row a (panel, iteration).

        Columns: series (0 above, 1 below), label (the quantity), iteration; value (the median where there are several
        prompts); low and high, the inner band; lowest and highest, the outer one (NaN without a band); slot, the place
        in the palette. `attrs`: titles (with units), note, prompts (that have this place), starts, independent (how
        many of them end with the same answer from all starts), iterations, model.
        """
        data = _data(found)
        last = int(data.iteration.values[-1])
        check_iteration("playhead", last, self.playhead)
        count = data.sizes["prompt"]
        prompts = list(range(count)) if self.prompt is None else [check_prompt(count, self.prompt)]
        if self.place >= data.sizes["place"]:
            raise FigureError(
                f"expected place from 0 to {data.sizes['place'] - 1}, got {self.place}: pass more positions= to "
                "ll.path_independence"
            )
        here = data.isel(place=self.place, prompt=prompts)
        here = here.isel(prompt=np.flatnonzero(here.position.values >= 0))
        if not here.sizes["prompt"]:
            raise FigureError(f"expected a prompt that has place {self.place}, got none: they are too short for it")
        rows = []
        for series, name in enumerate((self.spread, self.answers)):
            numbers = here[name].transpose("prompt", "iteration").values.astype(float)
            bands = quantiles(numbers) if len(numbers) > 1 else alone(numbers[0])
            rows.append(
                pd.DataFrame(
                    {"series": series, "label": name, "iteration": data.iteration.values, **bands, "slot": series}
                )
            )
        table = pd.concat(rows, ignore_index=True)
        same, number, starts = int(here.independent.sum()), here.sizes["prompt"], data.sizes["start"]
        table.attrs = {
            "titles": [TITLES[self.spread], TITLES[self.answers]],
            "note": _note(same, number, starts),
            "prompts": number,
            "starts": starts,
            "independent": same,
            "first": 0,
            "iterations": last,
            "model": str(data.attrs.get("model")),
        }
        return table

    def describe(self, table: pd.DataFrame) -> str:
        """How far the spread falls, how the answers end, and how many prompts do not depend on the start."""
        at, median = table.attrs, "in the median " if table.attrs["prompts"] > 1 else ""
        above, below = (panel(table, number) for number in (0, 1))
        ends = [f"{row.value.iloc[0]:.3g} to {row.value.iloc[-1]:.3g}" for row in (above, below)]
        return (
            f"{at['starts']} initial states each of {at['prompts']} {'prompt' if at['prompts'] == 1 else 'prompts'}, "
            f"iterations 0 to {at['iterations']}: {at['titles'][0]} {median}from {ends[0]}, {at['titles'][1]} from "
            f"{ends[1]}; for {at['independent']} of {at['prompts']} the answer does not depend on the start."
        )


def panel(table: pd.DataFrame, number: int) -> pd.DataFrame:
    """The rows of one panel as the table of a line; logarithmic where they span decades, a spread always."""
    rows = table[table.series == number].copy()
    log = bool((rows.value > 0).any()) if number == 0 else spans(rows)
    title = table.attrs["titles"][number]
    rows.attrs = table.attrs | {"title": title, "log": log, "reference": None, "random_start": False}
    return rows


def _data(found: Any) -> xr.Dataset:
    data = found if isinstance(found, xr.Dataset) else getattr(found, "data", None)
    if not isinstance(data, xr.Dataset) or not {"spread", "agreement", "start"} <= {*data.data_vars, *data.dims}:
        raise FigureError(
            "expected what ll.path_independence returns for path_independence, got "
            f"{type(found).__name__}: call it first"
        )
    return data


def _note(same: int, prompts: int, starts: int) -> str:
    """The words above."""
    if prompts == 1:
        return f"{starts} starts; {'all end' if same else 'not all end'} with the same answer"
    return f"{same} of {prompts} prompts end with the same answer from all {starts} starts; median, {BANDS_SAID}"
