"""A model with an exit gate has its exit probabilities drawn over the stream, in both backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import latentlens as ll

DATA = Path(__file__).parent.parent / "data" / "ouro_random"


@pytest.fixture(scope="module")
def out():
    return ll.decode(ll.capture(ll.load(str(DATA)), tokens=[[5, 6, 7]], iterations=5))


@pytest.mark.parametrize("mode", ["area", "line"])
def test_the_exit_pdf_is_drawn_over_the_stream(out, mode):
    drawing = ll.figures.stream(out, mode=mode)
    pdf = out.exit_pdf.values[0, 1:, -1]
    assert drawing.table().groupby("iteration").exit_pdf.first().dropna().tolist() == pytest.approx(pdf.tolist())
    trace = next(t for t in drawing.plotly().data if t.name == "exit probability")
    assert np.allclose(trace.y, pdf)
    assert trace.x.tolist() == [1, 2, 3, 4, 5]
    line = next(a for a in drawing.matplotlib().axes[0].lines if a.get_gid() == "exits")
    assert np.allclose(line.get_ydata(), pdf)


def test_ranks_and_models_without_a_gate_have_none(out, wordy):
    plain = ll.decode(ll.capture(wordy, "the cat", iterations=3))
    for drawing in (ll.figures.stream(out, mode="rank"), ll.figures.stream(plain)):
        assert all(t.name != "exit probability" for t in drawing.plotly().data)
        assert all(a.get_gid() != "exits" for a in drawing.matplotlib().axes[0].lines)
