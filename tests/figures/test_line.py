"""A line is the statistic itself, its bands are quantiles or the interval, and both backends draw the same table."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import xarray as xr
from pypdf import PdfReader
from walker import WORDS, assert_within_the_page

import latentlens as ll
from latentlens.errors import FigureError
from latentlens.figures.kinds.curves import curves, limits, named, notes
from latentlens.figures.kinds.labels import spread
from latentlens.figures.kinds.line import drawable
from latentlens.figures.style import PAPERS
from latentlens.names import STYLES

PROMPTS = ["2 steps from Ann", "from Dee", "Ann : Bob . 2 steps from Ann"]


def numbers(values, dims=("prompt", "iteration"), units="bits", **more):
    return xr.Dataset({"y": (dims, np.asarray(values, float), {"units": units}), **more}, {"iteration": np.arange(3)})


@pytest.fixture(scope="module")
def several(walk):
    return walk(prompts=PROMPTS, track=["Dee", "Ann"])


def by_gid(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


@pytest.mark.parametrize("y", ["entropy", "kl_to_final", "missing_bits", "kl_step", "truth_bits"])
def test_a_line_of_one_prompt_is_the_readouts_own(walked, y):
    table = ll.figures.line(walked.out, y=y, position=-1).table()
    assert np.array_equal(table.value, walked.out[y].values[0, :, -1].astype(float), equal_nan=True)
    assert table.iteration.tolist() == list(range(25))
    assert table[["low", "high", "lowest", "highest"]].isna().all(axis=None)


def test_each_prompts_last_position_is_its_own(several):
    table = ll.figures.line(several.out, y="entropy").table()
    ends = [len(prompt.split()) - 1 for prompt in PROMPTS]
    own = np.stack([several.out.entropy.values[i, :, end] for i, end in enumerate(ends)])
    assert table.value.to_numpy() == pytest.approx(np.median(own, axis=0))
    one = ll.figures.line(several.out, y="entropy", prompt=1).table()
    assert one.value.to_numpy() == pytest.approx(own[1])


def test_bands_are_the_quantiles_over_prompts():
    values = np.arange(101.0)[:, None] * [1, 2, 3]
    table = ll.figures.line(numbers(values), y="y").table()
    for name, share in (("lowest", 5), ("low", 25), ("value", 50), ("high", 75), ("highest", 95)):
        assert table[name].tolist() == pytest.approx([share, 2 * share, 3 * share])
    assert table.attrs["note"] == "median of 101 prompts; bands 25–75% and 5–95%"


def test_of_what_is_true_or_false_the_share_is_drawn():
    table = ll.figures.line(numbers([[0, 1, 1], [0, 0, 1], [0, 0, np.nan], [0, 1, 1]], units="1"), y="y").table()
    assert table.value.tolist() == [0, 0.5, 1]
    assert table.low.isna().all()
    assert table.attrs["note"] == "share of 4 prompts"


def test_prompts_without_a_value_do_not_count():
    table = ll.figures.line(numbers([[1, np.nan, np.nan], [3, 5, np.nan]]), y="y").table()
    assert table.value.tolist()[:2] == [2, 5]
    assert np.isnan(table.value[2])


def test_candidates_have_a_line_each_in_the_colour_that_they_have_in_the_stream(walked):
    table = ll.figures.line(walked.out, y="prob").table()
    stream = ll.figures.stream(walked.out).table().query("candidate >= 0")
    for label, row in table.groupby("label"):
        same = stream[stream.label == label]
        assert row.value.tolist() == same.prob.tolist()
        assert set(row.slot) == set(same.slot)


def test_tracked_candidates_of_many_prompts_are_drawn_and_leaders_that_differ_are_refused(several, walk):
    assert set(ll.figures.line(several.out, y="rank").table().label) == {"Dee", "Ann"}
    leaders = walk(prompts=PROMPTS).out
    with pytest.raises(
        FigureError, match="^expected one prompt for y='prob' of line, got 3 whose candidates differ: pa"
    ):
        ll.figures.line(leaders, y="prob", position=0).table()


def test_the_best_of_the_k_is_drawn(walked):
    table = ll.figures.line(walked.out, y="top_prob").table()
    assert np.array_equal(table.value, walked.out.top_prob.values[0, :, -1, 0].astype(float))


def test_several_statistics_of_one_unit_share_the_axis_and_of_two_are_refused(walked):
    table = ll.figures.line(walked.out, y=("kl_to_final", "missing_bits"), start=1).table()
    assert table.label.unique().tolist() == ["kl_to_final", "missing_bits"]
    assert table.slot.unique().tolist() == [0, 1]
    assert (table.attrs["title"], table.iteration.min()) == ("bits", 1)
    with pytest.raises(FigureError, match="^expected statistics of one unit in y of line, got bits, 1$"):
        ll.figures.line(walked.out, y=("entropy", "prob")).table()


def test_a_score_has_a_line_an_answer(walked):
    out = ll.score(walked.traj.model, "2 steps from Ann", ["Dee", "Ann Bob"], iterations=24)
    table = ll.figures.line(out, y="log2_prob").table()
    assert table.label.unique().tolist() == ["Dee", "Ann Bob"]
    assert table[table.label == "Dee"].value.to_numpy() == pytest.approx(out.log2_prob.values[0, 0])
    assert limits(table, log=False)[1] == 0


def test_an_evaluation_has_its_interval_as_the_band(walked):
    out = ll.evaluate(walked.traj.model, PROMPTS, ["Dee", "Ann", "Dee"], iterations=24)
    table = ll.figures.line(out, y="accuracy").table()
    assert (table.value.tolist(), table.low.tolist()) == (
        out.accuracy.values.tolist(),
        out.accuracy_low.values.tolist(),
    )
    assert (table.attrs["title"], table.attrs["note"]) == ("accuracy", "mean of 3 prompts; band 95% interval")
    assert limits(table, log=False) == (0, 1.02)


def test_a_probe_stands_beside_its_control():
    states = torch.randn(20, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    tokens = torch.zeros(20, 1, dtype=int)
    traj = ll.Trajectory(states, tokens, tokens == 0, origin={"name": "made"})
    probe = ll.Probe.fit(traj, [i % 2 for i in range(20)], penalty=0.1)
    for data in (probe, probe.scores):
        table = ll.figures.line(data, y="bits").table()
        assert table[table.label == "probe"].value.tolist() == probe.scores.bits.values.tolist()
        control = table[table.label == "shuffled targets"]
        assert control.value.tolist() == probe.scores.bits_control.values.tolist()
        assert set(control.slot) == {-1}


def test_what_a_logarithm_cannot_show_is_said_and_left_out():
    drawing = ll.figures.line(numbers([[0, 1, 100.0]]), y="y", scale="log")
    table = drawing.table()
    assert notes(table, log=True) == "1 point at 0 or below not shown"
    assert np.isnan(curves(table, log=True)[0].value[0])
    assert table.value.tolist() == [0, 1, 100]
    assert drawing.plotly().layout.yaxis.type == "log"
    low, high = drawing.matplotlib().axes[0].get_ylim()
    assert 0 < low < 1 < 100 < high


def test_in_a_crowd_those_that_move_most_are_named():
    values = np.outer(np.arange(20), [0, 1, 2])
    table = ll.figures.line(numbers(values, ("token", "iteration")), y="y").table()
    assert named(table) == set(range(12, 20))
    drawing = ll.figures.line(numbers(values, ("token", "iteration")), y="y")
    assert "8 of 20 lines named" in notes(table, log=True)
    written = [a.text for a in drawing.plotly().layout.annotations]
    assert set(map(str, range(12, 20))) < set(written)
    assert drawing.describe().endswith("12 more move less.")


def test_plotly_gets_what_the_table_says(several):
    drawing = ll.figures.line(several.out, y="prob", playhead=9)
    figure, table = drawing.plotly(), drawing.table()
    for number, row in table.groupby("series"):
        (trace,) = (t for t in figure.data if t.meta and t.meta["series"] == number)
        assert (trace.x.tolist(), trace.y.tolist()) == (row.iteration.tolist(), row.value.tolist())
    inner = [t for t in figure.data if t.name == "inner band"]
    first = table[table.series == 0]
    assert inner[0].y.tolist() == [*first.high, *first.low[::-1]]
    assert (figure.layout.shapes[0].name, figure.layout.shapes[0].x0) == ("playhead", 9)
    assert figure.layout.uirevision == "line"


def test_matplotlib_draws_what_the_table_says(several):
    drawing = ll.figures.line(several.out, y="prob", playhead=9)
    page, table = drawing.matplotlib(), drawing.table()
    for number, row in table.groupby("series"):
        (line,) = by_gid(page, f"series-{number}")
        assert np.array_equal(line.get_xydata(), row[["iteration", "value"]])
        (band,) = by_gid(page, f"inner-{number}")
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(row.high.max())
    assert by_gid(page, "playhead")[0].get_xdata()[0] == 9


@pytest.mark.parametrize("style", STYLES)
def test_no_text_reaches_over_the_edge_of_any_page(several, style, tmp_path):
    drawing = ll.figures.line(several.out, y="prob")
    assert_within_the_page(drawing.matplotlib(style))
    path = drawing.save(tmp_path / "line.pdf", style=style)
    assert float(PdfReader(path).pages[0].mediabox.width) == pytest.approx(72 * PAPERS[style].width)


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png", ".html"])
def test_two_saves_are_the_same_bytes(brief, suffix, tmp_path):
    one, two = (ll.figures.line(brief.out, y="prob").save(tmp_path / f"{n}{suffix}").read_bytes() for n in "ab")
    assert one == two


def test_markup_in_a_label_is_shown_and_not_run(walk, tmp_path):
    script = torch.zeros(4, len(WORDS))
    script[1:, 10], script[2:, 11], script[3:, 12] = 3, 5, 7  # <b>x</b>, $y$, %{x}
    drawing = ll.figures.line(walk(script, track=WORDS[10:13]).out, y="prob")
    said = {a.text for a in drawing.plotly().layout.annotations} | {t.name for t in drawing.plotly().data}
    assert {"&lt;b&gt;x&lt;/b&gt;", "&#36;y&#36;", "&#37;{x}"} <= said
    svg = drawing.save(tmp_path / "line.svg").read_text()
    assert re.search(r">&lt;b&gt;x&lt;/b&gt;<", svg)
    assert "$y$" in svg


def test_names_stay_beside_their_lines_where_others_crowd_below():
    heights = spread([0.0] * 6 + [0.5, 0.9], 0.05, 0.0, 1.0)
    assert heights == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 0.9])


def test_the_description_says_where_a_line_starts_ends_and_is_least(walked):
    bits = walked.out.entropy.values[0, 1:, -1]
    assert ll.figures.line(walked.out).describe() == (
        f"entropy of the prediction [bits] over iterations 1 to 24: from {bits[0]:.3g} to {bits[-1]:.3g}, "
        f"least at {1 + bits.argmin()}."
    )


def test_a_description_begins_with_the_first_value_that_is_known():
    assert "from 2 to 1, least at 2" in ll.figures.line(numbers([[np.nan, 2, 1]]), y="y").describe()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"y": "entropi"}, "expected y of line ("),
        ({"y": "commitment"}, "expected y of line ("),
        ({"y": "top_token"}, "expected y of line ("),
        ({"y": ()}, "expected statistics of one unit in y of line, got none"),
        ({"prompt": 3}, "expected a prompt from -3 to 2, got 3"),
        ({"position": 3}, "expected a position from -2 to 1 (prompt 1 has 2 tokens), got 3"),
        ({"scale": "ln"}, "expected scale of line (linear, log), got 'ln': did you mean linear?"),
        ({"start": 24}, "expected start from 0 to 23 (the iterations captured), got 24"),
        ({"playhead": 25}, "expected playhead from 0 to 24 (the iterations captured), got 25"),
    ],
)
def test_an_option_that_does_not_fit_is_refused_in_one_line(several, options, said):
    with pytest.raises(FigureError) as caught:
        ll.figures.line(several.out, **options).table()
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_an_option_that_would_change_nothing_is_refused(walked):
    out = ll.evaluate(walked.traj.model, PROMPTS, ["Dee", "Ann", "Dee"], iterations=24)
    with pytest.raises(
        FigureError, match="^expected no prompt for y='bits' of line, which is over all: leave prompt out"
    ):
        ll.figures.line(out, y="bits", prompt=0).table()
    with pytest.raises(
        FigureError, match="^expected no position for y='bits' of line, which has none: leave position ou"
    ):
        ll.figures.line(out, y="bits", position=0).table()
    with pytest.raises(
        FigureError, match="^expected what ll.decode, ll.score, ll.evaluate or ll.Probe.fit returns for l"
    ):
        ll.figures.line(walked.traj).table()


def test_every_number_over_iterations_that_a_readout_has_can_be_drawn(walked):
    for y in drawable(walked.out):
        assert len(ll.figures.line(walked.out, y=y).table()) >= 25, y
