"""Draw motion with plotly: as lines."""

from latentlens.figures.browser.line import draw

__all__ = ["draw"]
