"""How the states of a run are laid out: what the page offers of `ll.embed`, and the layouts that were made.

In: the values of the controls, and a run. Out: a `Layout`, which writes itself as options of `ll.embed`, and its
`Embedding`, kept with the run. Knows nothing about pages.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import latentlens as ll
from latentlens_app.jobs import Report
from latentlens_app.runs import Run, staged

STAGES = {"pca": (0.0, 0.05), "points": (0.05, 0.1), "neighbours": (0.1, 0.2), "umap": (0.2, 0.97)}


@dataclass(frozen=True)
class Layout:
    """The choices that a map is made by; `position` None makes the frame of all tokens.

    >>> Layout(space="norm", start=False).options(16)
    {'space': 'norm', 'iterations': range(1, 17)}
    """

    method: str = "pca"
    dims: int | None = None
    space: str = "raw"
    center: str = "all"
    start: bool = True
    position: int | None = None

    @classmethod
    def chosen(
        cls, method: str, dims: str, space: str, center: str, fit: str, without: bool | None, position: int | None
    ) -> Layout:
        """What the controls say; a UMAP is made for the dimensions that are drawn, a PCA has three anyway."""
        own = position if fit == "token" else None
        return cls(method, int(dims) if method == "umap" else None, space, center, not without, own)

    @property
    def key(self) -> str:
        """A name of exactly this layout."""
        return f"layout {self}"

    def to_page(self) -> dict[str, Any]:
        """The same as plain JSON, for a page to keep."""
        return asdict(self)

    def options(self, last: int) -> dict[str, Any]:
        """The options of `ll.embed` for a run of so many iterations; what is its default is left out."""
        wanted = {
            "method": (self.method, "pca"),
            "n_components": (self.dims, None),
            "space": (self.space, "raw"),
            "center": (self.center, "all"),
            "iterations": (None if self.start else range(1, last + 1), None),
            "fit_on": (self.position, None),
        }
        return {name: value for name, (value, default) in wanted.items() if value != default}


def layout_of(run: Run, layout: Layout) -> ll.Embedding | None:
    """The states laid out in this way, or None where that was not made yet."""
    return run.emb if layout == Layout() else run.found.get(layout.key)


def lay_out(run: Run, layout: Layout, report: Report) -> None:
    """Make a layout and keep it with the run; a UMAP in other dimensions lends its neighbours."""
    if layout_of(run, layout) is None:
        report(0.0, layout.method)
        named: dict[str, Any] = layout.options(run.traj.iterations)
        if layout.method == "umap":
            named["neighbours"] = run.found.get(_neighbours(layout))
        emb = ll.embed(run.traj, **named, progress=staged(report, STAGES))
        run.found.put(layout.key, emb)
        run.found.put(_neighbours(layout), emb)


def _neighbours(layout: Layout) -> str:
    """A name of all layouts that have the same neighbours."""
    return f"neighbours {Layout(layout.method, None, layout.space, layout.center, layout.start, layout.position)}"


def shown_layout(run: Run, laid: dict[str, Any]) -> ll.Embedding:
    """What a page shows; the first principal components where that is not kept any more."""
    found = layout_of(run, Layout(**laid["layout"]))
    return run.emb if found is None else found
