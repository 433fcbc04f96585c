"""Columns of text: each distinct text is looked at once, however many rows have it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[np.float64]


def is_text(kind: pa.DataType) -> bool:
    """Say whether a column of this type holds text, as such or as a dictionary."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def number_texts(column: pa.Array, number_of: Callable[[bytes], float], missing: float) -> Array:
    """Turn a column of text into numbers.

    Args:
        column: Text or bytes, as such or as a dictionary.
        number_of: Finds the number of a text in UTF-8; called once for each distinct text.
        missing: The number of a null.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts = pc.cast(column.dictionary, pa.binary()).to_pylist()
    numbers = np.array([*(missing if text is None else number_of(text) for text in texts), missing])
    return np.asarray(numbers[column.indices.fill_null(len(texts)).to_numpy()])
