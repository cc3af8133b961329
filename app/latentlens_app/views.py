"""What a run looks like: its figures, and the values that the page needs to move its playhead by itself.

In: a `Run`. Out: drawings, and plain JSON. Values are read off the readout and the embedding, never computed.
Knows nothing about components.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr

import latentlens as ll
from latentlens.figures.base import Drawing
from latentlens.figures.escape import visible
from latentlens.figures.kinds.grid import COLORS
from latentlens.figures.style import slot_colour, token_slots
from latentlens.models.describing import describe
from latentlens_app.cards import STATISTICS
from latentlens_app.following import entry_of
from latentlens_app.runs import Run, Runs
from latentlens_app.style import FONT

ROWS = 6
"""How many bars there are at each iteration; more only where the exact answer has more candidates."""


def drawing(run: Run, kind: str, position: int, options: dict[str, Any], emb: ll.Embedding | None = None) -> Drawing:
    """One of the figures of a run; the stream and the line are of a single position."""
    if kind == "map":
        return ll.figures.map(run.emb, readout=run.out, strong=position, **options)
    if kind == "grid":
        return ll.figures.grid(run.out, **options)
    if kind == "line":
        return ll.figures.line(run.out, prompt=0, position=position, **options)
    return ll.figures.stream(run.out, position=position, **options)


def figure_of(run: Run, drawn: Drawing, look: dict[str, Any]) -> go.Figure:
    """A figure for the page: as wide as its card, without the room of a title; the page says its notes as text."""
    table, kind = drawn.table(), drawn.figure.kind
    if "notes" in table.attrs:
        table.attrs["notes"] = []
    figure = drawn.figure.draw(
        table, "browser", dark=look["dark"], width=look["widths"].get(kind, look["widths"]["line"])
    )
    top = {"stream": 24, "map": 8, "grid": 8, "line": 8}.get(kind, figure.layout.margin.t)
    return figure.update_layout(font_family=FONT, margin_t=top, uirevision=f"{run.ask.states_key} {drawn.figure}")


def live(run: Run) -> dict[str, Any]:
    """What each token would answer after each iteration, as texts and numbers."""
    top = run.out.isel(prompt=0, k=0).transpose("iteration", "position", ...)
    return {
        "key": run.ask.key,
        "model": run.ask.model,
        "iterations": run.traj.iterations,
        "tokens": [visible(text) for text in run.tokens],
        "top": [[visible(text) for text in row] for row in ll.token_text(run.out, top.top_token.values).tolist()],
        "prob": plain(top.top_prob.values),
        "entropy": plain(top.entropy.values),
        "bits": plain(top.truth_bits.values) if "truth_bits" in top else None,
        "commitment": plain(top.commitment.values),
        "settled": top.settled.values.tolist(),
        "random": bool(run.out.attrs["random_start"]),
    }


def bars(run: Run, position: int) -> dict[str, Any]:
    """The tokens that are among the leaders at some iteration, and their probability and place at each.

    `rows`: id, text, colour and exact probability (None where it is not known); `prob[iteration][row]` (None: not
    among those kept); `place[iteration]`: the rows that are shown, likeliest first.
    """
    here = run.out.isel(prompt=0, position=position)
    if run.ask.track:
        return _followed(here, token_slots(run.out))
    followed = here.prob.transpose("iteration", "candidate").values
    leaders, chances = (here[name].transpose("iteration", "k").values for name in ("top_token", "top_prob"))
    said: list[dict[int, float]] = []
    for iteration in range(run.traj.iterations + 1):
        now = dict(zip(leaders[iteration].tolist(), chances[iteration].tolist()))
        now.update(zip(here.candidate_token.values.tolist(), followed[iteration].tolist()))
        said.append({token: chance for token, chance in now.items() if token >= 0})
    exact = _exact(run, position)
    shown = [_shown(now, exact) for now in said]
    tokens = list(dict.fromkeys([*exact, *(token for places in shown for token in places)]))
    texts, slots = ll.token_text(run.out, np.array(tokens)).tolist(), token_slots(run.out)
    return {
        "rows": [
            {"id": token, "text": visible(text), "colour": slot_colour(slots.get(token, -1)), "exact": exact.get(token)}
            for token, text in zip(tokens, texts)
        ],
        "prob": [[now.get(token) for token in tokens] for now in said],
        "place": [[tokens.index(token) for token in places] for places in shown],
        "height": max(ROWS, *map(len, shown)),
    }


def about(runs: Runs, name: str) -> dict[str, Any] | None:
    """What a page says of a model that is loaded, as plain texts and numbers; None where it is not loaded yet."""
    model = runs.loaded(name)
    if model is None:
        return None
    found = describe(model)
    notes = [found.offers["gate"]] if "gate" in found.offers else []
    notes += [found.lacks[what] for what in ("tokenizer", "iterations") if what in found.lacks]
    return {
        "key": name,
        "title": sentence(found.title),
        "facts": [
            f"iterates {found.iterations} times",
            f"width {found.d_model:,}",
            f"{found.vocab_size:,} tokens",
        ],
        "notes": [sentence(note) for note in notes],
        "iterations": found.iterations,
        "free": found.free,
        "ids": model.tokenizer is None,
        "lenses": runs.saved(name),
    }


def sentence(text: str) -> str:
    """A text that begins like a sentence.

    >>> sentence("its layers")
    'Its layers'
    """
    return text[:1].upper() + text[1:]


def plain(values: np.ndarray) -> list[Any]:
    """Numbers as JSON, with None for NaN."""
    out = values.astype(object)
    out[~np.isfinite(values)] = None
    return out.tolist()


def _followed(here: xr.Dataset, slots: dict[int, int]) -> dict[str, Any]:
    """The bars of candidates that a reader chose, and of everything else together."""
    tokens, labels = here.candidate_token.values.tolist(), here.candidate_label.values.tolist()
    chances = here.prob.transpose("iteration", "candidate").values
    exact = here.truth.values if "truth" in here else np.full(len(tokens), np.nan)
    there = [number for number, token in enumerate(tokens) if token >= 0]  # "next" has none at the end
    rows = [
        {
            "id": number,
            "text": visible(labels[number]),
            "colour": slot_colour(slots[tokens[number]]),
            "exact": None if np.isnan(exact[number]) else float(exact[number]),
        }
        for number in there
    ]
    rows.append({"id": -1, "text": "other", "colour": slot_colour(-1), "exact": None})
    prob = np.column_stack([chances[:, there], here.other_prob.values])
    order = np.argsort(-prob[:, :-1], axis=1, kind="stable").tolist()
    return {"rows": rows, "prob": plain(prob), "place": [[*now, len(there)] for now in order], "height": len(rows)}


def followed_at(run: Run, position: int) -> list[str]:
    """What is followed at a position, as a reader would type it: what was chosen, or the leaders."""
    if run.ask.track:
        return list(run.ask.track)
    tokens = run.out.candidate_token.isel(prompt=0, position=position).values.tolist()
    model = run.traj.needs_model()
    return [entry_of(token, model) for token in tokens if token >= 0]


def offered(run: Run) -> dict[str, list[str]]:
    """The statistics that this run can be drawn by, for each figure that has a choice of them."""
    return {
        "grid": [name for name in COLORS if name == "prob" or name in run.out],
        "line": [name for name in STATISTICS if name in run.out],
    }


def has_numbers(run: Run, name: str, position: int) -> bool:
    """Whether a statistic has a number at this position (the exact answer is known at the last one only)."""
    values = run.out[name].isel(prompt=0)
    values = values.isel(position=position) if "position" in values.dims else values
    return bool(np.isfinite(values.values.astype(float)).any())


def _exact(run: Run, position: int) -> dict[int, float]:
    """The exact answer at a position, by token id, likeliest first; empty where it is not known."""
    if "truth" not in run.out:
        return {}
    here = run.out.isel(prompt=0, position=position)
    known = zip(here.candidate_token.values.tolist(), here.truth.values.tolist())
    return dict(sorted(((t, p) for t, p in known if t >= 0 and p > 0), key=lambda pair: -pair[1]))


def _shown(now: dict[int, float], exact: dict[int, float]) -> list[int]:
    """The tokens that have a bar at one iteration: the exact answer and the leaders, likeliest first."""
    ranked = sorted(now, key=lambda token: -now[token])
    leaders = [token for token in ranked if token not in exact]
    kept = {*exact, *leaders[: max(ROWS - len(exact), 0)]}
    return [token for token in ranked if token in kept]
