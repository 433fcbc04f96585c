"""Columns of numbers, however they are written."""

import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.tables.texts import MISSING_TEXTS, is_text

_NUMBER = r"(?i)^[ \t]*[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?|nan)[ \t]*$"
_PERCENT_SIGN = r"([\d.])[ \t]*%[ \t]*$"
_NO_NUMBER = pa.scalar(None, pa.float64())
IN_PERCENT = ("debt_to_income_ratio", "interest_rate", "revolving_line_utilization_rate")
"""Fields whose numbers may have a percent sign."""


def to_numbers(column: pa.Array, *, percent: bool = False) -> tuple[pa.Array, int]:
    """Turn a column into numbers.

    A number has the bits that the service gives to its decimal digits: a float of 32 bits those of the shortest decimal
    that means it (13.56, not 13.5600004), and a decimal those of the nearest float.

    Args:
        column: Numbers of any type or text, as such or as a dictionary; each distinct text is looked at once.
        percent: Whether a percent sign may follow a number.

    Returns:
        The numbers, NaN where a text is none and null where it is missing; and how many texts had a percent sign.
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
    """Say whether a column of this type holds numbers, as such or as a dictionary."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _to_floats(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return _to_floats(column.dictionary).take(column.indices)
    # A decimal's own cast is off by a bit now and then.
    if pa.types.is_decimal(column.type) or pa.types.is_float32(column.type):
        column = pc.cast(column, pa.string())
    # Unsafe only in that a whole number beyond 2**53, which no field allows, may lose digits.
    return pc.cast(column, pa.float64(), safe=False)


def parse_numbers(texts: pa.Array) -> pa.Array:
    """Turn bytes into numbers: NaN where they are none, null where one is missing."""
    missing = pc.is_in(texts, pa.array([text.encode() for text in MISSING_TEXTS]))
    texts = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, pa.scalar(b"nan"))
    numbers = pc.cast(pc.ascii_trim_whitespace(pc.cast(texts, pa.string())), pa.float64())
    return pc.if_else(missing, _NO_NUMBER, numbers)
