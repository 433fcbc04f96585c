"""Converts columns of text, parsing each distinct text once."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[np.float64]

MISSING_TEXTS = ("", "n/a", "NaN", "nan", "NA")
"""Texts that mean a missing value. `NONE` is not one of them: it is a home ownership, outside the contract."""

_MISSING = {None, *(text.encode() for text in MISSING_TEXTS)}
_TEXTS = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view())


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds text or bytes, plain or dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in _TEXTS


def number_texts(column: pa.Array, encode: Callable[[bytes], float], missing: float) -> Array:
    """Convert a column of text to numbers.

    Args:
        column: Text or bytes, plain or dictionary-encoded.
        encode: Returns the number of a text in UTF-8; called once for each distinct text that is not missing.
        missing: The number of nulls and of `MISSING_TEXTS`.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts = pc.cast(column.dictionary, pa.binary()).to_pylist()
    numbers = np.array([*(missing if text in _MISSING else encode(text) for text in texts), missing])
    return np.asarray(numbers[column.indices.fill_null(len(texts)).to_numpy()])


def combine_chunks(column: pa.ChunkedArray) -> pa.Array:
    """Combine a column's chunks into one array; does not copy a single chunk."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
