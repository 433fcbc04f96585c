"""Shared helpers of the synthetic loans' steps: chunk size, months, levels and amounts."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Loans = dict[str, Array]

CHUNK_ROWS = 10_000
"""Loans per chunk: few enough to keep memory flat, and the status shares are whole numbers of ten thousand."""


def number_month(year: int, month: int) -> int:
    """Return a month's number, for arithmetic."""
    return year * 12 + month - 1


SNAPSHOT = number_month(2016, 1)
MONTH_TEXTS = np.array(
    [
        f"{name}-{year}"
        for year in range(1940, 2018)
        for name in ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    ],
    dtype=object,
)


def draw_levels(rng: np.random.Generator, shares: Mapping[str, float]) -> Array:
    """Draw a chunk of levels by their shares."""
    weights = np.array(list(shares.values()))
    levels: Array = np.array(list(shares), dtype=object)
    return np.asarray(levels[rng.choice(weights.size, size=CHUNK_ROWS, p=weights / weights.sum())])


def to_cents(amounts: Array) -> Array:
    """Round amounts to cents."""
    # The sum turns a negative zero, which would be written as "-0.0", into a plain one.
    return np.asarray(np.round(amounts, 2) + 0.0)


def format_months(months: Array, missing: Array | None = None) -> Array:
    """Format months as in the file: `Sep-2015`."""
    texts: Array = MONTH_TEXTS[months - number_month(1940, 1)]
    if missing is not None:
        texts[missing] = np.nan
    return texts
