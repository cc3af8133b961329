"""Figures for the browser, with plotly: one file a figure, and `page.py` with what they share."""
