"""Names that can be typed (lenses, figures, file endings, paper styles), and the line that refuses another.

Light on purpose: it is imported before torch, so that a mistyped word is answered at once.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from latentlens.errors import FigureError, LatentLensError, LensError

LENSES = ("coda", "logit")
FITTED = ("tuned", "jacobian")
LENS_FILE = ".safetensors"
DRAWN_FROM = {
    "stream": ("readout",),
    "map": ("layout", "readout", "marks"),
    "grid": ("readout",),
    "line": ("readout",),
    "motion": ("motion",),
    "convergence": ("motion",),
    "spectrum": ("motion",),
    "path_independence": ("starts",),
    "orbits": ("pairs", "motion"),
    "waterfall": ("layout", "readout"),
}
"""Every figure, and what a command makes for it; without a readout it takes no lens."""
FIGURES = tuple(DRAWN_FROM)
SUFFIXES = (".pdf", ".svg", ".png", ".html")
STYLES = ("default", "neurips", "icml", "icml-wide", "iclr", "acl", "acl-wide")


def check_name(what: str, came: object, known: Iterable[str], error: type[LatentLensError]) -> str:
    """The name itself if it is known; otherwise one line that lists what is, and the nearest.

    >>> check_name("a lens", "codda", ["coda", "logit"], LensError)
    Traceback (most recent call last):
    latentlens.errors.LensError: expected a lens (coda, logit), got 'codda': did you mean coda?
    """
    names = list(known)
    if isinstance(came, str) and came in names:
        return came
    close = difflib.get_close_matches(str(came), names, n=1, cutoff=0.5)
    hint = f": did you mean {close[0]}?" if close else ""
    raise error(f"expected {what} ({', '.join(names)}), got {came!r}{hint}")


def check_whole(what: str, came: object, error: type[LatentLensError], least: int = 1, most: int | None = None) -> None:
    """Refuse what is not a whole number from `least` to `most`.

    >>> check_whole("features", 0, LatentLensError)
    Traceback (most recent call last):
    latentlens.errors.LatentLensError: expected features to be a whole number of 1 or more, got 0
    """
    whole = isinstance(came, numbers.Integral) and not isinstance(came, bool)
    if not (whole and least <= int(cast(int, came)) <= (math.inf if most is None else most)):
        upto = "or more" if most is None else f"to {most}"
        raise error(f"expected {what} to be a whole number of {least} {upto}, got {came!r}")


def check_lens(name: object) -> str:
    """A lens by name, or the path of one that was saved."""
    if isinstance(name, str) and name.endswith(LENS_FILE):
        if not Path(name).is_file():
            raise LensError(f"expected a saved lens at {name}, got no file: fit one with latentlens fit-lens")
        return name
    return check_name("a lens", name, LENSES, LensError)


def check_fitted(kind: object) -> str:
    """A kind of lens that is fitted."""
    return check_name("a kind of lens", kind, FITTED, LensError)


def check_lens_file(path: str | Path) -> Path:
    """A path to save a lens at."""
    out = Path(path)
    if out.suffix != LENS_FILE or not out.parent.is_dir():
        raise LensError(f"expected a file name x{LENS_FILE} in a folder that exists, got {out}: choose another path")
    return out


def check_figure(kind: object) -> str:
    """A figure by name."""
    return check_name("a figure", kind, FIGURES, FigureError)


def check_style(style: object) -> str:
    """A paper style by name."""
    return check_name("a style", style, STYLES, FigureError)


def check_suffix(path: str | Path) -> Path:
    """A path whose ending says how to draw, in a folder that exists."""
    out = Path(path)
    check_name(f"a file ending for {out.name!r}", out.suffix.lower(), SUFFIXES, FigureError)
    if not out.parent.is_dir():
        raise FigureError(f"expected a folder at {out.parent}, got none: make it first")
    if out.is_dir():
        raise FigureError(f"expected a file name, got the folder {out}: add a name")
    return out
