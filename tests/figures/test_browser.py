"""What plotly gets is what the table says; what the dashboard patches is where it looks for it."""

from __future__ import annotations

import html
import time

import numpy as np
import pytest
import torch
from walker import OF_MOTION, PATHS, laid_out, moved

import latentlens as ll
from latentlens.figures.escape import visible
from latentlens.figures.kinds.grid import cells
from latentlens.figures.kinds.stream import wide
from latentlens.figures.style import DARK, LIGHT, luminance, on_ramp, readable_on, slot_colour


def named(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


@pytest.mark.parametrize(("mode", "column"), [("area", "prob"), ("line", "prob"), ("rank", "rank")])
def test_a_streams_traces_are_the_tables_columns(walked, mode, column):
    drawing = ll.figures.stream(walked.out, mode=mode)
    table, figure = drawing.table(), drawing.plotly()
    values = wide(table, column)
    for candidate, label in table[table.iteration == 0][["candidate", "label"]].to_numpy():
        if candidate >= 0 or mode == "area":
            trace = named(figure, label)
            assert np.array_equal(trace.y, values[candidate])
            assert np.array_equal(trace.x, values.index)
    assert np.array_equal(named(figure, "entropy").y, table.groupby("iteration").entropy.first())


def test_the_truths_bar_stacks_to_one_in_the_candidates_colours(walked):
    figure = ll.figures.stream(walked.out).plotly()
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert sum(bar.y[0] for bar in bars) == pytest.approx(1)
    assert sorted(bar.base[0] for bar in bars) == pytest.approx([0, 0.5, 0.75])
    for bar in bars:
        assert bar.marker.color == named(figure, bar.name.removeprefix("truth: ")).fillcolor


def test_the_truths_diamonds_stand_at_its_height_and_beside_one_another(walked):
    figure = ll.figures.stream(walked.out, mode="line").plotly()
    marks = [trace for trace in figure.data if trace.name.startswith("truth: ")]
    assert sorted(mark.y[0] for mark in marks) == [0.25, 0.25, 0.5]
    assert len({(mark.x[0], mark.y[0]) for mark in marks}) == 3


def test_a_candidate_has_one_colour_in_every_picture(walked):
    table = ll.figures.stream(walked.out).table()
    slots = dict(zip(table.token, table.slot))
    seen = ll.figures.map(walked.emb, walked.out, color="top").table().drop_duplicates("top")
    for top, slot in zip(seen.top, seen.slot):
        if top in slots and slot >= 0:
            assert slot_colour(slot) == slot_colour(slots[top])


def drawn(run, kind, **options):
    if kind in OF_MOTION:
        return moved(run, kind, **options)
    if kind in PATHS:
        return laid_out(run, kind, **options)
    return getattr(ll.figures, kind)(run.emb if kind == "map" else run.out, **options)


@pytest.mark.parametrize("kind", ["stream", "grid", "line", "motion", "convergence", "path_independence"])
def test_the_playhead_is_the_first_shape(walked, kind):
    half = 0.5 if kind in ("grid", "convergence") else 0
    shape = drawn(walked, kind, playhead=9).plotly().layout.shapes[0]
    assert (shape.name, shape.x0, shape.x1, shape.visible) == ("playhead", 9 - half, 9 + half, True)
    hidden = drawn(walked, kind).plotly().layout.shapes[0]
    assert (hidden.name, hidden.visible) == ("playhead", False)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_playhead_of_a_map_is_its_last_trace(walked, dims):
    drawing = ll.figures.map(walked.emb, dims=dims, playhead=9)
    trace = drawing.plotly().data[-1]
    table = drawing.table()
    at = table[(table.prompt == 0) & (table.position == 28) & (table.iteration == 9)].iloc[0]
    assert (trace.name, trace.x[0], trace.y[0]) == ("playhead", at.x, at.y)
    assert trace.customdata.tolist() == [[0, 28, 9]]


@pytest.mark.parametrize("color", ["entropy", "kl_to_final", "prob"])
def test_a_grids_heatmap_is_the_tables_column_and_a_cell_knows_its_place(walked, color):
    drawing = ll.figures.grid(walked.out, color=color)
    heat = named(drawing.plotly(), "cells")
    assert np.array_equal(heat.z, cells(drawing.table(), color))
    assert heat.customdata[28, 7].tolist() == [28, 7]


def test_a_grids_texts_are_the_leaders_and_can_be_read_on_their_cells(walked):
    drawing = ll.figures.grid(walked.out)
    texts = named(drawing.plotly(), "leaders")
    words = cells(drawing.table(), "top_text")
    assert len(texts.text) == words.size
    for text, y, x in zip(texts.text, texts.y, texts.x):
        said, word = html.unescape(text), visible(words[int(y), round(float(x))])
        assert said == word or (said[-1] == "…" and word.startswith(said[:-1]))
    for dark in (False, True):
        figure = drawing.plotly(dark=dark)
        heat, inks = named(figure, "cells"), named(figure, "leaders").textfont.color
        lights = [luminance(c) for c in cell_colours(heat)]
        for ink, light in zip(inks, lights):
            lower, upper = sorted([luminance(ink), light])
            assert (upper + 0.05) / (lower + 0.05) > 4.2


def cell_colours(heat):
    ramp = tuple((at, colour) for at, colour in heat.colorscale)
    return [on_ramp(ramp, float((z - heat.zmin) / (heat.zmax - heat.zmin))) for z in heat.z.ravel()]


def test_many_paths_are_one_trace_with_breaks(walked):
    drawing = ll.figures.map(walked.emb)
    table, lines = drawing.table(), named(drawing.plotly(), "other tokens")
    assert lines.x.dtype == np.float32
    assert len(lines.x) == 28 * 26
    assert np.isnan(lines.x).sum() == 28
    assert np.array_equal(lines.x[~np.isnan(lines.x)], table[~table.strong].x)


def test_states_are_coloured_by_iteration_and_know_their_place(walked):
    states = named(ll.figures.map(walked.emb, walked.out).plotly(), "states")
    assert states.marker.color.tolist() == list(range(25))
    assert states.customdata[:, :3].tolist() == [[0, 28, r] for r in range(25)]
    assert states.text[24] == "<b>Ann</b>, leader Dee (0.50)"


def test_states_are_coloured_by_their_leader(walked):
    drawing = ll.figures.map(walked.emb, walked.out, color="top")
    states, table = named(drawing.plotly(), "states"), drawing.table()
    strong = table[table.strong]
    codes = dict(zip(strong.slot, states.marker.color))
    assert len(set(codes.values())) == len(codes) == strong.slot.nunique()
    entries = [t.name for t in drawing.plotly().data if t.showlegend is not False and t.name != "playhead"]
    assert {"Dee", "Bob"} <= set(entries)


def test_axes_say_the_share_of_variance(walked):
    figure = ll.figures.map(walked.emb).plotly()
    share = 100 * walked.emb.explained_variance_ratio
    assert figure.layout.xaxis.title.text == f"PC 1 ({share[0]:.1f}% of variance)"
    assert figure.layout.yaxis.title.text == f"PC 2 ({share[1]:.1f}% of variance)"


@pytest.mark.parametrize("kind", ["stream", "map", "grid", "line", *OF_MOTION, *PATHS])
def test_every_figure_is_fast_keeps_its_view_and_has_a_transparent_page(walked, kind):
    drawing = drawn(walked, kind)
    drawing.plotly()
    times = []
    for dark in (False, True, False, True):
        began = time.perf_counter()
        figure = drawing.plotly(dark=dark)
        times.append(time.perf_counter() - began)
        assert figure.layout.uirevision == kind
        assert figure.layout.template.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert min(times) < 0.1


def test_names_at_the_ends_of_lines_keep_their_distance(walk):
    figure = ll.figures.stream(walk(track=["Ann", "Eve", "Bob", "Cal", ":", "."]).out, mode="line").plotly()
    heights = sorted(a.y for a in figure.layout.annotations if a.xanchor == "left" and a.xref == "x" and a.yref == "y")
    assert len(heights) == 6
    assert np.diff(heights).min() > 0.05


@pytest.mark.parametrize("width", [400, 640, 900, 1600])
def test_texts_of_a_grid_fit_the_cells_of_any_page(walked, width):
    texts = named(ll.figures.grid(walked.out).plotly(width=width), "leaders")
    cell, by_row = (width - 150) / 25, {}
    for x, y, text, place in zip(texts.x, texts.y, texts.text, texts.textposition):
        length = 0.5 * texts.textfont.size * len(html.unescape(text))
        left = x * cell if place == "middle right" else x * cell - length / 2
        by_row.setdefault(y, []).append((left, left + length))
    for spans in by_row.values():
        for (_, end), (begin, _) in zip(sorted(spans), sorted(spans)[1:]):
            assert end <= begin + 2


def test_names_in_the_bands_lie_on_their_own_band(walked):
    drawing = ll.figures.stream(walked.out)
    values = wide(drawing.table(), "prob")
    names = dict(drawing.table()[["label", "candidate"]].drop_duplicates().to_numpy())
    seen = [a for a in drawing.plotly().layout.annotations if a.text in names]
    assert {"Dee", "Bob", "Eve", "Ann"} <= {a.text for a in seen}
    for a in seen:
        upper = np.interp(a.x, values.index, values.cumsum(axis=1)[names[a.text]])
        assert upper - np.interp(a.x, values.index, values[names[a.text]]) < a.y < upper


def test_thin_bands_are_named_in_a_legend(walk):
    script = torch.full((6, 14), -6.0)
    script[:, 5], script[:, 6] = 3.0, 0.0
    figure = ll.figures.stream(walk(script, track=["Ann", "Bob"]).out).plotly()
    assert [trace.name for trace in figure.data if trace.showlegend] == ["Bob"]


def test_cells_too_narrow_for_a_gap_have_none(wordy):
    out = ll.decode(ll.capture(wordy, "the cat", iterations=60))
    assert ll.figures.grid(out).plotly(width=900).data[0].xgap == 1
    assert ll.figures.grid(out).plotly(width=240).data[0].xgap == 0


def test_a_cell_without_a_number_is_the_page_and_its_text_can_be_read_there(walked):
    drawing = ll.figures.grid(walked.out, color="kl_step")
    for dark, page in ((False, LIGHT.page), (True, DARK.page)):
        figure = drawing.plotly(dark=dark)
        heat, texts = named(figure, "cells"), named(figure, "leaders")
        assert np.isnan(heat.z[:, 0]).all()
        first = [colour for x, colour in zip(texts.x, texts.textfont.color) if round(float(x)) == 0]
        assert set(first) == {readable_on(page)}
