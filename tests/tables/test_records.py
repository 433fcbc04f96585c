import csv
import io

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_risk_model.tables.records import find_end_of_records

TEXTS = st.text('ab,"\n', max_size=40)


def records(text: str) -> list[list[str]]:
    """The records that Python's parser finds, without empty lines."""
    return [record for record in csv.reader(io.StringIO(text, newline="")) if record]


@settings(max_examples=1000)
@given(TEXTS)
def test_records_end_where_pythons_parser_ends_them(text: str) -> None:
    """Cut at any end that is found, the parts have the records of the whole, and the last of them is not yet ended."""
    end, opened = find_end_of_records(text.encode(), ",", b"\n")
    assert records(text[:end]) + records(text[end:]) == records(text)
    marked = records(f"{text}x\nnext\n")
    assert (marked[-1:] == [["next"]]) == (opened is None)
    assert len(records(text[end:])) <= 1


@settings(max_examples=500)
@given(st.lists(st.lists(st.text('ab,"\n', max_size=6), min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_is_written_is_cut_into_whole_records(rows: list[list[str]]) -> None:
    """Rows that a writer has quoted are each found whole, however they are cut."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode()
    for cut in range(len(data) + 1):
        end, _ = find_end_of_records(data[:cut], ",", b"\n")
        assert [*records(data[:end].decode()), *records(data[end:].decode())] == records(text.getvalue())


@settings(max_examples=500)
@given(st.lists(st.lists(st.text('ab"', max_size=4), min_size=2, max_size=2), min_size=1, max_size=6))
def test_arrow_finds_the_same_fields(rows: list[list[str]]) -> None:
    """Stray quotes are the same text to Arrow's parser, which reads the records, as to Python's."""
    text = "".join(f"{first},{second},\n" for first, second in rows)
    expected = [record for record in records(text) if len(record) == 3]
    found = pyarrow.csv.read_csv(
        pa.BufferReader(text.encode()),
        pyarrow.csv.ReadOptions(column_names=["a", "b", "c"]),
        pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda _: "skip"),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys("abc", pa.string()), strings_can_be_null=False),
    )
    assert [list(row.values()) for row in found.to_pylist()] == expected


@pytest.mark.parametrize(
    ("text", "end", "opened"),
    [
        (b"", 0, None),
        (b"a,b", 0, None),
        (b"\na,b", 1, None),
        (b"a,b\nc", 4, None),
        (b'a,5" pipe\nb,"two\nlines"\nc', 24, None),
        (b'a,b\nc,"open\nd,e\n', 4, 6),
        (b'"a""b\n', 0, 3),
    ],
)
def test_ends_and_open_quotes_are_found(text: bytes, end: int, opened: int | None) -> None:
    """The last end outside quotes, and the quote that is still open, are where one sees them."""
    assert find_end_of_records(text, ",", b"\n") == (end, opened)
