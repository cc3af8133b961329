"""A file is whole or it is not there; a name that cannot be saved is refused before anything is drawn."""

from __future__ import annotations

import re

import pytest
from pypdf import PdfReader

import latentlens as ll
from latentlens.files import write_whole


@pytest.mark.parametrize(
    ("name", "style", "said"),
    [
        (
            "a.gif",
            "default",
            "expected a file ending for 'a.gif' (.pdf, .svg, .png, .html), got '.gif': did you mean .svg?",
        ),
        ("a", "default", "expected a file ending for 'a' (.pdf, .svg, .png, .html), got ''"),
        ("none/a.pdf", "default", "expected a folder at {folder}/none, got none: make it first"),
        (
            "a.pdf",
            "nips",
            "expected a style (default, neurips, icml, icml-wide, iclr, acl, acl-wide), got 'nips': "
            "did you mean neurips?",
        ),
        ("a.html", "icml", "expected no style for 'a.html', got 'icml': styles are for .pdf, .svg, .png"),
    ],
)
def test_a_name_that_cannot_be_saved_is_refused_and_nothing_is_left(brief, tmp_path, name, style, said):
    with pytest.raises(ll.errors.FigureError, match=f"^{re.escape(said.format(folder=tmp_path))}$"):
        ll.figures.stream(brief.out).save(tmp_path / name, style=style)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fails(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fails)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_bad_options_leave_no_file(brief, tmp_path):
    with pytest.raises(ll.errors.FigureError):
        ll.figures.stream(brief.out, position=99).save(tmp_path / "a.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_page_has_no_button_that_uploads_it_and_needs_no_network(brief, tmp_path):
    page = ll.figures.stream(brief.out).save(tmp_path / "a.html").read_text()
    assert '"showSendToCloud": false' in page
    assert '"displaylogo": false' in page
    assert '<html lang="en">' in page
    assert not re.search(r'<(script|link)[^>]+(src|href)="http', page)


def test_every_file_has_the_description_for_those_who_do_not_see_the_picture(brief, tmp_path):
    drawing = ll.figures.stream(brief.out)
    said = drawing.describe()
    files = {suffix: drawing.save(tmp_path / f"a{suffix}") for suffix in (".html", ".pdf", ".svg", ".png")}
    assert f'role="figure" aria-label="{said}"' in files[".html"].read_text()
    assert PdfReader(files[".pdf"]).metadata.subject == said
    assert said in files[".svg"].read_text()
    assert said.encode() in files[".png"].read_bytes()


def test_save_returns_the_path_and_the_file_can_be_read_by_others(brief, tmp_path):
    path = ll.figures.grid(brief.out).save(str(tmp_path / "a.PNG"))
    assert path == tmp_path / "a.PNG"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_mode & 0o044
