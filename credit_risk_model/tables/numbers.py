"""Columns of numbers, however they are written."""

import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.tables.texts import MISSING_TEXTS, is_text

_NUMBER = r"(?i)^[ \t]*[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?|nan)[ \t]*$"
_PERCENT_SIGN = r"[ \t]*%[ \t]*$"
_NO_NUMBER = pa.scalar(None, pa.float64())

IN_PERCENT = ("debt_to_income_ratio", "interest_rate", "revolving_line_utilization_rate")
"""Fields whose numbers may have a percent sign."""


def to_numbers(column: pa.Array, *, percent: bool = False) -> tuple[pa.Array, int]:
    """Turn a column into numbers, where it holds text, as such or as a dictionary.

    Args:
        column: Numbers, or text; each distinct text is looked at once.
        percent: Whether a percent sign may follow a number.

    Returns:
        The numbers, NaN where a text is none and null where it is missing; and how many texts had a percent sign.
    """
    if not is_text(column.type):
        return column, 0
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts, signs = pc.cast(column.dictionary, pa.binary()), 0
    if percent:
        plain = pc.replace_substring_regex(texts, _PERCENT_SIGN, "")
        signs = pc.sum(pc.not_equal(plain, texts).take(column.indices)).as_py() or 0
        texts = plain
    return parse_numbers(texts).take(column.indices), signs


def parse_numbers(texts: pa.Array) -> pa.Array:
    """Turn bytes into numbers: NaN where they are none, null where one is missing."""
    missing = pc.is_in(texts, pa.array([text.encode() for text in MISSING_TEXTS]))
    texts = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, pa.scalar(b"nan"))
    numbers = pc.cast(pc.ascii_trim_whitespace(pc.cast(texts, pa.string())), pa.float64())
    return pc.if_else(missing, _NO_NUMBER, numbers)
