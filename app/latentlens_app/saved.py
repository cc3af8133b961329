"""The lenses that a model has beside those that need no fitting: files in a folder.

In: a folder and a model. Out: the paths of the lenses that were fitted to it, with what to call them.
"""

from __future__ import annotations

from pathlib import Path

import latentlens as ll
from latentlens.lenses.fitted import read_header
from latentlens.trajectory import identify

SAME = ("family", "fingerprint", "d_model")
"""What must agree between a lens and a model."""


def saved_lenses(folder: Path | None, model: ll.LatentModel) -> list[tuple[str, str]]:
    """The path and the title of every lens in a folder that was fitted to this model; other files are passed over."""
    if folder is None or not folder.is_dir():
        return []
    mine, found = identify(model), []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            told = read_header(path)
            origin = told["about"]["origin"]
            if all(origin[key] == mine[key] for key in SAME):
                found.append((str(path), title_of(path, told["kind"])))
        except (ll.LatentLensError, KeyError, TypeError):  # another file: weights, or a lens of another version
            continue
    return found


def title_of(path: Path, kind: str) -> str:
    """What a picker calls a saved lens.

    >>> title_of(Path("lenses/walks-24.safetensors"), "tuned")
    'Tuned: walks-24'
    """
    return f"{kind.capitalize()}: {path.stem}"
