"""Every lens by its name, or by the file that it was saved in.

In: what a user passes as `lens=`. Out: a `Lens`. Knows nothing about what a lens computes.
"""

from __future__ import annotations

from latentlens.errors import LensError
from latentlens.lenses.fitted import FittedLens, read_header
from latentlens.lenses.jacobian import JacobianLens
from latentlens.lenses.lens import CodaLens, Lens, LogitLens
from latentlens.lenses.tuned import TunedLens
from latentlens.names import LENS_FILE, LENSES, check_lens

__all__ = ["CodaLens", "Lens", "LogitLens", "find_lens"]

_LENSES: dict[str, type[Lens]] = {"coda": CodaLens, "logit": LogitLens}
_FITTED: dict[str, type[FittedLens]] = {kind.kind: kind for kind in (TunedLens, JacobianLens)}
assert tuple(_LENSES) == LENSES


def find_lens(lens: Lens | str | None) -> Lens:
    """The lens of that name or in that file, the lens itself, or (None) the model's own answer, `CodaLens`.

    >>> find_lens("logit").name
    'logit'
    """
    if lens is None:
        return CodaLens()
    if isinstance(lens, Lens):
        return lens
    if not isinstance(lens, str):
        raise LensError(f"expected a lens, its name or None, got {type(lens).__name__}: try {', '.join(LENSES)}")
    check_lens(lens)
    if lens.endswith(LENS_FILE):
        return _FITTED[read_header(lens)["kind"]].load(lens)
    return _LENSES[lens]()
