"""Anchors, arrows and regions of a map are the landmarks' own numbers, in the candidates' colours."""

from __future__ import annotations

import re

import numpy as np
import pytest
from toys import Halving

import latentlens as ll
from latentlens.errors import EmbeddingError, FigureError
from latentlens.figures.browser.page import tint
from latentlens.figures.escape import for_browser
from latentlens.figures.style import token_slots

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def run():
    traj = ll.capture(Halving(vocab=6, iterations=5), tokens=[[0, 1, 2, 3], [4, 5, 0, 1]])
    return traj, ll.embed(traj, n_components=3, **QUIET), ll.decode(traj, **QUIET)


@pytest.fixture(scope="module")
def found(run):
    traj, emb, out = run
    return ll.mark(emb, traj, out, iteration=3, position=1, size=9)


def test_anchors_lie_where_the_landmarks_say(run, found):
    marks = ll.figures.map(*run[1:], found).table().attrs["marks"]
    own = dict(zip(found.anchors.states.values.tolist(), found.anchors.coordinate.values[:, :2].tolist()))
    assert len(marks.anchors) == 6
    assert marks.anchors.states.is_monotonic_decreasing
    for row in marks.anchors.itertuples():
        if list(found.anchors.states.values).count(row.states) == 1:
            assert [row.x, row.y] == pytest.approx(own[row.states])


def test_arrows_start_at_the_state_and_point_along_the_gradient(run, found):
    _, emb, out = run
    marks = ll.figures.map(emb, out, found).table().attrs["marks"]
    assert len(marks.arrows) == 3
    here = emb.coords.values[0, 3, 1, :2]
    for row, way in zip(marks.arrows.itertuples(), found.arrows.values()):
        assert [row.x, row.y] == pytest.approx(here.tolist())
        assert row.slope == pytest.approx(np.hypot(*way[:2]))
        assert row.dx * way[1] == pytest.approx(row.dy * way[0], abs=1e-9)
        assert row.dx * way[0] + row.dy * way[1] > 0


def test_regions_are_the_slices_leaders_in_their_colours(run, found):
    _, emb, out = run
    drawing = ll.figures.map(emb, out, found, color="top")
    slots, top = token_slots(out), found.regions.top_token.values
    marks = drawing.table().attrs["marks"]
    assert marks.leaders.slot.to_numpy()[marks.regions].tolist() == [
        [slots.get(int(t), -1) for t in row] for row in top
    ]
    assert marks.leaders.share.tolist() == sorted((np.mean(top == t) for t in np.unique(top)), reverse=True)
    heat = drawing.plotly().data[0]
    assert heat.name == "regions"
    assert [heat.colorscale[2 * n][1] for n in range(len(marks.leaders))] == [
        tint(int(slot), False) for slot in marks.leaders.slot
    ]
    assert drawing.plotly().data[-1].name == "playhead"
    assert "slice" in drawing.describe()
    assert "9 x 9 points" in drawing.describe()


def test_both_backends_draw_every_mark_and_keep_the_maps_extent(run, found):
    _, emb, out = run
    drawing = ll.figures.map(emb, out, found)
    assert sum(note.name == "arrow" for note in drawing.plotly(dark=True).layout.annotations) == 3
    page = drawing.matplotlib("icml")
    kinds = [artist.get_gid() for artist in page.findobj() if artist.get_gid()]
    assert [kinds.count(kind) for kind in ("anchor", "arrow", "regions")] == [6, 3, 1]
    plain = ll.figures.map(emb, out).matplotlib("icml").axes[0]
    assert page.axes[0].get_xlim() == pytest.approx(plain.get_xlim())


def test_a_slice_and_arrows_can_be_left_out(run):
    traj, emb, out = run
    few = ll.mark(emb, traj, out, arrows=0, size=None)
    assert few.regions is None
    assert few.arrows == {}
    marks = ll.figures.map(emb, out, few).table().attrs["marks"]
    assert marks.regions is None
    assert len(marks.arrows) == 0
    assert "slice" not in marks.note
    assert "arrows" not in marks.note


def test_landmarks_that_do_not_fit_are_refused(run, found):
    traj, emb, out = run
    said = "expected a map of components (1, 2) for these landmarks, got (1, 3): pass components= to ll.mark"
    with pytest.raises(FigureError, match=f"^{re.escape(said)}"):
        ll.figures.map(emb, out, found, components=(1, 3)).table()
    with pytest.raises(FigureError, match="^expected a readout for landmarks of map, got none"):
        ll.figures.map(emb, None, found).table()
    with pytest.raises(FigureError, match="^expected what ll.mark returns as landmarks of map, got Dataset$"):
        ll.figures.map(emb, out, out).table()
    with pytest.raises(EmbeddingError, match="^expected arrows from 0 to 6, the top_k of the readout, got 7$"):
        ll.mark(emb, traj, out, arrows=7)


def test_a_map_says_how_much_of_a_gradient_it_shows(run, found):
    """The logits are the state: a whole gradient is a unit vector, and its share in a plane what two components have."""
    _, emb, out = run
    marks = ll.figures.map(emb, out, found).table().attrs["marks"]
    exact = [float(np.hypot(*emb.components[:2, token])) for token in found.arrows]
    assert marks.arrows.kept.tolist() == pytest.approx(exact, abs=1e-6)
    assert "of the gradient lies in this plane" in marks.note


def test_every_arrow_is_named_and_its_candidate_keeps_its_anchor(run, found):
    _, emb, out = run
    drawing = ll.figures.map(emb, out, found)
    marks = drawing.table().attrs["marks"]
    assert set(marks.anchors.text[:3]) == set(marks.arrows.text)
    names = [note.text for note in drawing.plotly().layout.annotations if note.name == "arrow-name"]
    assert names == [for_browser(text) for text in marks.arrows.text]


def test_a_mark_has_no_colour_that_the_states_of_the_map_have_not(walked):
    emb, out = ll.embed(walked.traj, **QUIET), walked.out
    table = ll.figures.map(emb, out, ll.mark(emb, walked.traj, out, size=None, arrows=0), color="top").table()
    assert set(table.attrs["marks"].anchors.slot) <= set(table.slot) | {-1}


def test_names_of_crosses_that_are_close_stand_on_opposite_sides():
    from latentlens.figures.kinds.marks import _sides

    where = np.array([[0.0, 0.0], [0.5, -0.4], [8.0, 8.0]])
    assert _sides(where) == ["top left", "bottom right", "top right"]
    assert _sides(where[:1]) == ["top right"]
    assert _sides(np.ones((2, 2))) == ["top right", "bottom right"]
    assert _sides(where[:0]) == []


def test_a_map_without_candidates_is_marked_with_arrows_alone(run):
    traj, emb, out = run
    for tokens in ([], [0]):
        found = ll.mark(emb, traj, out, tokens=tokens, size=None, arrows=1)
        marks = ll.figures.map(emb, out, landmarks=found).table().attrs["marks"]
        assert len(marks.arrows) == 1
        assert len(marks.anchors) <= len(tokens)
