"""Token text is data: whatever it contains is shown literally, in the browser and on paper."""

from __future__ import annotations

import html
import re

import numpy as np
import pytest
import torch
import toys
from pypdf import PdfReader

import latentlens as ll
from latentlens.figures.escape import distinct, for_browser, for_paper, visible

HOSTILE = ["<b>x</b>", "$y$", "<script>alert(1)</script>", "%{x}", "&amp;", "a\nb", " lead", "", "\\frac{1}{2}", "\t"]


class Hostile:
    """A tokenizer whose i-th token is the i-th hostile text."""

    by_word = False

    def text(self, token: int) -> str:
        return HOSTILE[token]


@pytest.fixture(scope="module")
def out():
    table = torch.zeros(3, len(HOSTILE))
    table += torch.arange(len(HOSTILE)) * 0.01
    model = toys.Scripted(table)
    model.tokenizer = Hostile()
    traj = ll.capture(model, tokens=torch.arange(len(HOSTILE))[None], iterations=2, progress=False)
    return ll.decode(traj, track=list(range(len(HOSTILE))), progress=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ann", "Ann"),
        (" Ann", "␣Ann"),
        ("a b", "a b"),
        ("a  b", "a␣␣b"),
        ("a\r\n\tb", "a␍↵⇥b"),
        ("", "∅"),
        ("\x07", "\\x07"),
        ("\u202eevil", "\\u202eevil"),
        ("\u00a0", "\\xa0"),
        ("\U000e0041", "\\U000e0041"),
        ("中文", "中文"),
    ],
)
def test_what_cannot_be_seen_gets_a_mark(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_plotly_and_a_browser_read_back_what_was_meant(text):
    escaped = for_browser(text)
    assert not re.search(r"[<>$%]", escaped)
    assert html.unescape(escaped) == visible(text)


def test_two_tokens_with_one_text_stay_two():
    assert distinct([5, 7, 9, 5], ["a", "a", "b", "a"]) == ["a (5)", "a (7)", "b", "a (5)"]


def test_a_glyph_that_paper_does_not_have_becomes_its_code():
    assert for_paper("中") == "\\u4e2d"


def strings(value):
    if isinstance(value, dict):
        return [s for v in value.values() for s in strings(v)]
    if isinstance(value, (list, tuple, np.ndarray)):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(("kind", "options"), [("stream", {"mode": "line"}), ("stream", {}), ("grid", {"text": "all"})])
def test_no_string_of_a_plotly_figure_has_a_tag_that_is_not_ours(out, kind, options):
    figure = getattr(ll.figures, kind)(out, **options).plotly().to_dict()
    del figure["layout"]["template"]
    texts = strings(figure)
    tags = {tag for text in texts for tag in re.findall(r"<[^>]*>", text)}
    assert tags <= {"<b>", "</b>", "<br>", "<extra>", "</extra>"}
    assert not any("$" in text or "<script" in text for text in texts)
    assert any("&lt;script&gt;" in text for text in texts) or kind == "grid"


def test_paper_shows_dollars_and_tags_literally(out, tmp_path):
    path = ll.figures.stream(out, mode="line").save(tmp_path / "line.pdf")
    said = PdfReader(path).pages[0].extract_text()
    for text in ("$y$", "<b>x</b>", "&amp;", "%{x}", "\\frac{1}{2}"):
        assert text in said
    svg = ll.figures.stream(out, mode="line").save(tmp_path / "line.svg").read_text()
    assert "<script" not in svg
    assert ">$y$<" in svg
