import pyarrow as pa
import pytest

from credit_risk_model.tables.texts import combine_chunks


@pytest.mark.parametrize("chunks", [[], [[1]], [[1], [2]], [[1, 2], [], [None]]])
def test_chunks_become_one_array(chunks: list[list[int | None]]) -> None:
    """An array of a column has the values of all its chunks, in order."""
    array = combine_chunks(pa.chunked_array(chunks, pa.int64()))
    assert isinstance(array, pa.Array)
    assert array.to_pylist() == [value for chunk in chunks for value in chunk]
