"""Path independence is drawn as it was found: of maps that forget their start, and of maps that do not."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from maps import Mapped, linear, rotation
from walker import assert_within_the_page

import latentlens as ll
from latentlens.errors import FigureError
from latentlens.figures.kinds.path_independence import panel
from latentlens.names import STYLES

QUIET = {"progress": False}
STARTS = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0)).double()


def found(move, prompts=1, **options):
    model = Mapped(move, torch.zeros(2).double())
    ids = [[0, 1, 2]] * prompts
    return ll.path_independence(model, tokens=ids, starts=STARTS, iterations=12, **options, **QUIET)


@pytest.fixture(scope="module")
def forgets():
    return found(linear(0.5 * torch.eye(2).double(), torch.tensor([1.0, 0.0]).double()))


@pytest.fixture(scope="module")
def many():
    """Three prompts whose spreads are 1, 2 and 3 times those of a contraction."""
    one = found(linear(0.5 * torch.eye(2).double(), torch.tensor([1.0, 0.0]).double()), prompts=3).data
    scale = one.spread.copy(data=np.array([1.0, 2.0, 3.0])[:, None, None] + 0 * one.spread.values)
    same = one.independent.copy(data=np.array([[True], [False], [True]]))
    return one.assign(spread=one.spread * scale, independent=same)


def test_a_contraction_is_a_straight_line_on_the_logarithmic_axis(forgets):
    drawing = ll.figures.path_independence(forgets)
    above = panel(drawing.table(), 0)
    assert np.allclose(above.value.to_numpy()[1:] / above.value.to_numpy()[:-1], 0.5, rtol=1e-5)
    assert drawing.plotly().layout.yaxis.type == "log"
    assert drawing.matplotlib().axes[0].get_yscale() == "log"
    assert drawing.table().attrs["note"] == "5 starts; all end with the same answer"
    assert drawing.describe().endswith("for 1 of 1 the answer does not depend on the start.")


def test_a_rotation_never_forgets_and_it_is_said():
    drawing = ll.figures.path_independence(found(linear(rotation(6))))
    above = panel(drawing.table(), 0)
    assert np.allclose(above.value, above.value.iloc[0], rtol=1e-6)
    assert drawing.table().attrs["note"] == "5 starts; not all end with the same answer"


@pytest.mark.parametrize("answers", ["agreement", "disagreement"])
@pytest.mark.parametrize("spread", ["spread", "relative_spread"])
def test_each_panel_is_the_quantity_asked_for(forgets, spread, answers):
    table = ll.figures.path_independence(forgets, spread=spread, answers=answers).table()
    for number, name in enumerate((spread, answers)):
        rows = panel(table, number)
        assert set(rows.label) == {name}
        assert rows.value.tolist() == forgets.data[name].values[0, :, 0].astype(float).tolist()
        assert rows[["low", "high", "lowest", "highest"]].isna().all(axis=None)


def test_many_prompts_are_their_median_and_quantiles_and_the_share_is_counted(many):
    drawing = ll.figures.path_independence(many)
    table = drawing.table()
    values = many.spread.values[..., 0].astype(float)
    rows = panel(table, 0)
    for name, share in (("lowest", 0.05), ("low", 0.25), ("value", 0.5), ("high", 0.75), ("highest", 0.95)):
        assert rows[name].to_numpy() == pytest.approx(np.quantile(values, share, axis=0))
    said = "2 of 3 prompts end with the same answer from all 5 starts"
    assert table.attrs["note"].startswith(said)
    assert drawing.describe().endswith("for 2 of 3 the answer does not depend on the start.")
    assert ll.figures.path_independence(many, prompt=-1).table().attrs["prompts"] == 1
    assert any(said in a.text for a in drawing.plotly().layout.annotations)


def test_a_prompt_too_short_for_a_place_does_not_count(wordy):
    data = ll.path_independence(wordy, ["the cat sat", "a"], starts=2, positions=[2, -1], iterations=2, **QUIET)
    first = ll.figures.path_independence(data).table()
    assert first.attrs["prompts"] == 1
    assert panel(first, 0).value.tolist() == data.data.spread.values[0, :, 0].astype(float).tolist()
    assert ll.figures.path_independence(data, place=1).table().attrs["prompts"] == 2
    with pytest.raises(FigureError, match="^expected a prompt that has place 0, got none: they are too short for it$"):
        ll.figures.path_independence(data, prompt=1).table()


def test_both_backends_draw_two_panels_over_one_axis_with_the_playhead_through_both(many):
    drawing = ll.figures.path_independence(many, playhead=4)
    figure, page, table = drawing.plotly(), drawing.matplotlib(), drawing.table()
    lines = [trace for trace in figure.data if trace.meta]
    assert [trace.yaxis for trace in lines] == ["y", "y2"]
    for number, trace in enumerate(lines):
        rows = panel(table, number)
        assert trace.y.tolist() == rows.value.tolist()
        (line,) = page.axes[number].findobj(lambda artist: artist.get_gid() == f"series-{number}")  # noqa: B023
        assert np.array_equal(line.get_xydata(), rows[["iteration", "value"]])
        (head,) = page.axes[number].findobj(lambda artist: artist.get_gid() == "playhead")
        assert head.get_xdata()[0] == 4
    head = figure.layout.shapes[0]
    assert (head.name, head.x0, head.yref, head.y0, head.y1) == ("playhead", 4, "paper", 0, 1)
    assert figure.layout.yaxis2.domain[1] < figure.layout.yaxis.domain[0]


@pytest.mark.parametrize("style", STYLES)
def test_no_text_reaches_over_the_edge_of_any_page(many, style):
    assert_within_the_page(ll.figures.path_independence(many).matplotlib(style))


REFUSED = [
    ({"spread": "width"}, "expected spread of path_independence (spread, relative_spread), got 'width'"),
    ({"answers": "agree"}, "expected answers of path_independence (agreement, disagreement), got 'agree': did you mean agreement?"),
    ({"place": 1}, "expected place from 0 to 0, got 1: pass more positions= to ll.path_independence"),
    ({"prompt": 3}, "expected a prompt from -3 to 2, got 3"),
    ({"playhead": 13}, "expected playhead from 0 to 12 (the iterations captured), got 13"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_an_option_is_refused_in_one_line(many, options, said):
    with pytest.raises(FigureError, match=f"^{re.escape(said)}$"):
        ll.figures.path_independence(many, **options).table()


def test_what_was_not_found_by_path_independence_is_refused(walked):
    said = "^expected what ll.path_independence returns for path_independence, got Dataset: call it first$"
    with pytest.raises(FigureError, match=said):
        ll.figures.path_independence(walked.out).table()
