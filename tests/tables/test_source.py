from collections import Counter

import pyarrow as pa
import pytest

from credit_risk_model.tables.source import Chunk, Shard


@pytest.mark.parametrize(
    ("chunks", "count", "parts"),
    [
        (0, 2, [[], []]),
        (1, 2, [[], [0]]),
        (5, 1, [[0, 1, 2, 3, 4]]),
        (5, 2, [[0, 1], [2, 3, 4]]),
        (7, 3, [[0, 1], [2, 3], [4, 5, 6]]),
        (2, 3, [[], [0], [1]]),
    ],
)
def test_shards_take_each_chunk_once_and_in_order(chunks: int, count: int, parts: list[list[int]]) -> None:
    """The shards' sizes differ by at most one chunk."""
    assert [list(Shard(number, count).of(chunks)) for number in range(1, count + 1)] == parts


def test_shard_is_all_of_a_file_unless_it_is_told() -> None:
    """Without a number there is one part."""
    assert Shard() == Shard(1, 1)
    assert list(Shard().of(3)) == [0, 1, 2]


def test_rows_of_a_chunk_are_numbered_with_those_that_are_not_in_its_table() -> None:
    """Rows that could not be parsed and lines that are not loans are rows of the file, each in its place."""
    chunk = Chunk(pa.table({"id": [1, 2, 3]}), {1: "bad"}, (0, 4))
    assert chunk.rows == 6
    assert chunk.places.tolist() == [2, 3, 5]
    whole = Chunk(pa.table({"id": [1, 2, 3]}))
    assert (whole.rows, whole.places.tolist()) == (3, [0, 1, 2])
    assert (whole.broken, whole.skipped, whole.converted) == ({}, (), Counter())
