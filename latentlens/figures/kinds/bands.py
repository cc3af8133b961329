"""Many numbers as one line with its bands: median and quantiles, a share, or a mean with its interval.

In: numbers by iteration, of one or of many. Out: the columns value, low, high, lowest, highest; NaN for none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BANDS_SAID = "bands 25–75% and 5–95%"

Bands = dict[str, Float[np.ndarray, "iteration"]]


def alone(value: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None) -> Bands:
    """A line without bands, or with the interval that it came with."""
    none = np.full(len(value), np.nan)
    ends = {"low": none if low is None else low, "high": none if high is None else high}
    return {"value": value, **ends, "lowest": none, "highest": none}


def share(numbers: Float[np.ndarray, "one iteration"]) -> Bands:
    """How many say yes."""
    seen = np.maximum((~np.isnan(numbers)).sum(0), 1)
    return alone(np.where(np.isnan(numbers).all(0), np.nan, np.nansum(numbers, 0) / seen))


def quantiles(numbers: Float[np.ndarray, "one iteration"]) -> Bands:
    """The median, and bands from the 25th to the 75th and from the 5th to the 95th percentile; NaN is left out."""
    with np.errstate(all="ignore"):
        found = np.array([_quantiles(column, QUANTILES) for column in numbers.T]).T
    lowest, low, value, high, highest = found
    return {"value": value, "low": low, "high": high, "lowest": lowest, "highest": highest}


def _quantiles(values: np.ndarray, wanted: Sequence[float]) -> np.ndarray:
    real = values[~np.isnan(values)]
    return np.quantile(real, wanted) if len(real) else np.full(len(wanted), np.nan)
