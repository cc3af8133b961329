"""What both backends draw of a line's table: its curves, the ends of the axis, the words above.

In: a line's table. Out: numbers and texts in data coordinates.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from latentlens.figures.escape import visible

NUMBERS = ["value", "low", "high", "lowest", "highest"]
CROWD, NAMED = 12, 8
"""Of more series than `CROWD` only so many are named: those that move most."""

DECADES = 30
"""What grows or falls by more than this factor spans decades."""


def curves(table: pd.DataFrame, log: bool) -> list[pd.DataFrame]:
    """One table a series, in order; on a logarithmic scale what is not above 0 is NaN."""
    out = []
    for _, row in table.groupby("series", sort=True):
        row = row.copy()
        if log:
            row[NUMBERS] = row[NUMBERS].where(row[NUMBERS] > 0)
        out.append(row)
    return out


def limits(table: pd.DataFrame, log: bool) -> tuple[float, float]:
    """The ends of the vertical axis, the reference among them; 0 too where it is linear, 1 where a share is drawn."""
    values = np.concatenate([row[NUMBERS].to_numpy().ravel() for row in curves(table, log)])
    reference = table.attrs["reference"]
    values = np.append(values[np.isfinite(values)], [] if reference is None else reference)
    if log:
        low, high = (values.min(), values.max()) if len(values) else (0.1, 1.0)
        return float(low) / 1.25, float(high) * 1.25
    low, high = min(float(values.min(initial=0)), 0.0), max(float(values.max(initial=0)), 0.0)
    if table.attrs["title"].endswith("]") or high > 1 or low < 0:
        return low * 1.05, high * 1.05 or (0.0 if low else 1.0)
    return low, 1.02


def spans(table: pd.DataFrame) -> bool:
    """Whether the values are positive and span decades; zeros do not count (the last state's distance to itself)."""
    values = table.value.to_numpy()
    seen = values[values > 0]
    return bool((values >= 0).all() and len(seen) and seen.max() > DECADES * seen.min())


def first_counted(table: pd.DataFrame) -> int:
    """The first iteration that says something about the model: a random start does not."""
    return max(table.attrs["first"], int(table.attrs["random_start"]))


def named(table: pd.DataFrame) -> set[int]:
    """The series whose names are written: all, or in a crowd those that move most."""
    values = table[table.iteration >= first_counted(table)].groupby("series").value
    moved = (values.max() - values.min()).sort_values(ascending=False, kind="stable")
    return set(moved.index[: NAMED if len(moved) > CROWD else None])


def hidden_points(table: pd.DataFrame) -> int:
    """How many values a logarithmic scale cannot show."""
    return int((table.value <= 0).sum())


def notes(table: pd.DataFrame, log: bool) -> str:
    """The words above the panel."""
    count = hidden_points(table) if log else 0
    lost = f"{count} {'point' if count == 1 else 'points'} at 0 or below not shown" if count else ""
    kept, count = len(named(table)), table.series.nunique()
    crowd = f"{kept} of {count} lines named, those that move most" if kept < count else ""
    return "; ".join(part for part in (table.attrs["note"], crowd, lost) if part)


def described(table: pd.DataFrame) -> str:
    """Where each line starts and ends, in one sentence."""
    at, first, parts = table.attrs, first_counted(table), []
    kept = named(table)
    for number, row in table[table.iteration >= first].groupby("series"):
        if number in kept:
            name = f"{visible(row.label.iloc[0])} " if row.label.iloc[0] else ""
            known = row.dropna(subset="value")
            if not len(known):
                continue
            start, end = known.value.iloc[0], known.value.iloc[-1]
            least = known.iteration.iloc[int(known.value.argmin())]
            parts.append(f"{name}from {start:.3g} to {end:.3g}, least at {least}")
    note = f" ({at['note']})" if at["note"] else ""
    more = "" if len(kept) == table.series.nunique() else f"; {table.series.nunique() - len(kept)} more move less"
    return f"{at['title']} over iterations {first} to {at['iterations']}{note}: {'; '.join(parts)}{more}."
