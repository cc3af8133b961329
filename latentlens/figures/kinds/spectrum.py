"""The leading eigenvalues of one iteration's Jacobian in the complex plane.

In: what `dynamics` returns with `spectra=`. Out: one row an eigenvalue; Floquet multipliers are rows of iteration -1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import Figure, check_whole, option
from latentlens.figures.escape import visible
from latentlens.figures.kinds.places import check_iteration, check_position, check_prompt, lengths_of, texts

ROUND = -1
"""The iteration that stands for a whole round of an orbit."""


@dataclass(frozen=True)
class Spectrum(Figure):
    """Which directions one iteration stretches, shrinks and turns; one point an eigenvalue, coloured by its iteration.

    The circle is where a small change neither grows nor shrinks: at a fixed point all eigenvalues within it mean that
    it is stable. On an orbit the Floquet multipliers of a whole round, drawn as diamonds, say so; elsewhere along a
    trajectory the circle is a measure, not a verdict. Only the leading eigenvalues are known; those nearer to 0 are not
    drawn. Complex ones come in pairs, so that the last kept has its twin.
    """

    kind: ClassVar[str] = "spectrum"

    prompt: int | None = option(0, "which prompt, negative ones count from the end; None is all", whole=False)
    position: int = option(-1, "which token; negative ones count from each prompt's own end")
    iteration: int | None = option(
        None, "only the eigenvalues at this iteration; None is all that were looked at", low=0
    )
    floquet: bool = option(True, "the Floquet multipliers of orbits, as diamonds", choices=(True, False))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt is not None:
            check_whole("prompt of spectrum", self.prompt)

    def table(self, dyn: xr.Dataset) -> pd.DataFrame:
        """One row an eigenvalue.

        Columns: prompt, position, iteration (-1: of a whole round of an orbit), eigen (0 is the leading one), real,
        imag, modulus, residual (of the leading pair, how far it is from one; NaN elsewhere). `attrs`: prompts,
        position, position_text ("" of several prompts), looked (the iterations), iterations, model.
        """
        if not isinstance(dyn, xr.Dataset) or "step_norm" not in dyn or "group" in dyn.dims:
            raise FigureError(
                f"expected what ll.dynamics returns for spectrum, got {type(dyn).__name__}: call it first"
            )
        if "eigenvalues" not in dyn:
            raise FigureError(
                "expected dynamics with spectra= for spectrum, got one without: pass ll.dynamics(traj, spectra=[-1])"
            )
        last = int(dyn.iteration.values[-1])
        check_iteration("iteration", last, self.iteration)
        count, lengths = dyn.sizes["prompt"], lengths_of(dyn)
        prompts = list(range(count)) if self.prompt is None else [check_prompt(count, self.prompt)]
        places = [(p, check_position(int(lengths[p]), self.position, p)) for p in prompts]
        table = pd.concat([self._rows(dyn, *place) for place in places], ignore_index=True)
        looked = sorted(set(table.iteration) - {ROUND})
        if not looked:
            raise FigureError(_nothing(dyn, self.position, self.iteration))
        one = len(places) == 1
        table.attrs = {
            "prompts": len(places),
            "position": places[0][1] if one else self.position,
            "position_text": str(texts(dyn, dyn.token.values[places[0]])) if one else "",
            "looked": looked,
            "iterations": last,
            "model": str(dyn.attrs.get("model")),
        }
        return table

    def _rows(self, dyn: xr.Dataset, prompt: int, position: int) -> pd.DataFrame:
        """The eigenvalues of one token, and the multipliers of its orbit."""
        here = dyn.isel(prompt=prompt, position=position)
        values = here.eigenvalues.transpose("iteration", "eigen").values
        kept = dyn.iteration.values if self.iteration is None else [self.iteration]
        parts = {int(r): _paired(values[r]) for r in kept}
        if self.floquet and "floquet" in here:
            parts[ROUND] = _paired(here.floquet.values)
        counts = [len(part) for part in parts.values()]
        found = np.concatenate(list(parts.values()))
        eigen = np.concatenate([np.arange(count) for count in counts])
        residual = [np.nan if r == ROUND else float(here.spectral_residual.values[r]) for r in parts]
        return pd.DataFrame(
            {
                "prompt": prompt,
                "position": position,
                "iteration": np.repeat(list(parts), counts),
                "eigen": eigen,
                "real": found.real,
                "imag": found.imag,
                "modulus": np.abs(found),
                "residual": np.where(eigen == 0, np.repeat(residual, counts), np.nan),
            }
        )

    def describe(self, table: pd.DataFrame) -> str:
        """The spectral radius where it was looked at, and the Floquet radius of the orbits."""
        at, radius = table.attrs, radii(table)
        where = (
            f"token {visible(at['position_text'])}" if at["prompts"] == 1 else f"one token of {at['prompts']} prompts"
        )
        first, end = at["looked"][0], at["looked"][-1]
        change = f"{radius[first]:.3g} at iteration {first}"
        if first != end:
            change += f" and {radius[end]:.3g} at iteration {end}, at most {max(radius.values()):.3g}"
        said = f"Leading eigenvalues of one iteration's Jacobian at {where}: {middle(at)}spectral radius {change}"
        turning = table[(table.iteration == ROUND) & (table.eigen == 0)]
        if len(turning):
            said += f"; Floquet radius of the last round {turning.modulus.median():.3g}"
            said += f" in the median of {len(turning)} orbits" if len(turning) > 1 else ""
        outside = int((table[table.iteration != ROUND].modulus > 1).sum())
        return f"{said}; {outside} of {int((table.iteration != ROUND).sum())} eigenvalues lie outside the unit circle."


def _paired(values: np.ndarray) -> np.ndarray:
    """The eigenvalues that are there; where the last is one of a pair whose other was cut off, with that one too."""
    found = values[np.isfinite(values)].astype(complex)
    if len(found) and found[-1].imag and not np.isclose(found[:-1], found[-1].conj(), rtol=1e-4).any():
        return np.append(found, found[-1].conj())
    return found


def middle(at: dict) -> str:
    """What to say before a number that is taken over several prompts."""
    return "median " if at["prompts"] > 1 else ""


def radii(table: pd.DataFrame) -> dict[int, float]:
    """The spectral radius by iteration; of several prompts, their median."""
    leading = table[(table.eigen == 0) & (table.iteration != ROUND)]
    medians = leading.groupby("iteration").modulus.median()
    return dict(zip(medians.index.tolist(), medians.tolist()))


def reach(table: pd.DataFrame) -> float:
    """How far the axes go from 0 in every direction: the circle and all points are within."""
    return 1.08 * max(1.0, float(table[["real", "imag"]].abs().to_numpy().max()))


def heading(table: pd.DataFrame) -> str:
    """The words above: where J was looked at, and the radius there."""
    at, radius = table.attrs, radii(table)
    where = f"at {visible(at['position_text'], 12)}" if at["prompts"] == 1 else f"of {at['prompts']} prompts"
    first, end = at["looked"][0], at["looked"][-1]
    values = f"{radius[first]:.2f}" + (f" → {radius[end]:.2f}" if first != end else "")
    return f"{where}: {middle(at)}spectral radius {values}"


def _nothing(dyn: xr.Dataset, position: int, iteration: int | None) -> str:
    """Why there is nothing to draw."""
    seen = np.isfinite(dyn.spectral_radius.transpose("iteration", "prompt", "position").values)
    looked = np.flatnonzero(seen.any((1, 2))).tolist()
    if iteration is not None and iteration not in looked:
        listed = ", ".join(map(str, looked))
        return (
            f"expected an iteration that was looked at ({listed}), got {iteration}: pass it to ll.dynamics as spectra="
        )
    return (
        f"expected a position that was looked at, got {position}: pass it to ll.dynamics as positions=, beside spectra="
    )
