import datetime
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import made_up_loans
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.tables import parquet_source
from credit_risk_model.tables.columns import Wanted
from credit_risk_model.tables.parquet_source import ParquetSource, Part, find_parts
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Shard, Task
from credit_risk_model.tables.stores import StoredFile

LOANS = made_up_loans(10)
LEVELS = [feature.name for feature in CONTRACT_FEATURES if feature.levels]


def write(path: Path, loans: pa.Table, rows: int = 100) -> Path:
    """Write loans as Parquet, in row groups of some rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(loans, path, row_group_size=rows)
    return path


def tables(tasks: list[Task]) -> pa.Table:
    """What tasks read, as one table."""
    return pa.concat_tables([task.parse().table for task in tasks])


def test_levels_are_read_as_dictionaries(tmp_path: Path) -> None:
    """Each distinct text is looked at once: levels are dictionaries, ids and numbers are not."""
    table = tables([*open_source(write(tmp_path / "loans.parquet", LOANS), ("id",)).tasks()])
    assert [name for name in table.column_names if pa.types.is_dictionary(table[name].type)] == LEVELS
    assert table["id"].to_pylist() == LOANS["id"].to_pylist()


def test_rows_are_numbered_and_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard knows the rows before it; its tasks grow to all of its own work; a chunk is in one row group."""
    monkeypatch.setattr(parquet_source, "CHUNK_ROWS", 3)
    path = write(tmp_path / "loans.parquet", LOANS, rows=5)
    source = open_source(path, ("id",))
    tasks = [*source.tasks()]
    assert [task.done for task in tasks] == [0.3, 0.5, 0.8, 1.0]
    assert [task.parse().rows for task in tasks] == [3, 2, 3, 2]
    assert (source.pieces, source.rows_before) == (2, 0)
    second = open_source(path, ("id",), Shard(2, 2))
    tasks = [*second.tasks()]
    assert (second.rows_before, [task.done for task in tasks]) == (5, [0.6, 1.0])
    assert tables(tasks)["id"].to_pylist() == LOANS["id"].to_pylist()[5:]


def test_all_columns_are_there_as_they_are(tmp_path: Path) -> None:
    """Read as they are, the columns have the file's own names, order and types, dictionaries only where it has some."""
    loans = LOANS.append_column("Note ", pa.array(["x"] * 10)).rename_columns({"annual_income": "annual_inc"})
    source = open_source(write(tmp_path / "loans.parquet", loans))
    assert source.schema.equals(loans.schema)
    assert tables([*source.tasks(as_they_are=True)]).equals(loans)
    assert source.get_column_name("annual_income") == "annual_inc"
    assert source.get_column_name("zip_code") == "zip_code"


def test_values_that_were_converted_are_counted(tmp_path: Path) -> None:
    """A percent sign is counted in Parquet as in CSV."""
    rates = pa.array([f"{rate}%" for rate in LOANS["interest_rate"].to_pylist()])
    loans = LOANS.set_column(LOANS.schema.get_field_index("interest_rate"), "interest_rate", rates)
    (task,) = open_source(write(tmp_path / "loans.parquet", loans)).tasks()
    assert task.parse().converted == {"interest_rate: percent sign": 10}
    assert task.parse().table["interest_rate"].to_pylist() == LOANS["interest_rate"].to_pylist()


def in_hives_folders(folder: Path, change: Callable[[pa.Table], pa.Table], *keys: str) -> Path:
    """Write the loans into several of Hive's folders."""
    for key in keys:
        write(folder / key / "part.parquet", change(LOANS))
    return folder


def test_names_of_hives_folders_are_columns_of_all_their_rows(tmp_path: Path) -> None:
    """A column of the folders' names has one type, is null where the folder is Hive's null, and may be an id."""
    book = in_hives_folders(
        tmp_path / "book", lambda loans: loans.drop_columns(["term"]), "term= 36 months/pool=7",
        "term= 60 months/pool=8", "term= 60 months/pool=__HIVE_DEFAULT_PARTITION__",
    )  # fmt: skip
    source = open_source(book, ("pool",))
    table = tables([*source.tasks()])
    assert table["term"].to_pylist() == [" 36 months"] * 10 + [" 60 months"] * 20
    assert table["pool"].to_pylist() == [7] * 10 + [8] * 10 + [None] * 10
    assert source.ids == pa.schema([("pool", table["pool"].type)])
    as_they_are = tables([*source.tasks(as_they_are=True)])
    assert as_they_are.schema.equals(source.schema)
    assert set(source.schema.names) == {*LOANS.column_names, "pool"}
    assert as_they_are["pool"].to_pylist() == table["pool"].to_pylist()


def test_latest_month_may_be_a_folders_name(tmp_path: Path) -> None:
    """The latest of all folders' months is that of the snapshot, wherever its folder stands."""

    def change(loans: pa.Table) -> pa.Table:
        issued = pa.array([datetime.date(2014, 11, 1)] * loans.num_rows)
        return loans.drop_columns([AGE]).append_column("issue_d", issued)

    months = ("Dec-2014", "Feb-2015", "Jan-2015")
    book = in_hives_folders(tmp_path / "book", change, *(f"last_pymnt_d={month}" for month in months))
    source = open_source(book)
    assert source.age == "whole months from issue_d to 2015-02, the latest last_pymnt_d, at most the term's"
    assert set(tables([*source.tasks()])[AGE].to_pylist()) == {3}


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string()), pa.date32(), pa.binary()])
def test_months_of_any_row_group_count(kind: pa.DataType, tmp_path: Path) -> None:
    """The latest month is found in text, in dictionaries and in dates, also in the last of several row groups."""
    texts = ["Mar-2015"] * 9 + ["May-2015"]
    dates = [datetime.date(2015, 3, 1)] * 9 + [datetime.date(2015, 5, 1)]
    months = pa.array(dates) if kind == pa.date32() else pa.array(texts).cast(kind)
    loans = LOANS.drop_columns([AGE]).append_column("issue_d", months).append_column("last_pymnt_d", months)
    source = open_source(write(tmp_path / "loans.parquet", loans, rows=4))
    assert "to 2015-05, the latest last_pymnt_d" in source.age
    assert tables([*source.tasks()])[AGE].to_pylist() == [2] * 9 + [0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annual_income": None}, "column annual_income of b.parquet is missing, but double in a.parquet."),
        ({"term": pa.binary()}, "column term of b.parquet is binary, but string in a.parquet."),
        ({"id": pa.large_string()}, "column id of b.parquet is large_string, but string in a.parquet."),
    ],
)
def test_parts_that_differ_are_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    """A part that lacks a column, or has it in another type, is named with both types."""
    ((name, kind),) = change.items()
    place = LOANS.schema.get_field_index(name)
    other = LOANS.drop_columns([name]) if kind is None else LOANS.set_column(place, name, LOANS[name].cast(kind))
    write(tmp_path / "book" / "a.parquet", LOANS)
    write(tmp_path / "book" / "b.parquet", other)
    with pytest.raises(
        DataError, match=f"^{re.escape(f'book: {words} Write all parts with the same columns and types.')}$"
    ):
        open_source(tmp_path / "book", ("id",))


def test_column_without_values_may_have_no_type_in_a_part(tmp_path: Path) -> None:
    """A column of nothing but nulls has no type where pandas wrote it; the part is read all the same."""
    place = LOANS.schema.get_field_index("debt_to_income_ratio")
    write(tmp_path / "book" / "a.parquet", LOANS)
    write(tmp_path / "book" / "b.parquet", LOANS.set_column(place, "debt_to_income_ratio", pa.nulls(10)))
    table = tables([*open_source(tmp_path / "book").tasks()])
    assert table["debt_to_income_ratio"].to_pylist() == LOANS["debt_to_income_ratio"].to_pylist() + [None] * 10


def test_parts_of_other_columns_can_not_be_one_table(tmp_path: Path) -> None:
    """Where all columns are wanted as they are, all parts must have the same."""
    write(tmp_path / "book" / "a.parquet", LOANS.append_column("note", pa.array(["x"] * 10)))
    write(tmp_path / "book" / "b.parquet", LOANS)
    _, second = open_source(tmp_path / "book").tasks(as_they_are=True)
    words = (
        "book: the columns of b.parquet differ from those of a.parquet, or two have the same name. Write all parts "
        "with the same columns and types."
    )
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        second.parse()


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["a"], pa.string()),
        (["a"], pa.large_string()),
        ([1], pa.int16()),
        ([1.5], pa.float64()),
        ([True], pa.bool_()),
        ([datetime.date(2016, 1, 1)], pa.date32()),
        ([None], pa.null()),
    ],
)
def test_id_keeps_its_type(ids: list[Any], kind: pa.DataType, tmp_path: Path) -> None:
    """Ids that CSV can hold are passed through in their own type; views and dictionaries as what they hold."""
    loans = LOANS.slice(0, 1).drop_columns(["id"])
    source = open_source(write(tmp_path / "a.parquet", loans.append_column("key", pa.array(ids, kind))), ("key",))
    assert source.ids.field("key").type == kind
    assert tables([*source.tasks()])["key"].to_pylist() == ids
    as_dictionary = loans.append_column("key", pa.array(ids, kind).dictionary_encode())
    if kind not in (pa.null(), pa.large_string()):
        assert open_source(write(tmp_path / "b.parquet", as_dictionary), ("key",)).ids.field("key").type == kind


def test_id_that_is_no_plain_value_is_refused(tmp_path: Path) -> None:
    """Bytes and lists can't stand in a CSV file of scores."""
    loans = LOANS.append_column("key", pa.array([b"1"] * 10))
    words = "a.parquet: column key is of type binary, which can't be an id. Use text, numbers, dates or times."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        open_source(write(tmp_path / "a.parquet", loans), ("key",))


def test_files_are_read_in_any_of_arrows_filesystems(tmp_path: Path) -> None:
    """Schema, keys, row counts and loans are all read where the files lie."""
    in_hives_folders(tmp_path / "book", lambda loans: loans, "day=1", "day=2")
    folder = StoredFile(SubTreeFileSystem(str(tmp_path), LocalFileSystem()), "book")
    parts = find_parts(folder, folder.files())
    source = ParquetSource("book", parts, Wanted(ids=("day", "id")), Shard(), as_of=None, threads=1)
    table = tables([*source.tasks()])
    assert table["day"].to_pylist() == [1] * 10 + [2] * 10
    assert table["id"].to_pylist() == LOANS["id"].to_pylist() * 2
    assert [file.path for file in source.files] == ["book/day=1/part.parquet", "book/day=2/part.parquet"]


def test_folders_above_the_book_are_no_columns(tmp_path: Path) -> None:
    """Only the folders within the one that was named give columns."""
    book = in_hives_folders(tmp_path / "year=2014" / "book", lambda loans: loans, "day=1")
    assert open_source(book).schema.names == [*LOANS.column_names, "day"]


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path) -> None:
    """A column that scoring does not need may be damaged, and is found to be so only where all columns are read."""
    note = pa.array([f"a note that is long enough {number}" for number in range(10)])
    path = write(tmp_path / "loans.parquet", LOANS.append_column("note", note))
    column = pq.read_metadata(path).row_group(0).column(LOANS.num_columns)
    assert column.path_in_schema == "note"
    begin = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(path.read_bytes())
    content[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    assert tables([*open_source(path, ("id",)).tasks()])["id"].to_pylist() == LOANS["id"].to_pylist()
    words = "loans.parquet: damaged, truncated, or not of the detected format. Fetch or write it again."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        tables([*open_source(path).tasks(as_they_are=True)])


def test_wanted_texts_are_read_as_dictionaries(tmp_path: Path) -> None:
    """Each distinct text of a wanted column is looked at once; one that is missing is left out."""
    loans = LOANS.append_column("note", pa.array(["a", "b"] * 5)).append_column("free", pa.array(["x"] * 10))
    source = open_source(write(tmp_path / "loans.parquet", loans), wanted=Wanted(texts=("note", "none")))
    table = tables([*source.tasks()])
    assert table.column_names == [*[name for name in LOANS.column_names if name != "id"], "note"]
    assert pa.types.is_dictionary(table["note"].type)
    assert table["note"].to_pylist() == ["a", "b"] * 5


def test_month_that_is_an_id_has_the_type_of_the_file(tmp_path: Path) -> None:
    """A column of months may be passed through as text, and gives the age as well."""
    loans = LOANS.drop_columns([AGE]).append_column("issue_d", pa.array(["Dec-2014"] * 10))
    source = open_source(write(tmp_path / "loans.parquet", loans), ("issue_d",), as_of="2015-02")
    table = tables([*source.tasks()])
    assert source.ids == pa.schema([("issue_d", pa.string())])
    assert table["issue_d"].type == pa.string()
    assert table["issue_d"].to_pylist() == ["Dec-2014"] * 10
    assert table[AGE].to_pylist() == [2] * 10


@pytest.mark.parametrize("column", ["issue_d", "snapshot_d", "last_pymnt_d"])
def test_numbers_are_no_months(column: str, tmp_path: Path) -> None:
    """The error names the file, the column and its type."""
    loans = LOANS.drop_columns([AGE])
    for name in dict.fromkeys(("issue_d", column)):
        loans = loans.append_column(name, pa.array([1 if name == column else "Dec-2014"] * 10))
    words = f"loans.parquet: column {column} is of type int64, not months. "
    with pytest.raises(DataError, match=f"^{re.escape(words)}"):
        open_source(write(tmp_path / "loans.parquet", loans), as_of="2015-02")


def test_wrong_type_is_told_with_the_files_name(tmp_path: Path) -> None:
    """Types are known before anything is read."""
    place = LOANS.schema.get_field_index("term")
    path = write(tmp_path / "loans.parquet", LOANS.set_column(place, "term", pa.array([True] * 10)))
    words = "loans.parquet: wrong type of column term (bool instead of text). Convert them."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        open_source(path)


def test_part_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    """Of several parts the one that is damaged or gone is named, when the files are opened and later."""
    for name in ("a", "b"):
        write(tmp_path / "book" / name, LOANS)
    source = open_source(tmp_path / "book")
    path = tmp_path / "book" / "b"
    content = path.read_bytes()
    gone = f"b: can't be read ({os.strerror(errno.ENOENT)})."
    path.unlink()
    with pytest.raises(DataError, match=f"^{re.escape(gone)}$"):
        list(source.tasks())
    parts = [Part(StoredFile.at(tmp_path / "book" / name), {}) for name in ("a", "b")]
    with pytest.raises(DataError, match=f"^{re.escape(gone)}$"):
        ParquetSource("book", parts, Wanted(), Shard(), as_of=None, threads=1)
    damaged = "b: damaged, truncated, or not of the detected format. Fetch or write it again."
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match=f"^{re.escape(damaged)}$"):
        ParquetSource("book", parts, Wanted(), Shard(), as_of=None, threads=1)
    path.write_bytes(content[:4] + bytes(400) + content[404:])
    with pytest.raises(DataError, match=f"^{re.escape(damaged)}$"):
        list(open_source(tmp_path / "book").tasks())
