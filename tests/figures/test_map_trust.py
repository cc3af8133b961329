"""Below every map stands how far to trust it, for the components that are drawn; a UMAP always says what it is not."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import latentlens as ll
from latentlens.errors import FigureError


@pytest.fixture(scope="module")
def later(walked):
    """A UMAP of the iterations after the start."""
    return ll.embed(walked.traj, "umap", iterations=range(1, 25), center="token", n_components=2, progress=False)


def below(figure):
    return [note.text.replace("<br>", " ") for note in figure.layout.annotations if note.name == "trust"]


def test_the_trust_of_what_is_drawn_stands_below_in_the_browser_on_paper_and_in_words(walked):
    drawing = ll.figures.map(walked.emb, components=(1, 3))
    said = walked.emb.trust_of([1, 3]).caption
    assert below(drawing.plotly()) == [said]
    (text,) = [t for t in drawing.matplotlib().texts if t.get_gid() == "trust"]
    assert text.get_text().replace("\n", " ") == said
    assert drawing.describe().endswith(said)


def test_without_trust_a_pca_is_silent_and_a_umap_still_warns(walked, later):
    assert below(ll.figures.map(walked.emb, trust=False).plotly()) == []
    (said,) = below(ll.figures.map(later, trust=False).plotly())
    assert said.startswith("UMAP: distances and loops in it are not evidence. Each token about its own mean.")


def test_a_umap_has_no_share_of_variance_on_its_axes(later):
    figure = ll.figures.map(later).plotly()
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("UMAP 1", "UMAP 2")


def test_a_map_of_later_iterations_takes_the_readout_of_all(walked, later):
    drawing = ll.figures.map(later, walked.out, color="top", playhead=5)
    table = drawing.table()
    assert table.iteration.min() == 1
    assert len(table) == 24 * 29
    assert table[table.iteration == 7].top.tolist() == walked.out.top_token.values[0, 7, [*range(28), 28], 0].tolist()
    assert drawing.describe().startswith("29 paths over iterations 1 to 24 in UMAP 1, UMAP 2; ")
    assert drawing.plotly().data[-1].customdata[:, 2].tolist() == [5]
    assert ll.figures.map(later).plotly().data[-1].customdata[:, 2].tolist() == [1]
    with pytest.raises(FigureError, match="^expected playhead to be an iteration of the map, got 0: embed with it$"):
        ll.figures.map(later, playhead=0).table()


@pytest.mark.parametrize("style", ["default", "icml", "acl"])
@pytest.mark.parametrize("options", [{}, {"color": "top"}, {"dims": 3}, {"dims": 3, "color": "top"}])
def test_what_stands_below_touches_nothing_on_paper(walked, style, options):
    page = ll.figures.map(walked.emb, walked.out, **options).matplotlib(style)
    canvas = FigureCanvasAgg(page)
    canvas.draw()
    (text,) = [t for t in page.texts if t.get_gid() == "trust"]
    box = text.get_window_extent()
    assert box.x0 > -1
    assert box.y0 > -1
    assert box.x1 < page.bbox.width + 1
    others = [legend.get_window_extent() for legend in page.legends]
    others += [axes.get_tightbbox() for axes in page.axes] if options.get("dims") != 3 else []
    for other in others:
        assert other.y0 > box.y1 - 1
