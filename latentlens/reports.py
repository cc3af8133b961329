"""A readout at one position, as text for a terminal and as JSON.

In: what `decode` returned for one prompt. Out: a string; JSON has every number unrounded, and null where
there is none or it is infinite.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import xarray as xr

from latentlens.quantities import DEFAULT, ON_REQUEST
from latentlens.readouts import token_text
from latentlens.trajectory import Trajectory

SHOWN = 5


def as_dict(out: xr.Dataset, traj: Trajectory, position: int) -> dict[str, Any]:
    """Everything about the first prompt at one position (negative: from its end), ready for JSON.

    >>> import latentlens as ll
    >>> traj = ll.capture(ll.load("walks"), "1 steps from Ann", iterations=4)
    >>> report = as_dict(ll.decode(traj), traj, -1)
    >>> report["token"], len(report["iterations"])
    ('Ann', 5)
    """
    at = position % int(traj.lengths[0])
    cell = out.isel(prompt=0, position=at)
    used = np.flatnonzero(cell.candidate_token.values >= 0)
    report = {
        "model": out.attrs["model"],
        "lens": out.attrs["lens"],
        "seed": out.attrs["seed"],
        "prompt": traj.prompts[0] if traj.prompts else None,
        "position": at,
        "token": str(token_text(out, cell.token.values)),
        "commitment": int(cell.commitment),
        "settled": bool(cell.settled),
        **({"leader_changes": int(cell.leader_changes)} if "leader_changes" in cell else {}),
        "iterations": [_iteration(out, cell.sel(iteration=r), used) for r in out.iteration.values],
    }
    if "truth" in cell and not np.isnan(cell.truth.values[used]).any():
        report["truth"] = [
            {"token": int(cell.candidate_token[c]), "text": str(cell.candidate_label.values[c]), "prob": p}
            for c in used
            if (p := float(cell.truth[c])) > 0
        ]
    return report


def as_json(out: xr.Dataset, traj: Trajectory, position: int) -> str:
    """`as_dict` as indented JSON."""
    return json.dumps(as_dict(out, traj, position), indent=1, ensure_ascii=False, allow_nan=False)


def as_text(out: xr.Dataset, traj: Trajectory, position: int) -> str:
    """A line an iteration: entropy, the distance to the last answer, the best tokens or the tracked ones."""
    report = as_dict(out, traj, position)
    model = traj.needs_model()
    lines = [
        f"{report['model']} ({model.family}), {report['lens']} lens, seed {report['seed']}, "
        f"position {report['position']} {report['token']!r}",
        "iteration  entropy  to final  "
        + ("from truth  " if "truth" in report else "")
        + "candidates [bits, probability]",
    ]
    for row in report["iterations"]:
        numbers = f"{row['iteration']:9d}  {row['entropy']:7.3f}  {row['kl_to_final']:8.3f}  "
        if "truth" in report:
            numbers += f"{row['truth_bits']:10.3f}  "
        lines.append(numbers + _shown(row))
    if report["settled"]:
        lines.append(f"top candidate unchanged from iteration {report['commitment']} on")
    else:
        lines.append(f"not settled: the top candidate last changed at iteration {report['commitment']}")
    if "truth" in report:
        exact = sorted(report["truth"], key=lambda c: (-c["prob"], c["text"]))
        lines.append("truth: " + "  ".join(f"{c['text']} {c['prob']:.3f}" for c in exact))
    return "\n".join(lines)


def _iteration(out: xr.Dataset, row: xr.Dataset, used: np.ndarray) -> dict[str, Any]:
    texts = token_text(out, row.top_token.values)
    names = (*DEFAULT, *ON_REQUEST, "truth_bits")
    return {
        "iteration": int(row.iteration),
        **{
            name: _number(row[name])
            for name in names
            if name in row and row[name].ndim == 0 and name != "leader_changes"
        },
        "top": [
            {"token": int(t), "text": str(text), "prob": float(p)}
            for t, text, p in zip(row.top_token.values, texts, row.top_prob.values)
        ],
        "candidates": [
            {
                "token": int(row.candidate_token[c]),
                "text": str(row.candidate_label.values[c]),
                "prob": float(row.prob[c]),
                "rank": int(row["rank"][c]),
                **({"surprisal": float(row.surprisal[c])} if "surprisal" in row else {}),
            }
            for c in used
        ],
    }


def _number(value: xr.DataArray) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _shown(row: dict[str, Any]) -> str:
    best = row["candidates"] or row["top"]
    return "  ".join(f"{_printable(c['text'])} {c['prob']:.3f}" for c in best[:SHOWN])


def _printable(text: str) -> str:
    """A token's text with control characters shown, so that it cannot steer a terminal."""
    return text if text.isprintable() and text.strip() == text and text else repr(text)
