"""Draw a map with matplotlib, in two or three dimensions, as vectors."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from latentlens.figures.escape import distinct, for_paper
from latentlens.figures.kinds.labels import PLACES, free_places
from latentlens.figures.kinds.map import AXES, NAMED, Map
from latentlens.figures.paper.marks import draw_marks
from latentlens.figures.paper.page import Page, colormap, colour_bar, new_page, page_of, settings, text_size
from latentlens.figures.style import LIGHT, PAPERS, PLAYHEAD, RAMPS, on_ramp, slot_colour

RASTER = 20_000
"""Above this many states the faint paths are one bitmap inside the vector file."""


def draw(figure: Map, table: pd.DataFrame, style: str = "default") -> Page:
    """Faint paths below, strong ones with their states above, rings at starts and squares at ends."""
    faint, strong = table[~table.strong], table[table.strong]
    with settings(style):
        page = new_page(style, _aspect(figure, table, style), least=2.0, most=5.0)
        scale = min(page.get_figwidth() / 5.5, 1.0)
        axes = page.add_subplot(projection="3d" if figure.dims == 3 else None)
        if len(faint):
            _paths(axes, figure, faint, LIGHT.faint, 0.35, 0.35)
            _states(axes, figure, faint, 2.5 * scale, 0.4)
        _paths(axes, figure, strong, LIGHT.muted, 0.8, 0.8)
        _states(axes, figure, strong, 14.0 * scale, 1.0)
        _ends(axes, figure, table, strong)
        (_spatial if figure.dims == 3 else _flat)(axes, figure, table)
        if table.attrs["marks"] is not None:
            draw_marks(axes, table.attrs["marks"])
        (_colour_bar if figure.color == "iteration" else _legend)(page, axes, table)
        below(page, axes, table)
    return page


def below(page: Page, axes: Any, table: pd.DataFrame) -> None:
    """How far to trust the map, in small lines at the foot of the page, which grows by as much."""
    size = text_size(axes) - 1.5
    letters = int(72 * page.get_figwidth() / (0.43 * size))
    lines = [line for note in table.attrs["notes"] for line in textwrap.wrap(note, letters)]
    if not lines:
        return
    high, foot = page.get_figheight(), 1.25 * size * len(lines) / 72 + 0.06
    page.set_figheight(high + foot)
    share = foot / (high + foot)
    raised = 0.0
    for legend in page.legends:
        legend.set_bbox_to_anchor((0, share, 1, 1 - share), transform=page.transFigure)
        legend.set_in_layout(False)  # the layout would make room for it at the page's foot, where the lines are
        raised = legend.get_window_extent().height / page.bbox.height
    engine = page.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, share + raised, 1, 1 - share - raised))
    else:
        for part in page.axes:
            box = part.get_position(original=True)
            part.set_position((box.x0, share + box.y0 * (1 - share), box.width, box.height * (1 - share)))
    page.text(
        0.01,
        0.02 / (high + foot),
        "\n".join(lines),
        size=size,
        color=LIGHT.muted,
        va="bottom",
        linespacing=1.2,
        gid="trust",
    )


def _aspect(figure: Map, table: pd.DataFrame, style: str) -> float:
    """Height by width of a page that the states fill."""
    if figure.dims == 3:
        return 0.6 if PAPERS[style].width > 4 else 0.75
    wide, high = (np.ptp(table[axis].to_numpy()) or 1.0 for axis in ("x", "y"))
    return float(np.clip(0.85 * high / wide, 0.3, 0.62)) + 0.08


def _points(figure: Map, rows: pd.DataFrame) -> np.ndarray:
    """`[path, iteration, axis]`."""
    count = rows.groupby(["prompt", "position"], sort=False).ngroups
    return rows[list(AXES[: figure.dims])].to_numpy().reshape(count, -1, figure.dims)


def _paths(axes: Any, figure: Map, rows: pd.DataFrame, colour: str, width: float, alpha: float) -> None:
    kind: Any = Line3DCollection if figure.dims == 3 else LineCollection
    lines = kind(list(_points(figure, rows)), colors=colour, linewidths=width, alpha=alpha, gid="paths")
    lines.set_rasterized(len(rows) > RASTER)
    axes.add_collection(lines)
    if figure.dims == 2:
        axes.autoscale_view()


def _states(axes: Any, figure: Map, rows: pd.DataFrame, size: float, alpha: float) -> None:
    last = max(int(rows.iteration.max()), 1)
    if figure.color == "iteration":
        colours = {r: on_ramp(RAMPS["iteration"][0], r / last) for r in range(last + 1)}
        paint = rows.iteration.map(colours)
    else:
        paint = rows.slot.map({slot: slot_colour(slot) for slot in rows.slot.unique()})
    where = [rows[axis] for axis in AXES[: figure.dims]]
    more: dict[str, Any] = {"depthshade": False} if figure.dims == 3 else {"zorder": 3}
    dots = axes.scatter(*where, s=size, c=paint.tolist(), alpha=alpha, linewidths=0, gid="states", **more)
    dots.set_rasterized(len(rows) > RASTER)


def _ends(axes: Any, figure: Map, table: pd.DataFrame, strong: pd.DataFrame) -> None:
    names = AXES[: figure.dims]
    for start in (True, False):
        edge = strong.iteration.min() if start else strong.iteration.max()
        rows = strong[strong.iteration == edge]
        axes.plot(
            *(rows[axis].to_numpy() for axis in names),
            linestyle="none",
            marker="o" if start else "s",
            markersize=6 if start else 4.5,
            markerfacecolor="none" if start else LIGHT.text,
            markeredgecolor=LIGHT.text if start else "white",
            markeredgewidth=0.9 if start else 0.5,
            zorder=5,
            gid="start" if start else "end",
        )
    if len(rows) <= NAMED:
        _names(axes, figure, table, rows)
    if figure.playhead is not None:
        rows = strong[strong.iteration == figure.playhead]
        axes.plot(
            *(rows[axis].to_numpy() for axis in names),
            linestyle="none",
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=PLAYHEAD,
            markeredgewidth=1.3,
            zorder=6,
            gid="playhead",
        )


def _names(axes: Any, figure: Map, table: pd.DataFrame, rows: pd.DataFrame) -> None:
    """The token at each path's end, or its position where no readout names it."""
    named = "token_text" in rows
    texts = [for_paper(str(row.token_text), 14) if named else f"position {row.position}" for row in rows.itertuples()]
    if figure.dims == 3:
        for text, row in zip(texts, rows.itertuples()):
            axes.text(row.x, row.y, row.z, f"  {text}", zorder=6)
        return
    size = text_size(axes)
    scale = 0.8 * 72 * page_of(axes).get_figwidth() / (float(np.ptp(table.x.to_numpy())) or 1.0) / size
    places = free_places(rows[["x", "y"]].to_numpy() * scale, [len(text) for text in texts])
    for text, place, row in zip(texts, places, rows.itertuples()):
        across, up = PLACES[place]
        axes.annotate(
            text,
            (row.x, row.y),
            xytext=(across * 0.6 * size, up * 0.6 * size),
            textcoords="offset points",
            ha=("right", "center", "left")[across + 1],
            va=("top", "center", "bottom")[up + 1],
            zorder=6,
        )


def _flat(axes: Any, figure: Map, table: pd.DataFrame) -> None:
    axes.set_xlabel(table.attrs["axes"][0])
    axes.set_ylabel(table.attrs["axes"][1])
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.06)
    axes.grid(True)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _spatial(axes: Any, figure: Map, table: pd.DataFrame) -> None:
    """Axes with their true proportions, none flatter than two fifths of the longest, close to their titles.

    The place is fixed, because matplotlib's layout does not see the titles of a 3-D axes.
    """
    page = page_of(axes)
    page.set_layout_engine("none")
    side = 0.7 / page.get_figwidth()
    low = 0.4 / page.get_figheight() if figure.color == "top" and page.get_figwidth() < 4 else 0.02
    axes.set_position((-0.05, low, 1.02 - side, 1 - low))
    spans = np.array([np.ptp(table[axis].to_numpy()) or 1.0 for axis in AXES])
    axes.set_box_aspect(np.clip(spans / spans.max(), 0.4, 1), zoom=0.8 + 0.05 * page.get_figwidth())
    for axis, name, title in zip((axes.xaxis, axes.yaxis, axes.zaxis), AXES, table.attrs["axes"]):
        values = table[name].to_numpy()
        getattr(axes, f"set_{name}lim")(float(np.nanmin(values)), float(np.nanmax(values)))
        getattr(axes, f"set_{name}label")(title, labelpad=-4)
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axis.set_tick_params(pad=-2)
        axis.pane.set_facecolor("white")
        axis.pane.set_edgecolor(LIGHT.grid)
        axis._axinfo["grid"].update(color=LIGHT.grid, linewidth=0.4)
    axes.view_init(elev=22, azim=-55)


def _side(page: Page) -> Any:
    """The page's right edge, for a colour bar beside a 3-D axes."""
    side = 0.7 / page.get_figwidth()
    return page.add_axes((1 - 0.75 * side, 0.2, 0.1 / page.get_figwidth(), 0.6))


def _colour_bar(page: Page, axes: Any, table: pd.DataFrame) -> None:
    scale = ScalarMappable(Normalize(0, max(table.attrs["iterations"], 1)), colormap("iteration"))
    place = {"cax": _side(page)} if "z" in table else {"ax": axes, "pad": 0.02}
    bar = colour_bar(page, scale, "iteration", **place)
    bar.locator = MaxNLocator(6, integer=True)
    bar.update_ticks()


def _legend(page: Page, axes: Any, table: pd.DataFrame) -> None:
    """Who leads, in the order of the colours; what leads at a random start only is "other"."""
    seen = table.drop_duplicates("slot").sort_values("slot")
    seen = pd.concat([seen[seen.slot >= 0], seen[seen.slot < 0]])
    named = distinct(seen.top.tolist(), seen.top_text)
    dot: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4}
    handles = [
        Line2D([], [], color=slot_colour(slot), label=for_paper(name, 16) if slot >= 0 else "other", **dot)
        for name, slot in zip(named, seen.slot)
    ]
    below = page.get_figwidth() < 4
    place: dict[str, Any] = {"handles": handles, "handletextpad": 0.2, "columnspacing": 1.0}
    if below:
        page.legend(loc="lower center" if "z" in table else "outside lower center", ncols=5, **place)
    elif "z" in table:
        page.legend(loc="center right", title="leads", **place)
    else:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title="leads", borderaxespad=0.4, **place)
