"""What every plotly figure shares: the page's ink, the template, the playhead, and how it is saved.

In: light or dark. Out: parts of a layout. Knows no figure.
"""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from latentlens.figures.style import DARK, LIGHT, PLAYHEAD, RAMPS, Ink, mix, slot_colour
from latentlens.files import write_whole

if TYPE_CHECKING:
    from latentlens.figures.base import Drawing

CONFIG: dict[str, Any] = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}
"""For every graph and every file: no button that uploads the figure, no logo."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
CLEAR = "rgba(0,0,0,0)"


def ink(dark: bool) -> Ink:
    """The neutral colours of a light or a dark page."""
    return DARK if dark else LIGHT


def tint(slot: int, dark: bool) -> str:
    """A candidate's colour; on a dark page the rest is darker, so that it stays behind."""
    return "#4a505b" if slot < 0 and dark else slot_colour(slot)


def lettering(slot: int, dark: bool) -> str:
    """A candidate's colour, moved towards the ink so that its name can be read on the page."""
    return mix(tint(slot, dark), ink(dark).text, 0.35)


def colorscale(name: str, dark: bool) -> list[list[Any]]:
    """The ramp of a quantity as plotly wants it."""
    return [[at, colour] for at, colour in RAMPS[name][int(dark)]]


def colorbar(title: str, dark: bool) -> dict[str, Any]:
    """A thin bar at the right, its title along it."""
    shade = ink(dark)
    return {
        "title": {"text": title, "side": "right", "font": {"color": shade.muted, "size": 12}},
        "thickness": 10,
        "outlinewidth": 0,
        "tickfont": {"color": shade.muted, "size": 11},
        "x": 1.01,
        "xpad": 4,
        "ypad": 0,
        "len": 1,
    }


@lru_cache(maxsize=2)
def template(dark: bool) -> go.layout.Template:
    """A quiet page: transparent, a faint grid, no frames."""
    shade = ink(dark)
    axis = {
        "gridcolor": shade.grid,
        "linecolor": shade.faint,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": shade.faint,
        "tickfont": {"color": shade.muted, "size": 11},
        "title": {"font": {"color": shade.muted, "size": 12}, "standoff": 8},
        "automargin": True,
    }
    spatial = axis | {"backgroundcolor": CLEAR, "showbackground": False, "ticks": "", "title": axis["title"]}
    spatial = {k: v for k, v in spatial.items() if k not in ("automargin", "ticklen", "tickcolor")}
    spatial["title"] = {"font": axis["title"]["font"]}  # type: ignore[index]
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 12, "color": shade.text},
            "paper_bgcolor": CLEAR,
            "plot_bgcolor": CLEAR,
            "xaxis": axis,
            "yaxis": axis,
            "scene": {"xaxis": spatial, "yaxis": spatial, "zaxis": spatial},
            "hoverlabel": {
                "bgcolor": shade.page,
                "bordercolor": shade.faint,
                "font": {"family": FONT, "color": shade.text, "size": 12},
                "align": "left",
            },
            "legend": {"font": {"color": shade.text, "size": 12}, "bgcolor": CLEAR, "itemsizing": "constant"},
            "margin": {"l": 56, "r": 16, "t": 32, "b": 44},
            "colorway": [shade.muted],
            "modebar": {"bgcolor": CLEAR, "color": shade.faint, "activecolor": shade.text, "orientation": "h"},
        }
    )


def layout(kind: str, dark: bool, **more: Any) -> dict[str, Any]:
    """The start of a layout; `uirevision` keeps zoom and legend when the figure is made again."""
    return {"template": template(dark), "uirevision": kind, "hovermode": "closest", **more}


def playhead(iteration: int | None, half: float = 0.0, **place: Any) -> dict[str, Any]:
    """The marker of an iteration, always `layout.shapes[0]`: a rule (half 0) or a frame around a column.

    Move it by patching `x0` and `x1`; it is there but not visible where no playhead is asked for.
    """
    x = 0 if iteration is None else iteration
    return {
        "name": "playhead",
        "type": "rect" if half else "line",
        "xref": "x",
        "yref": "paper",
        "x0": x - half,
        "x1": x + half,
        "y0": 0,
        "y1": 1,
        "line": {"color": PLAYHEAD, "width": 2},
        "layer": "above",
        "visible": iteration is not None,
        **place,
    }


def write(drawing: Drawing, path: Path, style: str) -> None:
    """One HTML file that needs no network, with the description for those who do not see the picture."""
    page = drawing.plotly().to_html(config=CONFIG, include_plotlyjs=True, default_height="96vh", div_id="latentlens")
    said = html.escape(drawing.describe())
    page = page.replace("<html>", '<html lang="en">', 1)
    page = page.replace("<head>", f"<head><title>latentlens: {drawing.figure.kind}</title>", 1)
    page = page.replace('<div id="latentlens"', f'<div role="figure" aria-label="{said}" id="latentlens"', 1)
    write_whole(path, lambda part: _text(part, page))


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
