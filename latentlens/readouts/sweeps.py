"""One compiled sweep over the vocabulary, for many large logits on a CPU.

In: float32 logits `[place, iteration, vocab]` and the best of each row. Out: the sums that every entropy and every
divergence is made of, how many logits are greater than a value, and how few tokens hold most of the mass. Says what
`statistics` and `ordering` say in whole tensors, which is what the tests compare with; here a tile of the vocabulary
goes through all iterations of a place while it is in the fastest cache, and nothing of the size of the logits is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.readouts.ordering import among

TILE = 1024
"""Logits of a row that are read at once: six such rows, of floats, fit into 32 kB."""
SUMS = 6
"""Of exponentials; of those times their logits; of neighbours both ways; of either with the final one's."""
# Sums may be taken in any order, as vector instructions do; NaN and infinities stay what they are.
ORDERLESS = {"contract", "nsz", "reassoc"}
TAYLOR = tuple(np.float32(1 / k) for k in (7, 6, 5, 4, 3, 2, 1))
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440054690583e-4)
ATANH = tuple(np.float32(2 / k) for k in (9, 7, 5, 3, 1))
LN2, HALF_ROOT, TINY = np.float32(0.6931471805599453), np.int32(0x3F3504F3), np.float32(1e-30)  # the bits of sqrt(1/2)
BINS = 2**13
LOWEST = np.float32(-87)  # the exponential of what is lower is subnormal in float32, and counts as none


def _compiled(function: Callable[..., Any]) -> Any:
    """Kept on disk for the next process, where a folder can be written."""
    try:
        return numba.njit(nogil=True, cache=True, fastmath=ORDERLESS, error_model="numpy")(function)
    except RuntimeError:
        return numba.njit(nogil=True, fastmath=ORDERLESS, error_model="numpy")(function)


def sums(
    logits: Float[Tensor, "place iteration vocab"], best: Float[Tensor, "place iteration"]
) -> Float[Tensor, "sum place iteration"]:
    """With z less the best logit and w = exp(z): sum w, and the dot products w_r.z_r, w_{r-1}.z_r, w_r.z_{r-1},
    w_r.z_R and w_R.z_r, in float64; those with r-1 are 0 at the first iteration."""
    found = _by_parts(_sweep, logits, best, (SUMS, *best.shape), np.float64)
    return torch.from_numpy(found)


def greater(
    logits: Float[Tensor, "place iteration vocab"],
    values: Float[Tensor, "place iteration n"],
    top: Float[Tensor, "place iteration k"],
) -> Int[Tensor, "place iteration n"]:
    """How many logits of a row are strictly greater than each value; `top` are the largest, highest first."""
    known, beyond = among(values, top)
    # nothing is greater than infinity, and that is soon said
    found = _by_parts(_count, logits, values.masked_fill(~beyond, torch.inf), values.shape, np.int64)
    return torch.where(beyond, torch.from_numpy(found), known)


def unlike(
    logits: Float[Tensor, "place iteration vocab"],
    best: Float[Tensor, "place iteration"],
    mass: Float[Tensor, "place iteration"],
) -> Float[Tensor, "sum place iteration"]:
    """With p = w / mass, in float64: sum |p_r - p_R|, and -sum m ln m of the mixture m = (p_r + p_R) / 2."""
    beside = torch.stack([best, mass.reciprocal().to(best)], -1)
    return torch.from_numpy(_by_parts(_unlike, logits, beside, (2, *best.shape), np.float64))


def nucleus(
    logits: Float[Tensor, "place iteration vocab"], best: Float[Tensor, "place iteration"], share: float
) -> Int[Tensor, "place iteration"]:
    """The smallest number of tokens that hold `share` of the mass, through histograms instead of a sort.

    Two of them tell floats apart to 2^-19; a rounding of 1e-6 in the mass does not count.
    """
    rows, levels = logits.contiguous().flatten(0, 1).numpy(), best.flatten().numpy()
    parts = np.array_split(np.arange(len(rows)), max(torch.get_num_threads(), 1))
    with ThreadPoolExecutor(len(parts)) as pool:
        found = pool.map(lambda part: _nucleus(rows[part[0] : part[-1] + 1], levels[part], share), filter(len, parts))
        return torch.from_numpy(np.concatenate(list(found))).view_as(best)


def _by_parts(loop: Any, logits: Tensor, beside: Tensor, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """What a loop adds up over the vocabulary, a part of it in each thread."""
    size, threads = logits.shape[-1], max(torch.get_num_threads(), 1)
    part = -(-size // (threads * TILE)) * TILE  # tiles are the same whatever the threads
    starts = range(0, size, part)
    out = np.zeros((len(starts), *shape), dtype)
    work = partial(loop, logits.contiguous().numpy(), beside.contiguous().numpy())
    if len(starts) == 1:
        work(0, size, out[0])
    else:
        with ThreadPoolExecutor(len(starts)) as pool:
            list(pool.map(lambda k: work(starts[k], min(starts[k] + part, size), out[k]), range(len(starts))))
    return out.sum(0)


@_compiled
def _weigh(row, best, z, w):  # type: ignore[no-untyped-def]
    """Logits less the best into `z`, their exponentials into `w`; the sum of those.

    exp(x) = 2^n exp(f), |f| <= ln(2) / 2, by Taylor's series to the seventh power: 5e-9 of it are left out.
    """
    total = np.float32(0)
    for i in range(row.shape[0]):
        x = row[i] - best
        z[i] = x
        x = max(x, LOWEST)
        n = np.floor(x * LOG2_E + np.float32(0.5))
        f = x - n * LN2_HIGH - n * LN2_LOW
        p = np.float32(1)
        for k in range(7):
            p = p * f * TAYLOR[k] + np.float32(1)
        p = p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
        w[i] = p if z[i] > LOWEST else np.float32(0)
        total += w[i]
    return total


@_compiled
def _dots(z, w, z_before, w_before, z_final, w_final):  # type: ignore[no-untyped-def]
    own = step = back = to_final = from_final = np.float32(0)
    for i in range(z.shape[0]):
        own += w[i] * z[i]
        step += w_before[i] * z[i]
        back += w[i] * z_before[i]
        to_final += w[i] * z_final[i]
        from_final += w_final[i] * z[i]
    return own, step, back, to_final, from_final


@_compiled
def _sweep(logits, best, start, stop, out):  # type: ignore[no-untyped-def]
    """All sums over a part of the vocabulary; two rows are kept in turn, the final one beside them."""
    places, count, _ = logits.shape
    z, w = np.zeros((2, TILE), np.float32), np.zeros((2, TILE), np.float32)
    z_final, w_final = np.zeros(TILE, np.float32), np.zeros(TILE, np.float32)
    for place in range(places):
        for begin in range(start, stop, TILE):
            n = min(TILE, stop - begin)
            _weigh(logits[place, count - 1, begin : begin + n], best[place, count - 1], z_final[:n], w_final[:n])
            z[1], w[1] = np.float32(0), np.float32(0)
            for r in range(count):
                new, old = r & 1, 1 - (r & 1)
                mass = _weigh(logits[place, r, begin : begin + n], best[place, r], z[new, :n], w[new, :n])
                dots = _dots(z[new, :n], w[new, :n], z[old, :n], w[old, :n], z_final[:n], w_final[:n])
                out[0, place, r] += mass
                for k in range(5):
                    out[1 + k, place, r] += dots[k]


@_compiled
def _count(logits, values, start, stop, out):  # type: ignore[no-untyped-def]
    places, count, _ = logits.shape
    for place in range(places):
        for r in range(count):
            for begin in range(start, stop, TILE):
                row = logits[place, r, begin : min(begin + TILE, stop)]
                for k in range(values.shape[2]):
                    if values[place, r, k] < np.inf:
                        more = np.int32(0)
                        for i in range(row.shape[0]):
                            more += np.int32(row[i] > values[place, r, k])
                        out[place, r, k] += more


@_compiled
def _unlike(logits, beside, start, stop, out):  # type: ignore[no-untyped-def]
    places, count, _ = logits.shape
    z, w, w_final = np.empty(TILE, np.float32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for place in range(places):
        best, scale = beside[place, :, 0], beside[place, :, 1]
        for begin in range(start, stop, TILE):
            n = min(TILE, stop - begin)
            _weigh(logits[place, count - 1, begin : begin + n], best[count - 1], z[:n], w_final[:n])
            for r in range(count):
                _weigh(logits[place, r, begin : begin + n], best[r], z[:n], w[:n])
                distance, surprise = _compare(w[:n], scale[r], w_final[:n], scale[count - 1])
                out[0, place, r] += distance
                out[1, place, r] += surprise


@_compiled
def _compare(w, scale, w_final, scale_final):  # type: ignore[no-untyped-def]
    """ln(m) = n ln 2 + 2 atanh(s), s = (f - 1) / (f + 1), m = 2^n f, by the series of atanh: 3e-10 are left out."""
    distance = surprise = np.float32(0)
    for i in range(w.shape[0]):
        p, q = w[i] * scale, w_final[i] * scale_final
        distance += abs(p - q)
        m = np.float32(0.5) * (p + q) + TINY
        bits = np.int32(np.float32(m).view(np.int32) - HALF_ROOT)
        n = np.float32(np.int32(bits >> np.int32(23)))
        f = np.int32((bits & np.int32(0x7FFFFF)) + HALF_ROOT).view(np.float32)
        s = (f - np.float32(1)) / (f + np.float32(1))
        square = s * s
        odd = ATANH[0]
        for k in range(1, 5):
            odd = odd * square + ATANH[k]
        surprise -= m * (n * LN2 + s * odd)
    return distance, surprise


@_compiled
def _nucleus(logits, best, share):  # type: ignore[no-untyped-def]
    out = np.empty(logits.shape[0], np.int64)
    size = logits.shape[1]
    z, w = np.empty(TILE, np.float32), np.empty(size, np.float32)
    held, number = np.empty(BINS, np.float64), np.empty(BINS, np.int64)
    for row in range(logits.shape[0]):
        for begin in range(0, size, TILE):
            n = min(TILE, size - begin)
            _weigh(logits[row, begin : begin + n], best[row], z[:n], w[begin : begin + n])
        bits = w.view(np.int32)
        held[:], number[:] = 0, 0
        for i in range(size):
            held[bits[i] >> 17] += w[i]
            number[bits[i] >> 17] += 1
        missing = (share - 1e-6) * held.sum()
        upper, missing, found = _crossed(held, number, missing)
        held[:], number[:] = 0, 0
        for i in range(size):
            if bits[i] >> 17 == upper:
                held[bits[i] >> 4 & 0x1FFF] += w[i]
                number[bits[i] >> 4 & 0x1FFF] += 1
        lower, missing, more = _crossed(held, number, missing)
        within = np.ceil(missing * number[lower] / held[lower])
        out[row] = found + more + min(max(np.int64(within), 1), number[lower])
    return out


@_compiled
def _crossed(held, number, missing):  # type: ignore[no-untyped-def]
    """The bin in which the mass from the largest on reaches what is missing, what is missing still, how many before."""
    found, last = 0, 0
    for k in range(BINS - 1, -1, -1):
        if number[k]:
            last = k
            if held[k] >= missing:
                break
            missing -= held[k]
            found += number[k]
    else:  # all of the mass, less a rounding
        missing, found = held[last], found - number[last]
    return last, missing, found
