"""What every figure is: options, a table of numbers, and a drawing of it for the browser or for paper.

In: data and options. Out: a `Drawing`. `table` makes the numbers; `draw` only draws; the two backends live in
`browser/` and `paper/`, one file a figure, and are imported when something is drawn.
"""

from __future__ import annotations

import dataclasses
import importlib
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from latentlens.errors import FigureError
from latentlens.names import check_name, check_style, check_suffix

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from matplotlib.figure import Figure as PaperFigure


def option(default: Any, help: str, *, choices: tuple | None = None, low: int | None = None, whole: bool = True) -> Any:
    """A field of a figure that is also a control: its default, what it does, and what it may be.

    `choices` are the values that it takes; without them it is a whole number, not below `low` if that is given,
    or (`whole=False`) something that the figure checks itself. None is allowed where it is the default.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "low": low, "whole": whole})


@dataclass(frozen=True)
class Figure(ABC):
    """A kind of figure; its fields are its options.

    A subclass says `kind`, `table(*data)`, `describe(table)`, and has `browser/<kind>.py` and `paper/<kind>.py`.
    """

    kind: ClassVar[str]

    @classmethod
    def make(cls, **options: Any) -> Self:
        """A figure with these options; an unknown one is refused by name.

        >>> from latentlens import figures
        >>> figures.KINDS["stream"].make(moode="area")
        Traceback (most recent call last):
        latentlens.errors.FigureError: expected an option of stream (mode, prompt, position, start, entropy,
        playhead), got 'moode': did you mean mode?
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for name in options:
            check_name(f"an option of {cls.kind}", name, known, FigureError)
        return cls(**options)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if "help" in f.metadata:
                _check_option(self.kind, f, getattr(self, f.name))

    @abstractmethod
    def table(self, *data: Any) -> pd.DataFrame:
        """The numbers that are drawn, one row each; facts about the whole figure are in `.attrs`."""

    @abstractmethod
    def describe(self, table: pd.DataFrame) -> str:
        """The key facts in one plain sentence, for those who do not see the picture."""

    def draw(self, table: pd.DataFrame, backend: str, **page: Any) -> Any:
        """Draw a table: `backend` is "browser" (plotly; `dark=`, `width=`) or "paper" (matplotlib; `style=`)."""
        return importlib.import_module(f"latentlens.figures.{backend}.{self.kind}").draw(self, table, **page)

    def of(self, *data: Any) -> Drawing:
        """This figure of that data."""
        return Drawing(self, data)


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure with its data.

    >>> import latentlens as ll, tempfile
    >>> out = ll.decode(ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=8))
    >>> drawing = ll.figures.stream(out)
    >>> drawing.save(tempfile.mkdtemp() + "/stream.pdf", style="icml").stat().st_size > 1000
    True
    """

    figure: Figure
    data: tuple = field(repr=False)

    @cached_property
    def _table(self) -> pd.DataFrame:
        return self.figure.table(*self.data)

    def table(self) -> pd.DataFrame:
        """The numbers behind the picture, tidy: one row each, units in the column's description; a copy.

        >>> import latentlens as ll
        >>> out = ll.decode(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
        >>> ll.figures.grid(out).table().columns.tolist()
        ['prompt', 'position', 'iteration', 'token', 'token_text', 'top', 'top_text', 'prob', 'entropy', 'kl_to_final']
        """
        return self._table.copy()

    def describe(self) -> str:
        """The key facts of the picture in one plain sentence: its text alternative.

        >>> import latentlens as ll
        >>> out = ll.decode(ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=8))
        >>> "Bob leads" in ll.figures.stream(out).describe()
        True
        """
        return self.figure.describe(self._table)

    def plotly(self, dark: bool = False, width: int = 900) -> go.Figure:
        """For the browser; on a transparent page, with the ink for a light or a dark one.

        It takes the width of its place; `width` is how many pixels that will be, about: names are set to fit it.

        >>> import latentlens as ll
        >>> out = ll.decode(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
        >>> ll.figures.grid(out).plotly(dark=True).layout.shapes[0].name
        'playhead'
        """
        return self.figure.draw(self._table, "browser", dark=dark, width=check_whole("width", width, 100))

    def matplotlib(self, style: str = "default") -> PaperFigure:
        """For paper, as wide as a column of the venue ("neurips", "icml", "icml-wide", "iclr", "acl", "acl-wide").

        >>> import latentlens as ll
        >>> out = ll.decode(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
        >>> float(ll.figures.grid(out).matplotlib("icml").get_size_inches()[0])
        3.25
        """
        return self.figure.draw(self._table, "paper", style=check_style(style))

    def show(self) -> None:
        """Show it with plotly, in the notebook or in a browser."""
        from latentlens.figures.browser.page import CONFIG

        self.plotly().show(config=CONFIG)

    def _repr_svg_(self) -> str:
        """What a notebook shows for a drawing at the end of a cell: the paper figure; `.show()` is the live one."""
        with tempfile.TemporaryDirectory() as folder:
            return self.save(Path(folder) / f"{self.figure.kind}.svg").read_text(encoding="utf-8")

    def save(self, path: str | Path, style: str = "default") -> Path:
        """Write a file: .pdf, .svg or .png for paper, .html (self-contained, `style` "default") for the browser.

        Nothing half written: the file appears when it is complete. The same data give the same bytes. Returns the path.

        Raises:
            FigureError: an unknown ending or style, a folder that does not exist.

        >>> import latentlens as ll
        >>> out = ll.decode(ll.capture(ll.load("walks"), "2 steps from Ann", iterations=4))
        >>> ll.figures.grid(out).save("grid.gif")
        Traceback (most recent call last):
        latentlens.errors.FigureError: expected a file ending for 'grid.gif' (.pdf, .svg, .png, .html), got '.gif'...
        """
        out, style = check_suffix(path), check_style(style)
        if out.suffix.lower() == ".html":
            if style != "default":
                raise FigureError(f"expected no style for {out.name!r}, got {style!r}: styles are for .pdf, .svg, .png")
            from latentlens.figures.browser.page import write
        else:
            from latentlens.figures.paper.page import write
        write(self, out, style)
        return out


def _check_option(kind: str, f: dataclasses.Field, value: Any) -> None:
    """Refuse a value of the wrong kind, by the option's name."""
    choices, where = f.metadata["choices"], f"{f.name} of {kind}"
    if value is None and f.default is None:
        return
    if choices is None:
        if f.metadata["whole"]:
            check_whole(where, value, f.metadata["low"])
    elif all(isinstance(choice, str) for choice in choices):
        check_name(where, value, choices, FigureError)
    elif not any(type(value) is type(choice) and value == choice for choice in choices):
        raise FigureError(f"expected {where} ({', '.join(map(str, choices))}), got {value!r}")


def check_whole(where: str, value: Any, low: int | None = None) -> int:
    """A whole number, not below `low`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or (low is not None and value < low):
        at_least = "" if low is None else f" of {low} or more"
        raise FigureError(f"expected {where} to be a whole number{at_least}, got {value!r}")
    return int(value)
