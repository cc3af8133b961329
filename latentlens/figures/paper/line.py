"""Draw lines with matplotlib."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.curves import curves, limits, named, notes
from latentlens.figures.kinds.labels import LONGEST, iteration_ticks, spread
from latentlens.figures.kinds.line import Line
from latentlens.figures.kinds.motion import Motion
from latentlens.figures.paper.page import Page, new_page, page_of, playhead, settings, text_size, upright
from latentlens.figures.style import LIGHT, PALETTE, mix, slot_colour


def draw(figure: Line | Motion, table: pd.DataFrame, style: str = "default") -> Page:
    """One panel: bands below, lines above, each named at its right end."""
    at, log = table.attrs, table.attrs["log"]
    rows = curves(table, log)
    with settings(style):
        page = new_page(style, 0.44, least=1.7)
        axes = page.subplots()
        for row in rows:
            bands(axes, row)
        for row in rows:
            curve(axes, row)
        iterations_axis(axes, table)
        vertical(axes, table)
        axes.set_ylabel(upright(page, at["title"], 0.72))
        if at["reference"] is not None:
            axes.axhline(at["reference"], color=LIGHT.muted, linewidth=0.8, linestyle="--", zorder=1.5, gid="reference")
        if at["random_start"] and at["first"] == 0:
            axes.axvspan(0, 1, facecolor="white", alpha=0.6, linewidth=0, zorder=4.5, gid="random-start")
        playhead(axes, figure.playhead)
        _names(axes, [row for row in rows if row.series.iloc[0] in named(table)], log)
        note(axes, notes(table, log))
    return page


def iterations_axis(axes: Axes, table: pd.DataFrame) -> None:
    """The horizontal axis: whole iterations."""
    at = table.attrs
    axes.set(xlim=(at["first"], at["iterations"]), xlabel="iteration")
    axes.xaxis.set_major_locator(FixedLocator(iteration_ticks(at["first"], at["iterations"])))


def vertical(axes: Axes, table: pd.DataFrame) -> None:
    """The vertical axis and its faint rules."""
    log = table.attrs["log"]
    if log:
        axes.set_yscale("log")
    axes.set_ylim(*limits(table, log))
    if not log:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y")


def _colour(row: pd.DataFrame) -> str:
    slot = int(row.slot.iloc[0])
    return LIGHT.muted if slot < 0 else slot_colour(slot)


def bands(axes: Axes, row: pd.DataFrame) -> None:
    """The outer band, then the inner one; nothing where there is none."""
    number = int(row.series.iloc[0])
    for name, low, high, shade in (("outer", "lowest", "highest", 0.12), ("inner", "low", "high", 0.22)):
        if row[low].notna().any():
            axes.fill_between(
                row.iteration,
                row[low],
                row[high],
                color=_colour(row),
                alpha=shade,
                linewidth=0,
                zorder=2,
                gid=f"{name}-{number}",
            )


def curve(axes: Axes, row: pd.DataFrame) -> None:
    """One series, a marker at each iteration."""
    slot = int(row.slot.iloc[0])
    axes.plot(
        row.iteration,
        row.value,
        color=_colour(row),
        linestyle="--" if slot < 0 or slot >= len(PALETTE) else "-",
        marker="o",
        markersize=2.2,
        markeredgewidth=0,
        clip_on=False,
        zorder=4,
        gid=f"series-{int(row.series.iloc[0])}",
    )


def _names(axes: Axes, rows: list[pd.DataFrame], log: bool) -> None:
    """Names at the right end of the lines, spread so that they do not lie on one another."""
    rows = [row for row in rows if row.label.iloc[0] and row.value.notna().any()]
    low, high = np.log10(axes.get_ylim()) if log else axes.get_ylim()
    last = [float(row.value.dropna().iloc[-1]) for row in rows]
    gap = 1.1 * text_size(axes) / 72 / (page_of(axes).get_figheight() * 0.75) * (high - low)
    for row, y in zip(rows, spread(list(np.log10(last)) if log else last, gap, low, high)):
        axes.annotate(
            for_paper(row.label.iloc[0], LONGEST),
            (1, 10**y if log else y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            color=mix(_colour(row), LIGHT.text, 0.3),
            va="center",
            annotation_clip=False,
        )


def note(axes: Axes, words: str) -> None:
    """Small words above the panel, on as many lines as they need."""
    if words:
        letters = int(page_of(axes).get_figwidth() * 0.8 * 72 / (0.43 * (text_size(axes) - 1)))
        axes.annotate(
            "\n".join(for_paper(part) for part in textwrap.wrap(words, letters)),
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=text_size(axes) - 1,
            color=LIGHT.muted,
            annotation_clip=False,
        )
