"""The best of many logits, how many are better than one, and how few hold most of the mass.

In: logits or probabilities, vocabulary last. Out: values, token ids, counts. Passes over the whole vocabulary are what
a readout costs, so each of these makes one or two. Knows nothing about models.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

GROUP = 64
"""Neighbours of which only the largest is looked at first."""
CACHED = 2**19
"""Bytes of logits that stay in the fastest large cache of a core while they are compared with several values."""
LOW = 0xFFFFFFFF


def best(logits: Float[Tensor, "... vocab"], count: int) -> tuple[Float[Tensor, "... k"], Int[Tensor, "... k"]]:
    """The `count` largest logits and their token ids, highest first; of equal ones the lowest id comes first.

    One pass finds the largest of every group of neighbours; only the best groups are looked into.

    >>> best(torch.tensor([1.0, 3.0, 2.0, 3.0]), 3)[1].tolist()
    [1, 3, 2]
    """
    size, device = logits.shape[-1], logits.device
    groups = size // GROUP
    if groups <= 4 * count:
        found = _ordered(logits, torch.arange(size, device=device), count)
        return logits.gather(-1, found), found
    whole = logits[..., : groups * GROUP].unflatten(-1, (groups, GROUP)).amax(-1)
    chosen = _ordered(whole, torch.arange(groups, device=device), count)
    place = (chosen[..., None] * GROUP + torch.arange(GROUP, device=device)).flatten(-2)
    rest = torch.arange(groups * GROUP, size, device=device)
    place = torch.cat([place, rest.expand(*place.shape[:-1], -1)], -1)
    found = _ordered(logits.gather(-1, place), place, count)
    return logits.gather(-1, found), found


def greater(
    logits: Float[Tensor, "... vocab"], values: Float[Tensor, "... n"], top: Float[Tensor, "... k"]
) -> Int[Tensor, "... n"]:
    """How many logits are strictly greater than each value; `top` are the largest of them, highest first.

    >>> z = torch.tensor([[1.0, 3.0, 2.0, 3.0]])
    >>> greater(z, torch.tensor([[1.0, 3.0, 2.0]]), best(z, 1)[0]).tolist()
    [[3, 0, 2]]
    """
    out, beyond = among(values, top)
    columns = beyond.flatten(0, -2).any(0).nonzero().flatten().tolist()
    if not columns:
        return out
    flat, found, asked = logits.flatten(0, -2), out.flatten(0, -2), values.flatten(0, -2)
    rows = max(CACHED * torch.get_num_threads() // (4 * logits.shape[-1]), 1)
    room = torch.empty_like(flat[:rows])
    for start in range(0, len(flat), rows):
        part = flat[start : start + rows]
        for column in columns:
            # 1.0 for each greater one: adding floats is exact up to 2^24 and faster than adding truth values
            more = torch.gt(part, asked[start : start + rows, column, None], out=room[: len(part)])
            found[start : start + rows, column] = more.sum(-1)
    return found.view_as(out)


def among(
    values: Float[Tensor, "... n"], top: Float[Tensor, "... k"]
) -> tuple[Int[Tensor, "... n"], Bool[Tensor, "... n"]]:
    """How many of the best are greater than each value, and where that is not all: what is no better than the last.

    >>> among(torch.tensor([3.0, 1.0]), torch.tensor([3.0, 2.0]))
    (tensor([0, 2]), tensor([False,  True]))
    """
    return (top[..., None, :] > values[..., None]).sum(-1), values <= top[..., -1:]


def nucleus(probs: Float[Tensor, "... vocab"], share: float) -> Int[Tensor, "..."]:
    """The smallest number of tokens that hold `share` of the mass (Holtzman et al. 2020, arXiv 1904.09751).

    A rounding of 1e-6 in the mass does not count.

    >>> nucleus(torch.tensor([0.5, 0.25, 0.125, 0.125]), 0.75).tolist()
    2
    """
    size = probs.shape[-1]
    pad = -size % GROUP
    rising = torch.nn.functional.pad(probs, (pad, 0))  # a copy, with zeros in front, where they stay
    if rising.device.type == "cpu":
        rising.numpy().sort(axis=-1)  # with vector instructions, which torch's has not
    else:
        rising = rising.sort(-1).values
    groups = rising.unflatten(-1, (-1, GROUP))
    mass = groups.sum(-1, dtype=torch.float64).cumsum(-1)
    spare = (1 - share + 1e-6) * mass[..., -1:]
    whole = (mass <= spare).sum(-1, keepdim=True).clamp(max=groups.shape[-2] - 1)  # groups that are left out
    before = torch.where(whole > 0, mass.gather(-1, (whole - 1).clamp(min=0)), 0.0)
    split = groups.gather(-2, whole[..., None].expand(*whole.shape, GROUP))[..., 0, :]
    left_out = whole[..., 0] * GROUP + (before + split.cumsum(-1, dtype=torch.float64) <= spare).sum(-1)
    return (size + pad - left_out).clamp(1, size)


def _ordered(values: Tensor, index: Tensor, count: int) -> Tensor:
    """The indices of the largest values; equal values by the lowest index, through keys that are all different."""
    bits = (values + 0.0).view(torch.int32)  # -0.0 equals 0.0
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # whole numbers in the order of the floats
    keys = (rising.long() << 32) | (LOW - index)
    return LOW - (keys.topk(count, dim=-1).values & LOW)
