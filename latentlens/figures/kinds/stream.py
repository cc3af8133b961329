"""The probability of each candidate over the iterations.

In: a readout of `decode`. Out: one row a (iteration, candidate), the rest of the mass as candidate -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, option
from latentlens.figures.escape import distinct, visible
from latentlens.figures.kinds.places import (
    check_iteration,
    check_position,
    check_prompt,
    check_readout,
    lengths_of,
    texts,
)
from latentlens.figures.style import token_slots

REST = "other"
AXIS = {"area": "share of probability", "line": "probability", "rank": "rank (1 = best)"}
"""What the vertical axis says in each mode."""


@dataclass(frozen=True)
class Stream(Figure):
    """How the candidates at one position rise, compete and die; one band or line a candidate.

    Bands and lines join the iterations, which are whole numbers. Iteration 0 is drawn too; where the model starts
    from a random state, what lies before iteration 1 is veiled. A rule marks the commitment. Where the exact answer is
    known it stands at the right edge: a bar with its shares (area) or a diamond at its height (line). Where the model
    has an exit gate, the probability that it stops at each iteration is drawn over the shares or lines.
    """

    kind: ClassVar[str] = "stream"

    mode: str = option("area", "shares that sum to one, lines, or ranks (1 is best)", choices=("area", "line", "rank"))
    prompt: int = option(0, "which prompt; negative ones count from the end")
    position: int = option(-1, "which token; negative ones count from the prompt's own end")
    start: int | None = option(None, "the first iteration to draw; None is 0, the initial state", low=0)
    entropy: bool = option(True, "the entropy of the whole prediction in a panel below", choices=(True, False))
    playhead: int | None = option(None, "an iteration to mark", low=0)

    def table(self, out: xr.Dataset) -> pd.DataFrame:
        """One row a (iteration, candidate).

        Columns: iteration; candidate (-1 is the rest of the mass); token (id, -1); label (text as it is); prob, from 0
        to 1; rank (1 is best; NaN for the rest); truth, from 0 to 1 (NaN where it is not known); entropy [bits] of
        the whole prediction; exit_pdf, the probability that the exit gate stops there (NaN without a gate); slot, the
        candidate's place in the palette. `attrs`: prompt, position, position_text,
        iterations, first, commitment, settled, random_start, model, lens, truth_known, gated.
        """
        check_readout(self.kind, out)
        prompt = check_prompt(out.sizes["prompt"], self.prompt)
        position = check_position(int(lengths_of(out)[prompt]), self.position, prompt)
        last = out.sizes["iteration"] - 1
        check_iteration("start", last - 1, self.start)
        check_iteration("playhead", last, self.playhead)
        here = out.isel(prompt=prompt, position=position)
        first = self.start or 0
        table = self._rows(here, token_slots(out)).query("iteration >= @first", local_dict={"first": first})
        table.attrs = {
            "prompt": prompt,
            "position": position,
            "position_text": str(texts(out, here.token.values)),
            "iterations": last,
            "first": first,
            "commitment": int(here.commitment),
            "settled": bool(here.settled),
            "random_start": bool(out.attrs.get("random_start", 0)),
            "truth_known": bool(table.truth.notna().any()),
            "gated": "exit_pdf" in here,
            "model": str(out.attrs.get("model")),
            "lens": str(out.attrs.get("lens")),
        }
        return table.reset_index(drop=True)

    def _rows(self, here: xr.Dataset, slots: dict[int, int]) -> pd.DataFrame:
        prob = here.prob.transpose("iteration", "candidate").values.astype(float)
        kept = np.flatnonzero(np.isfinite(prob).all(0))
        if not len(kept):
            raise FigureError("expected a position with candidates, got one with none: decode with other track=")
        prob, rank = prob[:, kept], here["rank"].transpose("iteration", "candidate").values[:, kept] + 1.0
        tokens = here.candidate_token.values[kept]
        labels = distinct(tokens.tolist(), here.candidate_label.values[kept])
        truth = here.truth.values[kept].astype(float) if "truth" in here else np.full(len(kept), np.nan)
        iterations, width = here.iteration.values, len(kept) + 1
        gate = here.exit_pdf.values.astype(float) if "exit_pdf" in here else np.full(len(iterations), np.nan)
        rest = np.clip(1 - prob.sum(1, keepdims=True), 0, None)
        return pd.DataFrame(
            {
                "iteration": np.repeat(iterations, width),
                "candidate": np.tile([*kept, -1], len(iterations)),
                "token": np.tile([*tokens, -1], len(iterations)),
                "label": np.tile(np.array([*labels, REST], dtype=object), len(iterations)),
                "prob": np.hstack([prob, rest]).ravel(),
                "rank": np.hstack([rank, np.full_like(rest, np.nan)]).ravel(),
                "truth": np.tile([*truth, max(1 - truth.sum(), 0.0)], len(iterations)),
                "entropy": np.repeat(here.entropy.values.astype(float), width),
                "exit_pdf": np.repeat(gate, width),
                "slot": np.tile([*(slots.get(int(t), 0) for t in tokens), -1], len(iterations)),
            }
        )

    def describe(self, table: pd.DataFrame) -> str:
        """Who leads where, how sure, and how far from the truth, in one sentence."""
        at, real = table.attrs, table[table.candidate >= 0]
        last = real[real.iteration == at["iterations"]]
        best = last.loc[last.prob.idxmax()]
        name, first = visible(best.label), max(at["first"], int(at["random_start"]))
        entropy = table[table.iteration >= first].groupby("iteration").entropy.first()
        if best["rank"] > 1:
            said = f"No followed candidate leads at the end, {name} is the likeliest of them with {best.prob:.2f}"
        elif at["settled"]:
            said = f"From iteration {at['commitment']} on {name} leads, with {best.prob:.2f} at the end"
        else:
            said = f"Not settled: {name} leads since iteration {at['commitment']}, with {best.prob:.2f} at the end"
        start, end = f"{entropy.iloc[0]:.1f}", f"{entropy.iloc[-1]:.1f}"
        verb = "falls" if entropy.iloc[-1] < entropy.iloc[0] else "rises"
        change = f"stays at {end}" if start == end else f"{verb} from {start} to {end}"
        said += f"; entropy {change} bits over iterations {first} to {at['iterations']}"
        if at["truth_known"]:
            exact = last[last.truth > 0].sort_values("truth", ascending=False)
            shares = [f"{visible(row.label)} {row.truth:.2f}" for row in exact.itertuples()]
            rest = 1 - float(exact.truth.sum())
            shares += [f"others {rest:.2f}"] if rest > 0.005 else []
            said += f"; the exact answer is {', '.join(shares)}"
        return said + "."


def exits(table: pd.DataFrame) -> pd.Series:
    """The probability that the exit gate stops at each iteration from 1 on; empty without a gate."""
    return table.groupby("iteration").exit_pdf.first().dropna()


def wide(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Iterations by candidates (in their order, the rest last), of one column; what both backends draw from."""
    order = candidates(table).candidate
    return table.pivot(index="iteration", columns="candidate", values=column)[order]


def candidates(table: pd.DataFrame) -> Any:
    """One row a candidate, in their order: candidate, token, label, truth, slot; the rest is last."""
    return table[table.iteration == table.attrs["first"]][["candidate", "token", "label", "truth", "slot"]]


def commitment_note(table: pd.DataFrame) -> str:
    """The words beside the rule at the commitment; none where it lies before what is drawn."""
    at = table.attrs
    if at["commitment"] < at["first"]:
        return ""
    words = "commitment" if at["settled"] else "last change, not settled"
    return f"{words}: iteration {at['commitment']}"


def truth_marks(table: pd.DataFrame) -> list[tuple[Any, int]]:
    """The candidates whose truth is a diamond in line mode, each with how many diamonds are already at its height."""
    known = candidates(table)
    rows = list(known[(known.candidate >= 0) & (known.truth > 0)].itertuples())
    return [(row, sum(abs(row.truth - other.truth) < 0.03 for other in rows[:i])) for i, row in enumerate(rows)]
