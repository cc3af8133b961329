"""Draw a map with plotly: many paths are one trace, broken by NaN; the last trace is the playhead."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from latentlens.figures.browser.marks import anchors, arrows, shades
from latentlens.figures.browser.page import colorbar, colorscale, ink, layout, tint
from latentlens.figures.escape import distinct, for_browser
from latentlens.figures.kinds.labels import free_places
from latentlens.figures.kinds.map import AXES, NAMED, Map
from latentlens.figures.style import PLAYHEAD

HOVERS = 20_000
"""Above this many states the hover shows ids in place of texts: a text a vertex would be most of the page."""


def draw(figure: Map, table: pd.DataFrame, dark: bool = False, width: int = 900) -> go.Figure:
    """Traces: faint paths, strong paths, their states, starts, ends, legend, and last "playhead"."""
    shade = ink(dark)
    faint, strong = table[~table.strong], table[table.strong]
    data: list[dict[str, Any]] = []
    if len(faint):
        data.append(_lines(figure, faint, "other tokens", shade.faint, 0.8, 0.35))
        data.append(_states(figure, faint, "states of other tokens", 3 if figure.dims == 2 else 2, 0.4, dark))
    data.append(_lines(figure, strong, "paths", shade.muted, 1.6, 0.8))
    data.append(_states(figure, strong, "states", 7 if figure.dims == 2 else 5, 1.0, dark))
    data += [_ends(figure, strong, True, dark, width), _ends(figure, strong, False, dark, width)]
    if figure.color == "top":
        data += _legend(figure, table, dark)
    else:
        data[-3]["marker"] |= {"showscale": True, "colorbar": colorbar("iteration", dark)}
    marks = table.attrs["marks"]
    if marks is not None:
        data = [*shades(marks, dark), *data, *anchors(marks, dark)]
    data.append(_playhead(figure, strong, dark))
    titles = table.attrs["axes"]
    page = layout(figure.kind, dark, showlegend=figure.color == "top", margin={"l": 56, "r": 12, "t": 32, "b": 44})
    if figure.dims == 2:
        page["xaxis"] = {"title": {"text": titles[0]}}
        page["yaxis"] = {"title": {"text": titles[1]}, "scaleanchor": "x", "scaleratio": 1}
    else:
        page["scene"] = _scene(table, titles)
        page["margin"] = {"l": 0, "r": 8, "t": 32, "b": 8}
    below(page, table, dark, width)
    if marks is not None:
        page["annotations"] = [*page.get("annotations", []), *arrows(marks, dark)]
    page["legend"] = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    return go.Figure(data=data, layout=page)


def below(page: dict[str, Any], table: pd.DataFrame, dark: bool, width: int) -> None:
    """How far to trust the map, in small lines below it."""
    lines = [line for note in table.attrs["notes"] for line in textwrap.wrap(note, max((width - 80) // 6, 20))]
    if not lines:
        return
    room = page["margin"]["b"]
    page["margin"]["b"] = room + 15 * len(lines) + 4
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "top", "yshift": -room}
    font = {"size": 11, "color": ink(dark).muted}
    text = "<br>".join(lines)
    page["annotations"] = [{"name": "trust", "text": text, "showarrow": False, "align": "left", "font": font, **place}]


def _kind(figure: Map, count: int) -> str:
    return "scatter3d" if figure.dims == 3 else "scattergl" if count > HOVERS else "scatter"


def _lines(figure: Map, rows: pd.DataFrame, name: str, colour: str, width: float, opacity: float) -> dict[str, Any]:
    count = rows.groupby(["prompt", "position"], sort=False).ngroups
    trace: dict[str, Any] = {
        "type": _kind(figure, len(rows)),
        "name": name,
        "mode": "lines",
        "line": {"color": colour, "width": width * (2 if figure.dims == 3 else 1)},
        "opacity": opacity,
        "hoverinfo": "skip",
        "showlegend": False,
    }
    for axis in AXES[: figure.dims]:
        trace[axis] = broken(rows[axis].to_numpy().reshape(count, -1))
    return trace


def broken(paths: np.ndarray) -> np.ndarray:
    """Paths `[path, iteration]` as one row of float32, a NaN after each.

    >>> broken(np.array([[1, 2], [3, 4]])).tolist()
    [1.0, 2.0, nan, 3.0, 4.0, nan]
    """
    return np.pad(paths.astype(np.float32), ((0, 0), (0, 1)), constant_values=np.nan).ravel()


def _states(figure: Map, rows: pd.DataFrame, name: str, size: float, opacity: float, dark: bool) -> dict[str, Any]:
    ids = ["prompt", "position", "iteration"] + (["token", "top"] if "top" in rows else [])
    marker: dict[str, Any] = {"size": size, "opacity": opacity, "line": {"width": 0}}
    if figure.color == "iteration":
        marker |= {
            "color": rows.iteration.to_numpy(np.int16),
            "colorscale": colorscale("iteration", dark),
            "cmin": 0,
            "cmax": max(int(rows.iteration.max()), 1),
        }
    else:
        marker |= _categories(rows, dark)
    trace = {
        "type": _kind(figure, len(rows)),
        "name": name,
        "mode": "markers",
        "marker": marker,
        "customdata": rows[ids].to_numpy(np.int32),
        "showlegend": False,
        **_hover(rows),
    }
    for axis in AXES[: figure.dims]:
        trace[axis] = rows[axis].to_numpy(np.float32)
    return trace


def _hover(rows: pd.DataFrame) -> dict[str, Any]:
    where = "prompt %{customdata[0]}, position %{customdata[1]}, iteration %{customdata[2]}"
    if "top" not in rows:
        return {"hovertemplate": where + "<extra></extra>"}
    if len(rows) > HOVERS:
        return {"hovertemplate": where + "<br>token id %{customdata[3]}, leader id %{customdata[4]}<extra></extra>"}
    texts = [
        f"<b>{for_browser(token)}</b>, leader {for_browser(top)} ({prob:.2f})"
        for token, top, prob in zip(rows.token_text, rows.top_text, rows.prob)
    ]
    return {"text": texts, "hovertemplate": "%{text}<br>" + where + "<extra></extra>"}


def _categories(rows: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """Slots as small whole numbers, and a stepped scale that gives each its colour."""
    slots = sorted(set(rows.slot.tolist()))
    code = {slot: i for i, slot in enumerate(slots)}
    edges = np.linspace(0, 1, len(slots) + 1)
    scale = [[float(e), tint(slot, dark)] for i, slot in enumerate(slots) for e in edges[i : i + 2]]
    return {
        "color": rows.slot.map(code).to_numpy(np.int16),
        "colorscale": scale,
        "cmin": -0.5,
        "cmax": len(slots) - 0.5,
    }


def _legend(figure: Map, table: pd.DataFrame, dark: bool) -> list[dict[str, Any]]:
    """An entry a leading candidate, in the order of their colours; what leads at a random start only is "other"."""
    seen = table.drop_duplicates("slot").sort_values("slot")
    seen = pd.concat([seen[seen.slot >= 0], seen[seen.slot < 0]])
    named = distinct(seen.top.tolist(), seen.top_text)
    at = {axis: [None] for axis in AXES[: figure.dims]}
    return [
        {
            "type": "scatter3d" if figure.dims == 3 else "scatter",
            "name": for_browser(name, 16) if slot >= 0 else "other",
            "mode": "markers",
            "marker": {"size": 8, "color": tint(slot, dark)},
            **at,
        }
        for name, slot in zip(named, seen.slot)
    ]


def _ends(figure: Map, strong: pd.DataFrame, start: bool, dark: bool, width: int) -> dict[str, Any]:
    """Rings at the starts; squares at the ends, with the token's name where there are few."""
    shade = ink(dark)
    edge = strong.iteration.min() if start else strong.iteration.max()
    rows = strong[strong.iteration == edge]
    trace: dict[str, Any] = {
        "type": "scatter3d" if figure.dims == 3 else "scatter",
        "name": "start" if start else "end",
        "mode": "markers",
        "marker": {
            "symbol": "circle-open" if start else "square",
            "size": (12 if start else 9) * (0.6 if figure.dims == 3 else 1),
            "color": shade.text,
            "line": {"color": shade.text if start else shade.page, "width": 2 if start else 1},
        },
        "hoverinfo": "skip",
        "showlegend": False,
        "cliponaxis": False,
    }
    if figure.dims == 3:
        del trace["cliponaxis"]
    if not start and len(rows) <= NAMED:
        trace |= {"mode": "markers+text", "text": end_names(rows), "textposition": _places(figure, strong, rows, width)}
        trace["textfont"] = {"color": shade.text, "size": 12}
    for axis in AXES[: figure.dims]:
        trace[axis] = rows[axis].to_numpy(np.float32)
    return trace


def _places(figure: Map, strong: pd.DataFrame, rows: pd.DataFrame, width: int) -> Any:
    """Where the names stand, on a page of the usual height."""
    if figure.dims == 3:
        return "top center"
    spans = [float(np.ptp(strong[axis].to_numpy())) or 1.0 for axis in ("x", "y")]
    scale = min((width - 150) / spans[0], 380 / spans[1]) / 13
    return free_places(rows[["x", "y"]].to_numpy() * scale, [len(name) for name in end_names(rows)])


def end_names(rows: pd.DataFrame) -> list[str]:
    """What to write at the end of each path: its token, or its position where no readout names it."""
    if "token_text" in rows:
        return [for_browser(t, 14) for t in rows.token_text]
    return [f"position {p}" for p in rows.position]


def _playhead(figure: Map, strong: pd.DataFrame, dark: bool) -> dict[str, Any]:
    """The strong states of one iteration; move it by patching x, y (and z)."""
    it = figure.playhead
    rows = strong[strong.iteration == (strong.iteration.min() if it is None else it)]
    trace: dict[str, Any] = {
        "type": "scatter3d" if figure.dims == 3 else "scatter",
        "name": "playhead",
        "mode": "markers",
        "marker": {
            "symbol": "circle-open",
            "size": 16 if figure.dims == 2 else 10,
            "color": PLAYHEAD,
            "line": {"color": PLAYHEAD, "width": 3},
        },
        "customdata": rows[["prompt", "position", "iteration"]].to_numpy(np.int32),
        "hoverinfo": "skip",
        "showlegend": False,
        "visible": it is not None,
    }
    for axis in AXES[: figure.dims]:
        trace[axis] = rows[axis].to_numpy(np.float32)
    return trace


def _scene(table: pd.DataFrame, titles: list[str]) -> dict[str, Any]:
    """Axes with their true proportions, but none flatter than two fifths of the longest."""
    spans = np.array([np.ptp(table[axis].to_numpy()) or 1.0 for axis in AXES])
    ratio = np.clip(spans / spans.max(), 0.4, 1)
    scene: dict[str, Any] = {f"{axis}axis": {"title": {"text": title}} for axis, title in zip(AXES, titles)}
    scene["aspectmode"] = "manual"
    scene["aspectratio"] = dict(zip(AXES, map(float, ratio)))
    scene["camera"] = {"eye": {"x": 0.8, "y": -1.2, "z": 0.66}, "center": {"x": 0, "y": 0, "z": -0.12}}
    return scene
