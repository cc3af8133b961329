"""What matplotlib draws is what the table says; what is saved can be printed and comes out the same twice."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from pypdf import PdfReader
from walker import OF_MOTION, PATHS, laid_out, moved

import latentlens as ll
from latentlens.figures.kinds.grid import cells
from latentlens.figures.kinds.stream import wide
from latentlens.figures.style import PAPERS
from latentlens.names import STYLES

DRAWINGS = [
    ("stream", {}),
    ("stream", {"mode": "line"}),
    ("stream", {"mode": "rank", "entropy": False}),
    ("grid", {}),
    ("map", {}),
    ("map", {"dims": 3, "color": "top"}),
    *((kind, {}) for kind in (*OF_MOTION, *PATHS)),
]
WITHOUT_TOKENS = ("motion", "spectrum", "path_independence")


def drawn(run, kind, options):
    if kind in OF_MOTION:
        return moved(run, kind, **options)
    if kind in PATHS:
        return laid_out(run, kind, **options)
    if kind == "map":
        return ll.figures.map(run.emb, run.out, **options)
    return getattr(ll.figures, kind)(run.out, **options)


def by_gid(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def test_lines_are_the_tables_columns(walked):
    drawing = ll.figures.stream(walked.out, mode="line")
    values = wide(drawing.table(), "prob")
    page = drawing.matplotlib()
    for candidate in [c for c in values if c >= 0]:
        (line,) = by_gid(page, f"candidate-{candidate}")
        assert np.array_equal(line.get_xydata(), np.column_stack([values.index, values[candidate]]))
    (entropy,) = by_gid(page, "entropy")
    assert np.array_equal(entropy.get_ydata(), drawing.table().groupby("iteration").entropy.first())


def test_bands_are_as_thick_as_the_shares(walked):
    drawing = ll.figures.stream(walked.out)
    values = wide(drawing.table(), "prob")
    page, below = drawing.matplotlib(), np.zeros(25)
    for candidate in values:
        (band,) = by_gid(page, f"candidate-{candidate}")
        path = band.get_paths()[0].vertices
        for r in range(25):
            edges = path[path[:, 0] == r, 1]
            assert edges.min() == pytest.approx(below[r])
            assert edges.max() == pytest.approx(below[r] + values[candidate].iloc[r])
        below += values[candidate].to_numpy()


def test_the_truths_bar_and_diamonds_are_the_truth(walked):
    bars = [by_gid(ll.figures.stream(walked.out).matplotlib(), f"truth-{c}") for c in range(4)]
    heights = sorted(bar.get_height() for found in bars for bar in found)
    assert heights == [0.25, 0.25, 0.5]
    page = ll.figures.stream(walked.out, mode="line").matplotlib()
    marks = [mark for c in range(4) for mark in by_gid(page, f"truth-{c}")]
    assert sorted(mark.get_ydata()[0] for mark in marks) == [0.25, 0.25, 0.5]


def test_a_grids_mesh_and_texts_are_the_tables(walked):
    drawing = ll.figures.grid(walked.out, color="kl_to_final", text="all")
    page, table = drawing.matplotlib(), drawing.table()
    mesh = next(c for c in page.axes[0].collections if c.get_array() is not None)
    assert np.array_equal(np.asarray(mesh.get_array()).ravel(), cells(table, "kl_to_final").ravel())
    assert by_gid(page, "cell-28-24")[0].get_text() == "Dee"


def test_a_maps_states_are_the_tables(walked):
    drawing = ll.figures.map(walked.emb)
    states = by_gid(drawing.matplotlib(), "states")[-1]
    strong = drawing.table().query("strong")
    assert np.array_equal(np.asarray(states.get_offsets(), np.float32), strong[["x", "y"]].to_numpy())


@pytest.mark.parametrize("style", STYLES)
def test_a_page_is_as_wide_as_the_venues_column(brief, style, tmp_path):
    path = ll.figures.stream(brief.out).save(tmp_path / "stream.pdf", style=style)
    assert float(PdfReader(path).pages[0].mediabox.width) == pytest.approx(72 * PAPERS[style].width)


@pytest.mark.parametrize("kind", ["stream", "grid", "map", *OF_MOTION, *PATHS])
@pytest.mark.parametrize("style", ["default", "icml", "acl"])
def test_no_text_reaches_over_the_edge_of_the_page(walked, kind, style):
    page = drawn(walked, kind, {}).matplotlib(style)
    page.draw_without_rendering()
    width, height = page.bbox.size
    for text in page.findobj(lambda artist: type(artist).__name__ in ("Text", "Annotation") and artist.get_text()):
        if text.get_visible() and text.axes is not None and text.axes.axison:
            box = text.get_window_extent()
            assert box.x0 > -1, text
            assert box.y0 > -1, text
            assert box.x1 < width + 1, text
            assert box.y1 < height + 1, text


@pytest.mark.parametrize(("kind", "options"), DRAWINGS)
def test_a_pdf_is_vectors_with_text_as_text_in_type_42_fonts(brief, kind, options, tmp_path):
    path = drawn(brief, kind, options).save(tmp_path / "figure.pdf", style="neurips")
    page = PdfReader(path).pages[0]
    fonts = [font.get_object() for font in page["/Resources"]["/Font"].get_object().values()]
    kinds = {font["/Subtype"] for font in fonts}
    assert fonts
    assert "/Type3" not in kinds
    for font in fonts:
        inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
        assert "/FontFile2" in inner["/FontDescriptor"].get_object()
    words = page.extract_text()
    assert "iteration" in words or "leads" in words
    assert "Ann" in words or kind in WITHOUT_TOKENS
    assert len(page.images) == 0


@pytest.mark.parametrize(("kind", "options"), DRAWINGS)
def test_an_svg_keeps_text_as_text(brief, kind, options, tmp_path):
    svg = drawn(brief, kind, options).save(tmp_path / "figure.svg").read_text()
    assert re.search(r"<text[^>]*>[^<]*" + ("iteration" if kind in WITHOUT_TOKENS else "Ann"), svg)
    assert "<image" not in svg
    assert "<dc:date>" not in svg


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png", ".html"])
@pytest.mark.parametrize("kind", ["stream", "grid", "map", *OF_MOTION, *PATHS])
def test_two_saves_are_the_same_bytes(brief, kind, suffix, tmp_path):
    one, two = (drawn(brief, kind, {}).save(tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
    assert one == two


def test_a_page_saved_by_hand_keeps_its_fonts(brief, tmp_path):
    ll.figures.stream(brief.out).matplotlib("icml").savefig(tmp_path / "hand.pdf")
    fonts = PdfReader(tmp_path / "hand.pdf").pages[0]["/Resources"]["/Font"].get_object().values()
    assert {font.get_object()["/Subtype"] for font in fonts} <= {"/Type0", "/TrueType"}


def test_drawing_leaves_matplotlibs_settings_alone(brief, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    ll.figures.stream(brief.out).save(tmp_path / "a.pdf", style="icml")
    assert dict(matplotlib.rcParams) == before


def test_the_picture_is_not_imported_before_it_is_drawn():
    code = (
        "import sys, latentlens.figures as f; list(f.KINDS); f.KINDS['stream'].make(mode='line'); "
        "print([m for m in ('plotly', 'matplotlib', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
