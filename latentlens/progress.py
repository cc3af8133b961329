"""A progress bar wherever something takes more than a second, and a way to stop it.

In: how much there is to do. Out: a bar on standard error, or calls to the caller's own function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Progress = bool | Callable[[float, str], None]
"""True: a bar on standard error once a second has passed. False: none. A function: called as `f(share, what)`
with the share done, from 0 to 1; an exception that it raises ends the work (that is how a run is cancelled)."""


@contextmanager
def progress_bar(progress: Progress, total: int, what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield `advance(n)`, which says that `n` more of `total` units are done.

    >>> seen = []
    >>> with progress_bar(lambda share, what: seen.append(share), 2, "capture", "iteration") as advance:
    ...     advance(1)
    ...     advance(1)
    >>> seen
    [0.5, 1.0]
    """
    if callable(progress):
        yield _reporter(progress, total, what)
        return
    with tqdm(total=total, desc=what, unit=unit, delay=1.0, disable=not progress, leave=False) as bar:
        yield lambda count: bar.update(count) and None


def _reporter(report: Callable[[float, str], None], total: int, what: str) -> Callable[[int], None]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report(done / max(total, 1), what)

    return advance
