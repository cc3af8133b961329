"""A drawing shows itself in a notebook."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import latentlens as ll


def test_a_drawing_at_the_end_of_a_cell_is_the_saved_svg(wordy, tmp_path):
    drawing = ll.figures.grid(ll.decode(ll.capture(wordy, "the cat sat", iterations=3)))
    shown = drawing._repr_svg_()
    assert shown == drawing.save(tmp_path / "grid.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(shown).tag.endswith("svg")
