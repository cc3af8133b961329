"""Find a prompt, a position or an iteration in a readout, or say in one line why it is not there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from latentlens.errors import FigureError
from latentlens.figures.base import check_whole


def check_readout(kind: str, out: Any) -> xr.Dataset:
    """Refuse what `decode` did not return."""
    if not isinstance(out, xr.Dataset) or "candidate_token" not in out:
        raise FigureError(f"expected what ll.decode returns for {kind}, got {type(out).__name__}: decode first")
    return out


def check_prompt(count: int, prompt: int) -> int:
    """A prompt that is there; negative ones count from the end."""
    if not -count <= prompt < count:
        raise FigureError(f"expected a prompt from {-count} to {count - 1}, got {prompt}")
    return prompt % count


def check_position(length: int, position: int, prompt: int) -> int:
    """A position of a prompt; negative ones count from the prompt's own end."""
    if not -length <= position < length:
        raise FigureError(
            f"expected a position from {-length} to {length - 1} (prompt {prompt} has {length} tokens), got {position}"
        )
    return position % length


def check_iteration(what: str, last: int, iteration: int | None) -> None:
    """An iteration that was captured, or None."""
    if iteration is not None and not 0 <= iteration <= last:
        raise FigureError(f"expected {what} from 0 to {last} (the iterations captured), got {iteration}")


def lengths_of(out: xr.Dataset) -> np.ndarray:
    """The number of tokens of each prompt, pads not counted."""
    return (out.token.values != -1).sum(1)


def rows_of(data: xr.Dataset, prompt: int, playhead: int | None) -> tuple[int, int, int, xr.Dataset]:
    """A prompt, how many tokens and iterations it has, and its numbers by position and iteration, without pads."""
    chosen = check_prompt(data.sizes["prompt"], prompt)
    length, last = int(lengths_of(data)[chosen]), int(data.iteration.values[-1])
    check_iteration("playhead", last, playhead)
    here = data.isel(prompt=chosen, position=slice(length)).transpose("position", "iteration", ...)
    return chosen, length, last, here


def texts(out: xr.Dataset, ids: Any) -> np.ndarray:
    """The texts of token ids of a readout, as they are."""
    from latentlens.readouts import token_text  # it needs torch, and options are checked without

    return token_text(out, ids)


def several(where: str, value: Any) -> list[int] | None:
    """None, one whole number or several, as a list."""
    if value is None:
        return None
    if isinstance(value, Iterable) and not isinstance(value, str):
        found = [check_whole(where, item) for item in value]
        if found:
            return found
        raise FigureError(f"expected {where} to be a whole number, several or None, got none: leave it out for all")
    return [check_whole(where, value)]
