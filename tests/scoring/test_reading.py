import csv
import gzip
import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loan_files import read, read_rows, to_csv

from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.tables.numbers import parse_numbers
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Chunk, Shard
from credit_risk_model.tables.texts import MISSING_TEXTS

KAGGLE = {feature.name: feature.column or feature.name for feature in CONTRACT_FEATURES}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".csv.gz", ".zip"])
@pytest.mark.parametrize("kaggle", [True, False])
def test_kind_and_names_do_not_matter(suffix: str, kaggle: bool, loan: dict[str, Any], tmp_path: Path) -> None:
    """CSV, packed or not, and Parquet give the same rows, in Kaggle's columns or the contract's, among others."""
    row = {"id": "7", "other": "x"} | {KAGGLE[name] if kaggle else name: value for name, value in loan.items()}
    path = tmp_path / f"loans{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        text = to_csv([row]).encode()
        if suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("loans/loans.csv", text)
        else:
            path.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    assert read_rows(path, ("id",)) == [loan | {"id": "7"}]


def test_id_column_has_its_name_in_any_case(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """A column that is read anyway is an id by the name that the file gives it."""
    (row,) = read_rows(write_csv(to_csv([loan | {"LOAN_STATUS": "Current"}])), ("LOAN_STATUS",))
    assert row["loan_status"] == "Current"


def test_rows_that_all_end_in_a_separator_are_whole(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """A comma at each row's end is no field too many; one at some rows' ends is."""
    header, first, second, _ = to_csv([loan, loan | {"term": " 60 months"}]).split("\n")
    assert [row["term"] for row in read_rows(write_csv(f"{header}\n{first},\n{second},\n"))] == [
        " 36 months",
        " 60 months",
    ]
    (chunk,) = read(write_csv(f"{header}\n{first},\n{second}\n"))
    assert list(chunk.broken) == [0]


def test_content_tells_the_kind(loan: dict[str, Any], tmp_path: Path) -> None:
    """A file's first bytes decide how it is read, not its name."""
    path = tmp_path / "loans.csv"
    pq.write_table(pa.Table.from_pylist([loan]), path)
    assert read_rows(path) == [loan]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_endings_and_marks_do_not_matter(
    ending: str, last: bool, mark: str, loan: dict[str, Any], write_csv: Callable[[str], Path]
) -> None:
    """Either line ending, a last line without one, and a byte order mark are read alike."""
    text = to_csv([loan, loan | {"term": " 60 months"}]).replace("\n", ending)
    path = write_csv("")
    path.write_bytes((mark + (text if last else text.removesuffix(ending))).encode())
    assert [row["term"] for row in read_rows(path)] == [" 36 months", " 60 months"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("text", ['a "quoted" word', "two\nlines", "a, comma", '"\n"\n', "plain"])
def test_quotes_hold_a_record_together(text: str, loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """Line breaks, commas and quotes within quotes end no record, wherever the file is cut."""
    rows = [loan | {"note": text * (number % 5), "id": str(number)} for number in range(50)]
    chunks = read(write_csv(to_csv(rows)), ("id",))
    assert len(chunks) > 5
    assert [row["id"] for chunk in chunks for row in chunk.table.to_pylist()] == [row["id"] for row in rows]


@pytest.mark.usefixtures("small_blocks")
def test_record_longer_than_a_block_is_whole(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """A record that fills several blocks comes with the last of them."""
    rows = [loan | {"note": "x" * 3500, "id": str(number)} for number in range(3)]
    assert [row["id"] for row in read_rows(write_csv(to_csv(rows)), ("id",))] == ["0", "1", "2"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_shards_are_the_whole(count: int, loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """The shards' chunks, one shard after the other, are those of the whole file, and each knows its first row."""
    rows = [loan | {"id": str(number), "note": "\n" * (number % 3)} for number in range(60)]
    rows[17]["note"] = 'a "quote"\n\nand an empty line'
    path = write_csv(to_csv(rows).replace("\n", "\n\n", 1))
    whole = read(path, ("id",))
    found: list[Chunk] = []
    for number in range(1, count + 1):
        source = open_source(path, ("id",), Shard(number, count))
        chunks = [task.parse() for task in source.tasks()]
        if chunks:
            assert source.rows_before == sum(chunk.rows for chunk in found)
        found += chunks
    assert [chunk.table for chunk in found] == [chunk.table for chunk in whole]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_parquet_shards_are_whole_row_groups(count: int, loan: dict[str, Any], tmp_path: Path) -> None:
    """A Parquet file's shards take its row groups, each once and in order."""
    path = tmp_path / "loans.parquet"
    rows = [loan | {"id": number} for number in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)
    found: list[int] = []
    for number in range(1, count + 1):
        source = open_source(path, ("id",), Shard(number, count))
        ids = [value for task in source.tasks() for value in task.parse().table["id"].to_pylist()]
        assert len(ids) % 10 == 0
        assert not ids or source.rows_before == len(found)
        found += ids
    assert found == list(range(40))


def test_record_of_a_wrong_length_is_broken(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """A record with too few or too many fields is reported by its position; an empty line is ignored."""
    header, row, _ = to_csv([loan]).split("\n")
    path = write_csv(f"{header}\n{row}\n\nTotal: 2\n{row}\n{row},9\n")
    (chunk,) = read(path)
    assert chunk.broken == {1: "1 fields where 17 are needed", 3: "18 fields where 17 are needed"}
    assert chunk.places.tolist() == [0, 2]


def test_text_that_is_no_number_is_not_finite(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """An invalid cell affects only itself: an invalid number is NaN, a missing one null."""
    rows = [loan, loan | {"annual_income": "65k"}, loan | {"annual_income": ""}, loan | {"interest_rate": " 7.5 "}]
    found = read_rows(write_csv(to_csv(rows)))
    assert math.isnan(found[1]["annual_income"])
    assert found[2]["annual_income"] is None
    assert found[3]["interest_rate"] == 7.5
    assert found[0] == loan


@settings(max_examples=500)
@given(
    st.one_of(
        st.sampled_from(MISSING_TEXTS), st.text("0123456789+-.eEinfatyINFATY \t", max_size=12), st.floats().map(repr)
    )
)
def test_one_bad_cell_changes_no_other(text: str) -> None:
    """A number is parsed alike, whether or not other cells of the block are valid."""
    plain = pa.chunked_array([[text.encode()]])
    try:
        fast = pa.csv.read_csv(
            io.BytesIO(f"{text},x\n".encode()),
            pa.csv.ReadOptions(column_names=["number", "x"]),
            convert_options=pa.csv.ConvertOptions(
                column_types={"number": pa.float64()}, null_values=list(MISSING_TEXTS)
            ),
        )["number"][0].as_py()
    except pa.ArrowInvalid:
        fast = math.nan
    slow = parse_numbers(plain)[0].as_py()
    assert repr(slow) == repr(fast)


@settings(max_examples=200)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_decimals_are_read_as_python_reads_them(values: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A number's text gives the same bits as in a request."""
    path = tmp_path_factory.mktemp("decimals") / "loans.csv"
    row = dict.fromkeys(KAGGLE, "1")
    path.write_text(to_csv([row | {"interest_rate": repr(value)} for value in values]))
    found = [value.as_py() for chunk in read(path) for value in chunk.table["interest_rate"]]
    assert [value.hex() for value in found] == [value.hex() for value in values]


def test_id_may_have_any_text(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """An id that looks like a number or a missing value is passed through as it stands."""
    ids = ["007", "NA", "", "nan", "1e5", " x "]
    found = read_rows(write_csv(to_csv([loan | {"id": text} for text in ids])), ("id",))
    assert [row["id"] for row in found] == ids


def test_other_columns_may_be_there_twice(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """Unneeded columns may have equal names, or none."""
    header, row, _ = to_csv([loan]).split("\n")
    assert read_rows(write_csv(f"x,{header},,x\n1,{row},2,3\n")) == [loan]


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int16(), pa.string())], ids=str
)
def test_levels_are_text_of_any_type(
    kind: pa.DataType, loan: dict[str, Any], archive_path: Path, tmp_path: Path
) -> None:
    """Text as pandas, Polars, Hive and Impala write it gets the same scores."""
    table = pa.Table.from_pylist([loan, loan | {"term": " 60 months", "home_ownership": "OWN"}])
    other = table
    for place, name in enumerate(table.column_names):
        if pa.types.is_string(table[name].type):
            other = other.set_column(place, name, table[name].cast(kind))
    found = []
    for content in (table, other):
        pq.write_table(content, tmp_path / "loans.parquet")
        score(Settings(tmp_path / "loans.parquet", tmp_path / "scores.csv", archive=str(archive_path)))
        found.append((tmp_path / "scores.csv").read_text())
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())])
def test_numbers_as_text_are_read_as_in_csv(kind: pa.DataType, loan: dict[str, Any], tmp_path: Path) -> None:
    """A Parquet column of text gives the numbers that a CSV file with these texts gives."""
    texts = ["13.56", " 7.5 ", "", "n/a", "1e1", "soon", "13,5"]
    parquet, text = tmp_path / "loans.parquet", tmp_path / "loans.csv"
    loans = pa.Table.from_pylist([loan] * len(texts))
    place = loans.schema.get_field_index("interest_rate")
    pq.write_table(loans.set_column(place, "interest_rate", pa.array(texts).cast(kind)), parquet)
    text.write_text(to_csv([loan | {"interest_rate": each} for each in texts]))
    found = [[row["interest_rate"] for row in read_rows(path)] for path in (parquet, text)]
    assert repr(found[0]) == repr(found[1]) == "[13.56, 7.5, None, None, 10.0, nan, nan]"


def test_empty_column_is_missing_values(loan: dict[str, Any], tmp_path: Path) -> None:
    """A Parquet column without a single value has no type: all of it is missing."""
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.Table.from_pylist([loan | {"term": None, "interest_rate": None}]), path)
    assert read_rows(path) == [loan | {"term": None, "interest_rate": None}]


@pytest.mark.usefixtures("small_blocks")
def test_stray_quotes_change_no_other_row(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """Quotes within texts, and line breaks within quotes, give the rows and the ids that Python's parser finds."""
    texts = [
        '5" pipe',
        'two"" of them',
        '"quoted" and not',
        'x" y"',
        '"a loan\n1,2,3\nwithin"',
        '"a ""b"", c"',
        "plain",
    ]
    header, row, _ = to_csv([loan]).split("\n")
    rows = [f"{number},{texts[number % len(texts)]},{row}" for number in range(60)]
    path = write_csv("\n".join([f"id,note,{header}", *rows, ""]))
    with path.open(newline="") as file:
        expected = [record["id"] for record in csv.DictReader(file)]
    chunks = read(path, ("id",))
    assert [value for chunk in chunks for value in chunk.table["id"].to_pylist()] == expected
    assert expected == [str(number) for number in range(60)]
    assert len(chunks) > 5
    assert [chunk.broken for chunk in chunks] == [{}] * len(chunks)
