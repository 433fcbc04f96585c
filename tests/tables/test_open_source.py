import errno
import gzip
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loan_files import to_csv

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import AGE
from credit_risk_model.tables.columns import Wanted
from credit_risk_model.tables.csv_source import CsvSource
from credit_risk_model.tables.parquet_source import ParquetSource
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Shard

Loan = dict[str, Any]


def write_parquet(path: Path, loan: Loan) -> Path:
    """Write two loans as Parquet, each in a row group of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{"id": "1", **loan}, {"id": "2", **loan}]), path, row_group_size=1)
    return path


def write_csv(path: Path, loan: Loan) -> Path:
    """Write two loans as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_csv([{"id": "1", **loan}, {"id": "2", **loan}]))
    return path


def ids_of(path: Path | str, shard: Shard | None = None) -> list[str]:
    """The ids of all loans, in order."""
    tasks = open_source(path, ("id",), shard).tasks()
    return [value for task in tasks for value in task.parse().table["id"].to_pylist()]


def refuse(words: str, path: Path, error: type[Exception] = DataError, **arguments: Any) -> None:
    """Expect a file to be refused in these words."""
    with pytest.raises(error, match=f"^{re.escape(words)}$"):
        open_source(path, **arguments)


def test_first_bytes_decide_the_format(loan: Loan, tmp_path: Path) -> None:
    """A file is Parquet if it begins like one, whatever its name, and CSV otherwise; a URI is read like a path."""
    parquet, text = write_parquet(tmp_path / "a.csv", loan), write_csv(tmp_path / "b.parquet", loan)
    assert isinstance(open_source(parquet), ParquetSource)
    assert isinstance(open_source(text), CsvSource)
    for path in (parquet, text):
        assert ids_of(path) == ids_of(path.as_uri()) == ["1", "2"]


@pytest.mark.parametrize("write", [write_parquet, write_csv])
def test_folder_is_read_in_the_order_of_names(write: Any, loan: Loan, tmp_path: Path) -> None:
    """A folder's files are one table; a shard of it is a part, and a folder of one file is a folder."""
    folder = tmp_path / "loans"
    write(folder / "a" / "1", loan)
    assert ids_of(folder) == ["1", "2"]
    write(folder / "b" / "1", loan)
    assert ids_of(folder) == ids_of(folder.as_uri()) == ["1", "2", "1", "2"]
    assert ids_of(folder, Shard(2, 2)) == ["1", "2"]
    assert [file.path for file in open_source(folder).files] == [str(folder / "a" / "1"), str(folder / "b" / "1")]


def test_folders_of_a_single_file_give_no_columns(loan: Loan, tmp_path: Path) -> None:
    """The names of the folders above a file that was named itself are no columns."""
    path = write_parquet(tmp_path / "id=7" / "part.parquet", loan)
    assert ids_of(path) == ["1", "2"]
    del loan["term"]
    path = write_parquet(tmp_path / "loans" / "term= 60 months" / "part.parquet", loan)
    (first, _) = open_source(tmp_path / "loans").tasks()
    assert first.parse().table["term"].to_pylist() == [" 60 months"]
    refuse("part.parquet: no column term. Add each under one of its names.", path)


@pytest.mark.parametrize("write", [write_parquet, write_csv])
def test_month_of_the_record_is_used(write: Any, loan: Loan, tmp_path: Path) -> None:
    """The month that the caller names gives the age in either format, and a wrong one is refused."""
    del loan[AGE]
    path = write(tmp_path / "loans", loan | {"issue_d": "Dec-2014"})
    for task in open_source(path, as_of="2015-03").tasks():
        assert set(task.parse().table[AGE].to_pylist()) == {3}
    words = "as_of is 'soon': write the month in which the loans were recorded, as 2016-01."
    refuse(words, path, ConfigurationError, as_of="soon")


@pytest.mark.parametrize("write", [write_parquet, write_csv])
@pytest.mark.parametrize("threads", [1, 3])
def test_latest_month_is_found_by_any_number_of_threads(write: Any, threads: int, loan: Loan, tmp_path: Path) -> None:
    """The latest month is that of all files."""
    del loan[AGE]
    for number, month in enumerate(("Jan-2015", "May-2015", None, "Apr-2015")):
        write(tmp_path / "loans" / f"{number}", loan | {"issue_d": "Dec-2014", "last_pymnt_d": month or "NA"})
    assert "to 2015-05, the latest last_pymnt_d" in open_source(tmp_path / "loans", threads=threads).age


@pytest.mark.parametrize("write", [write_parquet, write_csv])
def test_months_of_the_loans_come_before_the_files_latest(write: Any, loan: Loan, tmp_path: Path) -> None:
    """If any loan has a month of its own, these count; if none has, the file's latest month does, or nothing."""
    del loan[AGE]
    issued = loan | {"issue_d": "Dec-2014", "last_pymnt_d": "Feb-2015"}
    for months, words, ages in (
        (("NA", "Mar-2015", "Jan-2015"), "whole months from issue_d to snapshot_d,", [None, 3, 1]),
        (("NA", "NA", "NA"), "whole months from issue_d to 2015-02, the latest last_pymnt_d,", [2, 2, 2]),
    ):
        for number, month in enumerate(months):
            write(tmp_path / "loans" / f"{number}", issued | {"snapshot_d": month})
        source = open_source(tmp_path / "loans")
        assert source.age.startswith(words)
        tables = [task.parse().table for task in source.tasks()]
        assert [age for table in tables for age in dict.fromkeys(table[AGE].to_pylist())] == [
            age for age in ages for _ in range(2 if write is write_parquet else 1)
        ]
    for number in range(3):
        write(tmp_path / "loans" / f"{number}", loan | {"issue_d": "Dec-2014", "last_pymnt_d": "NA"})
    assert open_source(tmp_path / "loans").age.startswith("not known: the file does not say when it was recorded.")


@pytest.mark.parametrize("write", [write_parquet, write_csv])
def test_wanted_columns_are_read_beside_the_ids(write: Any, loan: Loan, tmp_path: Path) -> None:
    """Wanted columns come in their order, and the ids behind them, by their names in any case."""
    path = write(tmp_path / "loans", loan | {"loan_status": "Current", "note": "x"})
    wanted = Wanted(texts=("note", "none"), ids=("ignored",))
    source = open_source(path, (" LOAN_STATUS ", "id"), wanted=wanted)
    for task in source.tasks():
        assert task.parse().table.column_names[-3:] == ["note", "loan_status", "id"]
    assert source.ids.names == ["loan_status", "id"]
    source = open_source(path, wanted=Wanted(texts=("note",)))
    assert source.ids.names == []


@pytest.mark.parametrize("name", ["term", "annual_inc", "annual_income", "row", "risk_probability", "model_version"])
def test_id_may_not_have_a_name_that_is_taken(name: str, loan: Loan, tmp_path: Path) -> None:
    """A column of the contract or of the output is no id, and nor is one that is named twice."""
    words = "can't be an id column: it is repeated, or a column of the contract or the output."
    path = write_csv(tmp_path / "loans.csv", loan)
    refuse(f"{name} {words}", path, ConfigurationError, ids=("id", name))
    refuse(f"id {words}", path, ConfigurationError, ids=("id", "id"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_or_terminal_is_refused(tmp_path: Path) -> None:
    """What can't be read twice is refused before it is read once."""
    os.mkfifo(tmp_path / "pipe")
    refuse("pipe: a pipe or terminal can't be read twice. Name a file.", tmp_path / "pipe")
    refuse("null: a pipe or terminal can't be read twice. Name a file.", Path("/dev/null"))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file and a folder without loans are named without the folders above them."""
    refuse("none.csv: no such file.", tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    words = "empty: the folder has no file of loans. Name a file, or a folder that has some."
    refuse(words, tmp_path / "empty")
    (tmp_path / "empty" / "_SUCCESS").touch()
    refuse(words, tmp_path / "empty")


def test_path_that_the_system_refuses_is_told_with_its_reason() -> None:
    """The system's own reason is told."""
    name = "x" * 300
    refuse(f"{name}: can't be read ({os.strerror(errno.ENAMETOOLONG)}).", Path(name))


@pytest.mark.parametrize("write", [write_parquet, write_csv])
def test_missing_column_is_told_with_the_files_name(write: Any, loan: Loan, tmp_path: Path) -> None:
    """An error of the columns names the file or the folder."""
    del loan["term"]
    path = write(tmp_path / "loans" / "part", loan)
    refuse("part: no column term. Add each under one of its names.", path)
    refuse("loans: no column term. Add each under one of its names.", path.parent)


@pytest.mark.parametrize(
    "content",
    [b"PAR1", b"PAR1 and no more", gzip.compress(b"id,term")[:-6]],
    ids=["begins as Parquet", "Parquet cut off", "gzip cut off"],  # a packed file holds its time
)
def test_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    """A file that can't be read is named with the cure, and none of its content."""
    (tmp_path / "loans").write_bytes(content)
    refuse("loans: damaged, truncated, or not of the detected format. Fetch or write it again.", tmp_path / "loans")


@pytest.mark.parametrize("place", range(3))
def test_files_of_two_formats_are_refused(place: int, loan: Loan, tmp_path: Path) -> None:
    """A folder has files of one format; the first one that differs is named with one of the others."""
    for number, name in enumerate("abc"):
        (write_parquet if number == place else write_csv)(tmp_path / "loans" / name, loan)
    other = ("b", "a", "a")[place]
    refuse(
        f"loans: {'abc'[place]} is Parquet, {other} is not. Put only files of one format into a folder.",
        tmp_path / "loans",
    )
