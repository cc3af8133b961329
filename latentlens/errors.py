"""What can go wrong, one class a stage; every message says what was expected, what came and what to do.

In: nothing. Out: exceptions under `LatentLensError`. The command line turns any of them into one line and
exit status 2; the dashboard shows them on the page.
"""

from __future__ import annotations


class LatentLensError(Exception):
    """Anything that latentlens refuses, in one line that says what to do instead.

    >>> raise LatentLensError("expected a, got b: pass a")
    Traceback (most recent call last):
    latentlens.errors.LatentLensError: expected a, got b: pass a
    """


class ModelError(LatentLensError):
    """A model cannot be found, read or understood."""


class TokenError(LatentLensError):
    """A prompt cannot be turned into tokens, or a token is not in the vocabulary."""


class CaptureError(LatentLensError):
    """A run cannot be made, or did not yield the states that it should."""


class StoreError(LatentLensError):
    """A trajectory cannot be written to, or read from, a disk."""


class LensError(LatentLensError):
    """A lens is unknown, or cannot read this model."""


class ReadoutError(LatentLensError):
    """A readout was asked for a position, iteration or token that is not there."""


class ProbeError(LatentLensError):
    """A probe cannot be fitted to these targets, or read in these states."""


class EmbeddingError(LatentLensError):
    """States cannot be laid out in the way that was asked for."""


class MotionError(LatentLensError):
    """Motion cannot be told from these states, or not for this model."""


class FigureError(LatentLensError):
    """A figure is unknown, has bad options, or cannot be saved under that name."""
