"""Figures for paper, with matplotlib: one file a figure, and `page.py` with what they share."""
