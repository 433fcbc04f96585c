import csv
import gzip
import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.run import Settings, score
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.numbers import parse_numbers
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Chunk, Shard
from credit_risk_model.tables.texts import MISSING_TEXTS

KAGGLE = {feature.name: feature.column or feature.name for feature in CONTRACT_FEATURES}


def read(path: Path, ids: tuple[str, ...] = (), shard: Shard | None = None) -> list[Chunk]:
    """All chunks of a file."""
    return [task.parse() for task in open_source(path, ids, shard).tasks()]


def read_rows(path: Path, ids: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """All rows of a file, levels as text."""
    rows = [row for chunk in read(path, ids) for row in chunk.table.to_pylist()]
    return [
        {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()} for row in rows
    ]


def to_csv(rows: list[dict[str, Any]], **options: Any) -> str:
    """Rows as CSV with a header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator="\n", **options)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.fixture
def book(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text as a CSV file."""

    def write(text: str) -> Path:
        path = tmp_path / "loans.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut CSV files into blocks of 1,000 bytes."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 1000)


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


def test_locked_zip_is_refused(loan: dict[str, Any], tmp_path: Path) -> None:
    """A zip with a password is told as such, not as damaged."""
    path = tmp_path / "loans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("loans.csv", to_csv([loan]))
    content = bytearray(path.read_bytes())
    for place in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[place] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^loans\.zip: encrypted, or compressed by an unsupported method. Unpack it.$"):
        open_source(path)


def test_id_column_has_its_name_in_any_case(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """A column that is read anyway is an id by the name that the file gives it."""
    (row,) = read_rows(book(to_csv([loan | {"LOAN_STATUS": "Current"}])), ("LOAN_STATUS",))
    assert row["loan_status"] == "Current"


def test_rows_that_all_end_in_a_separator_are_whole(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """A comma at each row's end is no field too many; one at some rows' ends is."""
    header, first, second, _ = to_csv([loan, loan | {"term": " 60 months"}]).split("\n")
    assert [row["term"] for row in read_rows(book(f"{header}\n{first},\n{second},\n"))] == [" 36 months", " 60 months"]
    (chunk,) = read(book(f"{header}\n{first},\n{second}\n"))
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
    ending: str, last: bool, mark: str, loan: dict[str, Any], book: Callable[[str], Path]
) -> None:
    """Either line ending, a last line without one, and a byte order mark are read alike."""
    text = to_csv([loan, loan | {"term": " 60 months"}]).replace("\n", ending)
    path = book("")
    path.write_bytes((mark + (text if last else text.removesuffix(ending))).encode())
    assert [row["term"] for row in read_rows(path)] == [" 36 months", " 60 months"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("text", ['a "quoted" word', "two\nlines", "a, comma", '"\n"\n', "plain"])
def test_quotes_hold_a_record_together(text: str, loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """Line breaks, commas and quotes within quotes end no record, wherever the file is cut."""
    rows = [loan | {"note": text * (number % 5), "id": str(number)} for number in range(50)]
    chunks = read(book(to_csv(rows)), ("id",))
    assert len(chunks) > 5
    assert [row["id"] for chunk in chunks for row in chunk.table.to_pylist()] == [row["id"] for row in rows]


@pytest.mark.usefixtures("small_blocks")
def test_record_longer_than_a_block_is_whole(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """A record that fills several blocks comes with the last of them."""
    rows = [loan | {"note": "x" * 3500, "id": str(number)} for number in range(3)]
    assert [row["id"] for row in read_rows(book(to_csv(rows)), ("id",))] == ["0", "1", "2"]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_shards_are_the_whole(count: int, loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """The shards' chunks, one shard after the other, are those of the whole file, and each knows its first row."""
    rows = [loan | {"id": str(number), "note": "\n" * (number % 3)} for number in range(60)]
    rows[17]["note"] = 'a "quote"\n\nand an empty line'
    path = book(to_csv(rows).replace("\n", "\n\n", 1))
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


def test_gzip_has_no_shards(loan: dict[str, Any], tmp_path: Path) -> None:
    """A packed file can only be read from its beginning, so it is refused as shards, with the cure."""
    path = tmp_path / "loans.csv.gz"
    path.write_bytes(gzip.compress(to_csv([loan]).encode()))
    with pytest.raises(
        ConfigurationError,
        match=r"loans.csv.gz: a gzip, zip or UTF-16 file can't be read in parts. Convert it to Parquet: "
        r"credit-risk convert loans.csv.gz OUTPUT.parquet$",
    ):
        open_source(path, (), Shard(1, 2))


def test_record_of_another_length_is_broken(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """A record with too few or too many fields is no row, and its place is told; an empty line is nothing."""
    header, row, _ = to_csv([loan]).split("\n")
    path = book(f"{header}\n{row}\n\nTotal: 2\n{row}\n{row},9\n")
    (chunk,) = read(path)
    assert chunk.broken == {1: "1 fields where 17 are needed", 3: "18 fields where 17 are needed"}
    assert chunk.places.tolist() == [0, 2]


def test_text_that_is_no_number_is_not_finite(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """A cell that does not parse spoils only itself: NaN where it is no number, null where it is missing."""
    rows = [loan, loan | {"annual_income": "65k"}, loan | {"annual_income": ""}, loan | {"interest_rate": " 7.5 "}]
    found = read_rows(book(to_csv(rows)))
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
    """A number is read alike whether or not another cell of the block is one."""
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
    """A number's text gives the very bits that it gives in a request."""
    path = tmp_path_factory.mktemp("decimals") / "loans.csv"
    row = dict.fromkeys(KAGGLE, "1")
    path.write_text(to_csv([row | {"interest_rate": repr(value)} for value in values]))
    found = [value.as_py() for chunk in read(path) for value in chunk.table["interest_rate"]]
    assert [value.hex() for value in found] == [value.hex() for value in values]


def test_id_may_have_any_text(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """An id that looks like a number or a missing value is passed through as it stands."""
    ids = ["007", "NA", "", "nan", "1e5", " x "]
    found = read_rows(book(to_csv([loan | {"id": text} for text in ids])), ("id",))
    assert [row["id"] for row in found] == ids


def test_missing_columns_are_named(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """A file without a needed column is refused by both names that the column may have, ids by the one."""
    del loan["annual_income"], loan["term"]
    with pytest.raises(
        DataError, match=r"^loans.csv: no column annual_income \(annual_inc\), term, id. Add each under one"
    ):
        open_source(book(to_csv([loan])), ("id",))


@pytest.mark.parametrize("extra", ["annual_inc", "annual_income"])
def test_column_twice_is_refused(extra: str, loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """Where a field is there twice, by one name or by both, nobody knows which is meant."""
    header, row, _ = to_csv([loan]).split("\n")
    with pytest.raises(DataError, match=r"^loans.csv: more than one column for annual_income. Keep one of each.$"):
        open_source(book(f"{header},{extra}\n{row},1\n"))


def test_other_columns_may_be_there_twice(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """Columns that nobody asks for may have the same name, or none."""
    header, row, _ = to_csv([loan]).split("\n")
    assert read_rows(book(f"x,{header},,x\n1,{row},2,3\n")) == [loan]


@pytest.mark.parametrize("name", ["annual_income", "annual_inc", "risk_probability", "row"])
def test_id_of_another_meaning_is_refused(name: str, loan: dict[str, Any], book: Callable[[str], Path]) -> None:
    """A field of the contract, or a column of the output, is no id."""
    with pytest.raises(ConfigurationError, match=f"{name} can't be an id column"):
        open_source(book(to_csv([loan])), (name,))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "loans: the file or its first line is empty. Add a header and rows"),
        (b"\n\n", "loans: the file or its first line is empty"),
        (b"PAR1 and nothing more", "loans: damaged, truncated, or not of the detected format"),
        (b"\x1f\x8b", "loans: damaged, truncated, or not of the detected format"),
        (b"\x1f\x8b\x08 nothing", "loans: damaged, truncated, or not of the detected format"),
    ],
)
def test_unreadable_file_is_refused(content: bytes, match: str, tmp_path: Path) -> None:
    """A file that can't be read is an error that says so and what to do."""
    path = tmp_path / "loans"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match):
        read(path)


def test_truncated_gzip_is_refused(loan: dict[str, Any], tmp_path: Path) -> None:
    """A packed file that ends too early is damaged, however much of it could be read."""
    path = tmp_path / "loans.csv.gz"
    path.write_bytes(gzip.compress(to_csv([loan] * 100).encode())[:-4])
    with pytest.raises(DataError, match=r"loans.csv.gz: damaged, truncated"):
        read(path)


def test_damaged_page_is_refused(loan: dict[str, Any], tmp_path: Path) -> None:
    """A Parquet file that is damaged between its ends is refused when that place is read."""
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.Table.from_pylist([loan] * 100), path)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"loans.parquet: damaged, truncated"):
        read(path)


def test_pipe_is_refused(tmp_path: Path) -> None:
    """The first bytes are read to tell the kind, which a pipe would then lack."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"^pipe: a pipe or terminal can't"):
        open_source(tmp_path / "pipe")


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    """A path that leads nowhere, or to a folder without loans, is named without its folders."""
    with pytest.raises(DataError, match=r"^none.csv: no such file.$"):
        open_source(tmp_path / "none.csv")
    (tmp_path / "_SUCCESS").write_bytes(b"")
    with pytest.raises(DataError, match=r": the folder has no file of loans. Name a file, or a folder that has some.$"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "annual_income",
            [65000],
            r"wrong type of column annual_income \(list<element: int64> instead of numbers\). Convert them.$",
        ),
        ("annual_income", True, r"wrong type of column annual_income \(bool instead of numbers\). Convert them.$"),
        ("home_ownership", 1, r"wrong type of column home_ownership \(int64 instead of text\). Convert them.$"),
    ],
)
def test_column_of_another_type_is_refused(
    field: str, value: Any, message: str, loan: dict[str, Any], tmp_path: Path
) -> None:
    """Lists and truth values are no numbers, as in a request; numbers are no levels."""
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.Table.from_pylist([loan | {field: value}]), path)
    with pytest.raises(DataError, match=message):
        open_source(path)


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


def test_all_that_is_wrong_with_columns_is_named(loan: dict[str, Any], tmp_path: Path) -> None:
    """Columns that are missing and those of other types are told at once, not one a run."""
    del loan["term"]
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.Table.from_pylist([loan | {"annual_income": True, "home_ownership": 1}]), path)
    with pytest.raises(
        DataError,
        match=r"^loans.parquet: no column term, id. Add each under one of its names. Wrong type of column "
        r"annual_income \(bool instead of numbers\), home_ownership \(int64 instead of text\). Convert them.$",
    ):
        open_source(path, ("id",))


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
def test_quote_that_is_never_closed_is_refused(
    loan: dict[str, Any], book: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose records never end is no CSV file, and is not read into memory to see that."""
    monkeypatch.setattr(csv_file, "_MAX_RECORD_BYTES", 5000)
    header, row, _ = to_csv([loan]).split("\n")
    for rows in (1, 100):
        with pytest.raises(DataError, match=r"^loans.csv: line 3: a quote is never closed. Close or remove it.$"):
            read(book(f'{header}\n{row}\n"{row}\n' + f"{row}\n" * rows))


@pytest.mark.usefixtures("small_blocks")
def test_line_without_end_is_refused(
    loan: dict[str, Any], book: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of one endless line is no CSV file, and is not read into memory to see that."""
    monkeypatch.setattr(csv_file, "_MAX_RECORD_BYTES", 5000)
    with pytest.raises(DataError, match=r"^loans.csv: not a CSV file: a line has more than 5,000 bytes.$"):
        read(book(to_csv([loan]) + "x" * 10_000))


@pytest.mark.usefixtures("small_blocks")
def test_stray_quotes_change_no_other_row(loan: dict[str, Any], book: Callable[[str], Path]) -> None:
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
    path = book("\n".join([f"id,note,{header}", *rows, ""]))
    with path.open(newline="") as file:
        expected = [record["id"] for record in csv.DictReader(file)]
    chunks = read(path, ("id",))
    assert [value for chunk in chunks for value in chunk.table["id"].to_pylist()] == expected
    assert expected == [str(number) for number in range(60)]
    assert len(chunks) > 5
    assert [chunk.broken for chunk in chunks] == [{}] * len(chunks)


def test_id_that_is_no_text_is_refused(loan: dict[str, Any], tmp_path: Path) -> None:
    """An id column in another encoding than UTF-8 can't be passed through."""
    path = tmp_path / "loans.csv"
    path.write_bytes(to_csv([loan | {"id": "é"}]).encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read(path, ("id",))
