"""Draw motion with matplotlib: as lines."""

from latentlens.figures.paper.line import draw

__all__ = ["draw"]
