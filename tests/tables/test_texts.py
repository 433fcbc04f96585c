import pyarrow as pa
import pytest

from credit_risk_model.tables.texts import combine_chunks, is_text, number_texts


@pytest.mark.parametrize("chunks", [[], [[1]], [[1], [2]], [[1, 2], [], [None]]])
def test_chunks_become_one_array(chunks: list[list[int | None]]) -> None:
    """An array of a column has the values of all its chunks, in order."""
    array = combine_chunks(pa.chunked_array(chunks, pa.int64()))
    assert isinstance(array, pa.Array)
    assert array.to_pylist() == [value for chunk in chunks for value in chunk]


def test_single_chunk_is_not_copied() -> None:
    """A column of one chunk is that chunk, so that a large column is not held twice."""
    chunk = pa.array([1, 2, 3])
    found = combine_chunks(pa.chunked_array([chunk]))
    assert found.buffers()[1].address == chunk.buffers()[1].address


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary()])
@pytest.mark.parametrize("is_encoded", [False, True])
def test_each_distinct_text_is_converted_once(kind: pa.DataType, is_encoded: bool) -> None:
    """Nulls and texts that mean a missing value get one number, and every other text its own."""
    asked: list[bytes] = []

    def encode(text: bytes) -> float:
        asked.append(text)
        return float(len(text))

    column = pa.array(["a", None, "bc", "a", "NA", "", "n/a", "nan", "NaN", "NONE", "bc"]).cast(kind)
    if is_encoded:
        column = column.cast(pa.string()).dictionary_encode().cast(pa.dictionary(pa.int8(), kind))
    found = number_texts(column, encode, -1.0)
    assert found.tolist() == [1, -1, 2, 1, -1, -1, -1, -1, -1, 4, 2]
    assert asked == [b"a", b"bc", b"NONE"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
)
def test_text_may_be_plain_or_encoded(kind: pa.DataType) -> None:
    """Text and bytes of any width are text, also as a dictionary's values; anything else is not."""
    assert is_text(kind)
    assert is_text(pa.dictionary(pa.int8(), kind))
    for other in (pa.int64(), pa.null(), pa.date32(), pa.list_(kind), pa.dictionary(pa.int8(), pa.int64())):
        assert not is_text(other)
