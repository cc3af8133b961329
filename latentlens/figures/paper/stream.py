"""Draw a stream with matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from latentlens.figures.escape import for_paper
from latentlens.figures.kinds.labels import iteration_ticks, rank_ticks, spread, stream_labels, unlabelled
from latentlens.figures.kinds.stream import AXIS, Stream, candidates, commitment_note, exits, truth_marks, wide
from latentlens.figures.paper.page import Page, new_page, page_of, playhead, settings, text_size
from latentlens.figures.style import LIGHT, PALETTE, mix, readable_on, slot_colour


def draw(figure: Stream, table: pd.DataFrame, style: str = "default") -> Page:
    """The main panel, the entropy below it, the truth's bar beside it."""
    at = table.attrs
    bar = figure.mode == "area" and at["truth_known"]
    with settings(style):
        page = new_page(style, 0.56 if figure.entropy else 0.44, least=2.2 if figure.entropy else 1.7)
        heights, widths = ([3.2, 1] if figure.entropy else [1]), ([1, 0.055] if bar else [1])
        axes = page.subplots(len(heights), len(widths), height_ratios=heights, width_ratios=widths, squeeze=False)
        main = axes[0, 0]
        (_areas if figure.mode == "area" else _lines)(main, figure, table)
        _scale(main, figure, table)
        if at["gated"] and figure.mode != "rank":
            _exits(main, table)
        panels = [main]
        if figure.entropy:
            _entropy(axes[1, 0], table)
            main.tick_params(labelbottom=False)
            panels.append(axes[1, 0])
        for panel in panels:
            _marks(panel, figure, table)
        panels[-1].set_xlabel("iteration")
        if bar:
            _truth_bar(axes[0, 1], table)
            if figure.entropy:
                axes[1, 1].set_axis_off()
        if commitment_note(table):
            across = (at["commitment"] - at["first"]) / (at["iterations"] - at["first"])
            _over(main, across, commitment_note(table), "right" if across > 0.6 else "left")
        page.align_ylabels(panels)
    return page


def _areas(axes: Axes, figure: Stream, table: pd.DataFrame) -> None:
    """The bands with their names; what has no room for its name goes into a legend above the panel."""
    values, each = wide(table, "prob"), candidates(table)
    colours = [slot_colour(slot) for slot in each.slot]
    bands = axes.stackplot(values.index, values.to_numpy().T, colors=colours, edgecolor="white", linewidth=0.4)
    for band, candidate in zip(bands, each.candidate):
        band.set_gid(f"candidate-{candidate}")
    size, page = text_size(axes), page_of(axes)
    labels = stream_labels(figure, table, 0.5 * size / (0.8 * 72 * page.get_figwidth()))
    for label in labels:
        colour = readable_on(slot_colour(label.slot))
        axes.text(label.x, label.y, for_paper(label.text, 16), color=colour, ha="center", va="center", zorder=5)
    names = dict(zip(each.candidate, each.label))
    nameless = unlabelled(table, labels)
    if nameless:
        order = each.candidate.tolist()
        handles = [Patch(color=colours[order.index(c)], label=for_paper(names[c], 16)) for c in nameless]
        page.legend(handles=handles, loc="outside lower center", ncols=5, handlelength=0.8, handleheight=0.8)


def _lines(axes: Axes, figure: Stream, table: pd.DataFrame) -> None:
    rank, at = figure.mode == "rank", table.attrs
    values = wide(table, "rank" if rank else "prob")
    for c in candidates(table).itertuples():
        if c.candidate < 0:
            continue
        axes.plot(
            values.index,
            values[c.candidate],
            color=slot_colour(c.slot),
            linestyle="--" if c.slot >= len(PALETTE) else "-",
            marker="o",
            markersize=2.2,
            markeredgewidth=0,
            clip_on=False,
            zorder=4,
            label=for_paper(c.label),
            gid=f"candidate-{c.candidate}",
        )
    marks = [] if rank or not at["truth_known"] else truth_marks(table)
    for c, place in marks:
        _diamond(axes, c, place)
    most = 1 + max((place for _, place in marks), default=-1)
    if most:
        _over(axes, 1, "◆ truth", "left", (1, 3))
    _end_labels(axes, figure, table, 4 + 7 * most)


def _exits(axes: Axes, table: pd.DataFrame) -> None:
    """What the exit gate says, over the candidates, named at its peak."""
    pdf = exits(table)
    halo = [withStroke(linewidth=2.4, foreground="white")]
    line: dict[str, Any] = {"color": LIGHT.text, "linestyle": (0, (4, 2)), "linewidth": 1.0, "path_effects": halo}
    dot: dict[str, Any] = {"marker": "D", "markersize": 3.2, "markerfacecolor": "white", "markeredgecolor": LIGHT.text}
    axes.plot(pdf.index, pdf, **line, **dot, markeredgewidth=0.7, clip_on=False, zorder=5.5, gid="exits")
    peak = int(pdf.index[int(pdf.to_numpy().argmax())])
    left = peak <= (table.attrs["first"] + table.attrs["iterations"]) / 2
    axes.annotate(
        "exit probability",
        (peak, float(pdf.max())),
        xytext=(6 if left else -6, 5),
        textcoords="offset points",
        ha="left" if left else "right",
        va="bottom",
        fontsize=text_size(axes) - 1,
        color=LIGHT.text,
        path_effects=halo,
        zorder=6,
    )


def _diamond(axes: Axes, c: Any, place: int) -> None:
    """A candidate's exact probability, right of the last iteration."""
    shift = ScaledTranslation((5 + 7 * place) / 72, 0, page_of(axes).dpi_scale_trans)
    axes.plot(
        [1],
        [c.truth],
        transform=axes.get_yaxis_transform() + shift,
        marker="D",
        markersize=4.2,
        markerfacecolor=slot_colour(c.slot),
        markeredgecolor=LIGHT.text,
        markeredgewidth=0.6,
        linestyle="none",
        clip_on=False,
        zorder=6,
        gid=f"truth-{c.candidate}",
    )


def _end_labels(axes: Axes, figure: Stream, table: pd.DataFrame, away: float) -> None:
    """Names at the right end of the lines, spread so that they do not lie on one another."""
    labels = stream_labels(figure, table)
    rank, size = figure.mode == "rank", text_size(axes)
    span = np.log10(np.nanmax(table["rank"]) * 1.3) if rank else 1.02
    inches = page_of(axes).get_figheight() * (0.62 if figure.entropy else 0.75)
    gap = 1.1 * size / 72 / inches * span
    heights = [np.log10(label.y) if rank else label.y for label in labels]
    placed = spread(heights, gap, *((-0.05, span) if rank else (0.0, 1.02)))
    for label, y in zip(labels, placed):
        axes.annotate(
            for_paper(label.text, 16),
            (1, 10**y if rank else y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(away, 0),
            textcoords="offset points",
            color=mix(slot_colour(label.slot), LIGHT.text, 0.3),
            va="center",
            annotation_clip=False,
        )


def _scale(axes: Axes, figure: Stream, table: pd.DataFrame) -> None:
    axes.set_ylabel(AXIS[figure.mode])
    if figure.mode != "rank":
        axes.set_ylim(0, 1 if figure.mode == "area" else 1.02)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:
        top = float(np.nanmax(table["rank"]))
        axes.set_yscale("log")
        axes.set_ylim(top * 1.15, 0.88)
        ticks = rank_ticks(top)
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_major_formatter(FixedFormatter([f"{t:,}" for t in ticks]))
        axes.yaxis.set_minor_locator(NullLocator())
    if figure.mode != "area":
        axes.grid(axis="y")


def _entropy(axes: Axes, table: pd.DataFrame) -> None:
    bits = table.groupby("iteration").entropy.first()
    axes.plot(
        bits.index, bits, color=LIGHT.muted, marker="o", markersize=2, markeredgewidth=0, clip_on=False, gid="entropy"
    )
    axes.set_ylabel("entropy\n[bits]", linespacing=1.0)
    axes.set_ylim(0, float(bits.max()) * 1.08 or 1)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")


def _marks(axes: Axes, figure: Stream, table: pd.DataFrame) -> None:
    """Iterations below, the veil over a random start, the rule at the commitment, the playhead."""
    at = table.attrs
    axes.set_xlim(at["first"], at["iterations"])
    axes.xaxis.set_major_locator(FixedLocator(iteration_ticks(at["first"], at["iterations"])))
    if at["random_start"] and at["first"] == 0:
        axes.axvspan(0, 1, facecolor="white", alpha=0.6, linewidth=0, zorder=4.5, gid="random-start")
    if at["commitment"] >= at["first"]:
        axes.axvline(
            at["commitment"], color=LIGHT.text, linewidth=0.8, linestyle=(0, (1, 2)), zorder=5, gid="commitment"
        )
    playhead(axes, figure.playhead)


def _truth_bar(axes: Axes, table: pd.DataFrame) -> None:
    below = 0.0
    for c in candidates(table).itertuples():
        if c.truth > 1e-9:
            axes.bar(
                [0],
                [c.truth],
                width=1,
                bottom=below,
                color=slot_colour(c.slot),
                edgecolor="white",
                linewidth=0.5,
                gid=f"truth-{c.candidate}",
            )
            below += c.truth
    axes.set(xlim=(-1, 1), ylim=(0, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _over(axes, 0.5, "truth", "center")


def _over(axes: Axes, across: float, words: str, align: Any, away: tuple[float, float] = (0, 3)) -> None:
    """Small words above the panel, at a share of its width."""
    axes.annotate(
        words,
        (across, 1),
        xycoords="axes fraction",
        xytext=away,
        textcoords="offset points",
        ha=align,
        va="bottom",
        fontsize=text_size(axes) - 1,
        color=LIGHT.muted,
        annotation_clip=False,
    )
