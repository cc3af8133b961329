"""What every matplotlib figure shares: fonts, sizes, and how it is saved.

In: a paper style. Out: an empty page of that width, and files whose text is text. No pyplot, no global state left.
"""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as MatplotlibFigure

from latentlens.figures.escape import for_paper
from latentlens.figures.paper.fonts import FAMILIES
from latentlens.figures.style import LIGHT, PAPERS, PLAYHEAD, RAMPS
from latentlens.files import write_whole

if TYPE_CHECKING:
    from latentlens.figures.base import Drawing

DPI = 300
"""Of .png, and of what is rasterised inside a vector file."""
_RC_LOCK = threading.RLock()


def rc(style: str) -> Any:
    """matplotlib's settings for a venue: embedded TrueType, text kept as text, quiet axes."""
    size = PAPERS[style].size
    return {
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "latentlens",
        "text.usetex": False,
        "font.family": list(FAMILIES),
        "mathtext.fontset": "stix",
        "axes.unicode_minus": True,
        "font.size": size,
        "axes.labelsize": size,
        "axes.titlesize": size,
        "xtick.labelsize": size - 1,
        "ytick.labelsize": size - 1,
        "legend.fontsize": size - 1,
        "legend.frameon": False,
        "axes.linewidth": 0.5,
        "axes.edgecolor": LIGHT.muted,
        "axes.labelcolor": LIGHT.text,
        "text.color": LIGHT.text,
        "xtick.color": LIGHT.muted,
        "ytick.color": LIGHT.muted,
        "xtick.labelcolor": LIGHT.text,
        "ytick.labelcolor": LIGHT.text,
        "xtick.major.width": 0.5,
        "ytick.major.width": 0.5,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.pad": 2.5,
        "ytick.major.pad": 2.5,
        "axes.labelpad": 3.0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": LIGHT.grid,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.2,
        "lines.solid_capstyle": "round",
        "lines.solid_joinstyle": "round",
        "figure.dpi": 100,
        "savefig.dpi": DPI,
        "savefig.facecolor": "white",
        "path.simplify": False,
    }


@contextmanager
def settings(style: str) -> Iterator[None]:
    """matplotlib's settings of a style for a while; one thread at a time, for they are global."""
    with _RC_LOCK, matplotlib.rc_context(rc(style)):
        yield


class Page(MatplotlibFigure):
    """A matplotlib figure that keeps its style when it is saved, by hand too."""

    paper_style: str = "default"

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, with the style's settings: Type 42 fonts, text as text, no date."""
        kind = options.get("format") or Path(str(fname)).suffix.removeprefix(".")
        date = {"pdf": "CreationDate", "svg": "Date"}.get(str(kind).lower())
        if date:
            options["metadata"] = {date: None, **(options.get("metadata") or {})}
        with settings(self.paper_style):
            super().savefig(fname, **options)


def new_page(style: str, aspect: float, least: float = 0.0, most: float = 8.5) -> Page:
    """An empty page as wide as the style's column, `aspect` times as high, from `least` to `most` inches."""
    width = PAPERS[style].width
    page = Page(figsize=(width, min(max(width * aspect, least), most)), layout="constrained")
    page.paper_style = style
    FigureCanvasAgg(page)
    page.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.03)  # type: ignore[union-attr, call-arg]
    return page


def page_of(axes: Axes) -> Page:
    """The page that an axes is on."""
    return axes.get_figure(root=True)  # type: ignore[return-value]


def text_size(axes: Axes) -> float:
    """The size of the page's text in points."""
    return PAPERS[page_of(axes).paper_style].size


def upright(page: Page, title: str, share: float) -> str:
    """A title along a vertical axis that has this share of the page's height, on as many lines as it needs."""
    letters = share * page.get_figheight() * 72 / (0.46 * PAPERS[page.paper_style].size)
    return "\n".join(for_paper(part) for part in textwrap.wrap(title, max(int(letters), 12)))


def colormap(name: str) -> LinearSegmentedColormap:
    """The ramp of a quantity as matplotlib wants it."""
    return LinearSegmentedColormap.from_list(name, list(RAMPS[name][0]))


def colour_bar(page: Page, what: Any, title: str, **place: Any) -> Any:
    """A slim bar that says what colours mean, as vectors (matplotlib would make it a bitmap)."""
    slim: dict[str, Any] = {"fraction": 0.1, "aspect": 0.85 * page.get_figheight() / 0.1}
    bar: Any = page.colorbar(what, **({} if "cax" in place else slim), **place)
    bar.set_label(title)
    bar.outline.set_visible(False)
    bar.solids.set(rasterized=False, edgecolor="face", linewidth=0.2)
    return bar


def through_zero(axes: Axes) -> None:
    """Faint lines along both axes."""
    axes.axhline(0, color=LIGHT.grid, linewidth=0.6, zorder=1)
    axes.axvline(0, color=LIGHT.grid, linewidth=0.6, zorder=1)


def playhead(axes: Axes, iteration: int | None) -> None:
    """A rule at an iteration, if there is one."""
    if iteration is not None:
        axes.axvline(iteration, color=PLAYHEAD, linewidth=1.0, zorder=6, gid="playhead")


def write(drawing: Drawing, path: Path, style: str) -> None:
    """A .pdf, .svg or .png, with the description inside for those who do not see the picture."""
    page = drawing.matplotlib(style)
    kind = path.suffix.lower().removeprefix(".")
    notes = {"Title": f"latentlens: {drawing.figure.kind}"}
    notes["Subject" if kind == "pdf" else "Description"] = drawing.describe()
    write_whole(path, lambda part: page.savefig(part, format=kind, metadata=notes))
