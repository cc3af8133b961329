"""Write a file in one go: it is complete, or it is not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file beside `path`, then give it its name; on any failure nothing is left.

    >>> folder = Path(tempfile.mkdtemp())
    >>> write_whole(folder / "a.txt", lambda part: part.write_text("whole") and None)
    >>> [p.name for p in folder.iterdir()]
    ['a.txt']
    """
    handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        fill(part)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
