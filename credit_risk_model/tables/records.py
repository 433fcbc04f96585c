"""Finds where a CSV text's records end, by the rules of Python's and Arrow's parsers.

A quote opens a quoted field only at the field's beginning. Elsewhere it is an ordinary character, as in 5".
"""

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]

_QUOTE, _LINE_BREAKS = ord('"'), (ord("\n"), ord("\r"))


def find_end_of_records(data: bytes, separator: str, ending: bytes) -> tuple[int, int | None]:
    """Find where the last whole record ends.

    Args:
        data: Text that starts at the beginning of a record.
        separator: The column separator.
        ending: The line ending.

    Returns:
        The position after the last whole record, or 0 if there is none; and the position of an unclosed quote, or None.
    """
    quotes = _find_quotes(data, separator)
    opened = int(quotes[-1]) if len(quotes) % 2 else None
    end = len(data)
    while (line_break := data.rfind(ending, 0, end)) >= 0:
        before = int(np.searchsorted(quotes, line_break))
        if before % 2 == 0:
            return line_break + 1, opened
        end = int(quotes[before - 1])
    return 0, opened


def _find_quotes(data: bytes, separator: str) -> Places:
    """Find the quotes that open and close fields, alternately; a doubled quote closes and reopens."""
    if b'"' not in data:
        return np.empty(0, dtype=np.int64)
    codes = np.frombuffer(data, dtype=np.uint8)
    places = np.flatnonzero(codes == _QUOTE)
    before = np.where(places > 0, codes[places - 1], _LINE_BREAKS[0])
    at_beginning = np.isin(before, (ord(separator), *_LINE_BREAKS))
    doubled = np.diff(places, prepend=-2) == 1
    if (at_beginning | doubled)[::2].all():
        return places
    return _drop_literal_quotes(places.tolist(), at_beginning.tolist())


def _drop_literal_quotes(places: list[int], at_beginning: list[bool]) -> Places:
    """Drop the quotes that are ordinary characters, one by one, since each depends on those before it."""
    kept: list[int] = []
    for place, begins in zip(places, at_beginning, strict=True):
        is_open = len(kept) % 2 == 1
        if is_open or begins or (kept and kept[-1] == place - 1):
            kept.append(place)
    return np.array(kept)
