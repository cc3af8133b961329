"""What a probe is fitted to: labels, distributions or vectors, one a prompt or one a token.

In: a trajectory, targets in the forms that people have them in, positions. Out: examples: where each state is, and its
target as a row of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import ProbeError
from latentlens.readouts import positions_of
from latentlens.trajectory import Trajectory

Label = str | int


@dataclass(frozen=True)
class Examples:
    """States by prompt and absolute position, and the target of each."""

    prompt: Int[Tensor, example]
    position: Int[Tensor, example]
    target: Float[Tensor, "example output"]
    classes: list[Label] | None


def make_examples(traj: Trajectory, targets: Any, kind: str, positions: int | Sequence[int] | None) -> Examples:
    """Every (prompt, position) that is there and has a target."""
    prompt, _, position = places(traj, asked_positions(traj, positions))
    try:
        count = len(targets)
    except TypeError:
        raise ProbeError(f"expected a target for each prompt, got {type(targets).__name__}: pass a list") from None
    if count != len(traj.tokens):
        raise ProbeError(f"expected a target for each of {len(traj.tokens)} prompts, got {count}")
    values = _numbers(targets)
    if kind == "ridge":
        return Examples(prompt, position, _vectors(values, targets, prompt, position), None)
    if values is not None and values.is_floating_point():
        target = _at(values, prompt, position)
        _check_shares(target)
        return Examples(prompt, position, target, list(range(target.shape[1])))
    return _labelled(targets, prompt, position)


def asked_positions(traj: Trajectory, positions: int | Sequence[int] | None) -> list[int]:
    """One position, several, or (None) all, as a list."""
    if positions is None:
        return list(range(traj.tokens.shape[1]))
    return list(positions) if isinstance(positions, Iterable) else [positions]


def places(traj: Trajectory, asked: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Prompt, place in `asked` and absolute position of every token that is there."""
    where = positions_of(traj, asked)
    prompt, place = (traj.mask.gather(1, where.clamp(min=0)) & (where >= 0)).nonzero().T
    return prompt, place, where[prompt, place]


def _numbers(targets: Any) -> Tensor | None:
    """Arrays, and lists of plain numbers, as a tensor; None for what are labels."""
    if isinstance(targets, Tensor):
        return targets.detach().cpu()
    try:
        array = np.asarray(targets)
    except ValueError:  # rows of different lengths
        return None
    return torch.from_numpy(array) if array.dtype.kind in "fiub" else None


def _at(values: Tensor, prompt: Tensor, position: Tensor) -> Float[Tensor, "example output"]:
    """Rows of `[prompt, output]` or `[prompt, position, output]`."""
    if values.ndim not in (2, 3):
        raise ProbeError(
            f"expected targets of shape [prompt, output] or [prompt, position, output], got {list(values.shape)}"
        )
    if values.ndim == 3:
        _check_reach(values.shape[1], position)
    return (values[prompt] if values.ndim == 2 else values[prompt, position]).double()


def _vectors(values: Tensor | None, targets: Any, prompt: Tensor, position: Tensor) -> Float[Tensor, "example output"]:
    if values is None:
        raise ProbeError(f"expected numbers for kind='ridge', got {_shown(targets)}: use kind='softmax' for labels")
    target = _at(values[:, None] if values.ndim == 1 else values, prompt, position)
    if not bool(target.isfinite().all()):
        raise ProbeError("expected finite targets, got NaN or infinity: leave those prompts out")
    return target


def _labelled(targets: Any, prompt: Tensor, position: Tensor) -> Examples:
    """Labels or `{label: probability}`; None is no target."""
    shares = [_shares(_cell(targets[i], j)) for i, j in zip(prompt.tolist(), position.tolist())]
    kept = [number for number, share in enumerate(shares) if share]
    found = {label for share in shares for label in share}
    if len({type(label) for label in found}) != 1:
        raise ProbeError(f"expected labels that are all texts or all whole numbers, got {_shown(targets)}")
    classes: list[Label] = sorted(found)
    column = {label: number for number, label in enumerate(classes)}
    target = torch.zeros(len(kept), len(classes), dtype=torch.float64)
    for row, number in enumerate(kept):
        for label, share in shares[number].items():
            target[row, column[label]] = share
    _check_shares(target)
    return Examples(prompt[kept], position[kept], target, classes)


def _cell(item: Any, position: int) -> Any:
    """A prompt's target, or that of one of its positions."""
    if isinstance(item, str | Mapping) or not hasattr(item, "__len__") or getattr(item, "ndim", 1) == 0:
        return item
    if position >= len(item):
        raise ProbeError(f"expected a target for position {position}, got {len(item)} targets: give every token one")
    return item[position]


def _shares(cell: Any) -> dict[Label, float]:
    if cell is None:
        return {}
    if isinstance(cell, Mapping):
        return {_label(label): float(p) for label, p in cell.items() if p != 0}
    return {_label(cell): 1.0}


def _label(given: Any) -> Label:
    if isinstance(given, str):
        return str(given)
    if hasattr(given, "__index__"):
        return int(given)
    raise ProbeError(f"expected a label as a text or a whole number, got {given!r}: use kind='ridge' for numbers")


def _check_shares(target: Tensor) -> None:
    total = target.sum(1)
    if not bool((target >= 0).all()) or not bool(((total - 1).abs() < 1e-4).all()):
        worst = float(total[(total - 1).abs().nan_to_num(torch.inf).argmax()])
        raise ProbeError(
            f"expected probabilities that add up to 1, got {worst:.6g}: normalise them, or use kind='ridge' for vectors"
        )


def _check_reach(count: int, position: Tensor) -> None:
    if len(position) and int(position.max()) >= count:
        raise ProbeError(f"expected a target for position {int(position.max())}, got {count}: give every token one")


def _shown(targets: Any) -> str:
    return repr(targets[0])[:40] if len(targets) else "nothing"
