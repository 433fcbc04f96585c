"""Parses and rounds columns of numbers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.tables.texts import MISSING_TEXTS, Array, is_text

_NUMBER = r"(?i)^[ \t]*[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?|nan)[ \t]*$"
_PERCENT_SIGN = r"([\d.])[ \t]*%[ \t]*$"
_NO_NUMBER = pa.scalar(None, pa.float64())
IN_PERCENT = ("debt_to_income_ratio", "interest_rate", "revolving_line_utilization_rate")
"""Fields whose numbers may have a percent sign."""


def is_whole(numbers: Array) -> npt.NDArray[np.bool_]:
    """Return which numbers have no fraction; NaN has one, infinity has none."""
    return np.asarray(numbers == np.floor(numbers))


def round_to_whole(numbers: Any) -> Any:
    """Round a number, an array or a series to whole numbers, as floats; a half goes to the even one."""
    return np.round(numbers)


def to_numbers(column: pa.Array, *, percent: bool = False) -> tuple[pa.Array, int]:
    """Convert a column to numbers.

    A number gets the bits that the service gives to its decimal digits: a 32-bit float those of its shortest decimal
    (13.56, not 13.5600004), and a decimal those of the nearest float.

    Args:
        column: Numbers of any type or text, plain or dictionary-encoded; each distinct text is parsed once.
        percent: Whether a percent sign may follow a number.

    Returns:
        The numbers, NaN for an invalid text and null for a missing one; and the number of texts with a percent sign.
    """
    if not is_text(column.type):
        return _to_floats(column), 0
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts, signs = pc.cast(column.dictionary, pa.binary()), 0
    if percent:
        plain = pc.replace_substring_regex(texts, _PERCENT_SIGN, r"\1")
        signs = pc.sum(pc.not_equal(plain, texts).take(column.indices)).as_py() or 0
        texts = plain
    return parse_numbers(texts).take(column.indices), signs


def is_number(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds numbers, plain or dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _to_floats(column: pa.Array) -> pa.Array:
    if pa.types.is_float64(column.type):
        return column
    if pa.types.is_dictionary(column.type):
        return _to_floats(column.dictionary).take(column.indices)
    # Arrow's cast of a decimal is sometimes off by a bit.
    if pa.types.is_decimal(column.type) or pa.types.is_float32(column.type):
        column = pc.cast(column, pa.string())
    # safe=False only affects whole numbers beyond 2**53, which may lose digits; no field allows them.
    return pc.cast(column, pa.float64(), safe=False)


def parse_numbers(texts: pa.Array) -> pa.Array:
    """Parse numbers from bytes: NaN for an invalid one, null for a missing one."""
    missing = pc.is_in(texts, pa.array([text.encode() for text in MISSING_TEXTS]))
    texts = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, pa.scalar(b"nan"))
    numbers = pc.cast(pc.ascii_trim_whitespace(pc.cast(texts, pa.string())), pa.float64())
    return pc.if_else(missing, _NO_NUMBER, numbers)
