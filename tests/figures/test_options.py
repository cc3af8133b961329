"""An option that is not understood is refused, in one line that names what is."""

from __future__ import annotations

import dataclasses
import re

import pytest

import latentlens as ll
from latentlens.figures.kinds.grid import COLORS
from latentlens.names import FIGURES

STREAM = "mode, prompt, position, start, entropy, playhead"


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("stream", {"moode": "area"}, f"expected an option of stream ({STREAM}), got 'moode': did you mean mode?"),
        ("stream", {"mode": "lines"}, "expected mode of stream (area, line, rank), got 'lines': did you mean line?"),
        ("stream", {"mode": 7}, "expected mode of stream (area, line, rank), got 7"),
        ("stream", {"entropy": 1}, "expected entropy of stream (True, False), got 1"),
        ("stream", {"prompt": True}, "expected prompt of stream to be a whole number, got True"),
        ("stream", {"position": 1.5}, "expected position of stream to be a whole number, got 1.5"),
        ("stream", {"start": -1}, "expected start of stream to be a whole number of 0 or more, got -1"),
        ("stream", {"prompt": 1}, "expected a prompt from -1 to 0, got 1"),
        ("stream", {"position": 29}, "expected a position from -29 to 28 (prompt 0 has 29 tokens), got 29"),
        ("stream", {"start": 24}, "expected start from 0 to 23 (the iterations captured), got 24"),
        ("stream", {"playhead": 25}, "expected playhead from 0 to 24 (the iterations captured), got 25"),
        ("grid", {"color": "kl"}, f"expected color of grid ({', '.join(COLORS)}), got 'kl'"),
        (
            "grid",
            {"color": "exit_pdf"},
            "expected a readout of a model with an exit gate for color='exit_pdf' of grid, got one without",
        ),
        ("grid", {"mark": 40}, "expected a position from -29 to 28 (prompt 0 has 29 tokens), got 40"),
        ("map", {"dims": 4}, "expected dims of map (2, 3), got 4"),
        (
            "map",
            {"dims": 3, "components": (1, 2)},
            "expected components of map to be 3 different whole numbers from 1 (dims=3), got (1, 2)",
        ),
        ("map", {"components": (1, 9)}, "expected components of map from 1 to 3, got 9: embed with more n_components"),
        ("map", {"position": "last"}, "expected position of map to be a whole number, got 'last'"),
        (
            "map",
            {"color": "top"},
            "expected a readout for color='top' of map, got none: pass figures.map(emb, readout)",
        ),
    ],
)
def test_an_option_is_refused_in_one_line(walked, kind, options, said):
    data = walked.emb if kind == "map" else walked.out
    with pytest.raises(ll.errors.FigureError, match=f"^{re.escape(said)}$"):
        getattr(ll.figures, kind)(data, **options).table()


def test_what_is_not_a_readout_is_refused(walked):
    with pytest.raises(ll.errors.FigureError, match="^expected what ll.decode returns for stream, got Trajectory: dec"):
        ll.figures.stream(walked.traj).table()
    with pytest.raises(ll.errors.FigureError, match="^expected what ll.embed returns for map, got Dataset: embed fi"):
        ll.figures.map(walked.out).table()


def test_a_readout_of_another_trajectory_is_refused(walked, walk):
    with pytest.raises(ll.errors.FigureError, match=r"^expected a readout of the embedded trajectory, \[1, 25, 29\] "):
        ll.figures.map(walked.emb, walk(prompts=["from Ann"]).out).table()


def test_every_figure_is_listed_and_every_option_says_what_it_does():
    assert tuple(ll.figures.KINDS) == FIGURES
    for kind, figure in ll.figures.KINDS.items():
        assert figure.kind == kind
        for field in dataclasses.fields(figure):
            assert field.metadata["help"], f"{kind}.{field.name}"
            assert hasattr(figure.make(), field.name)
