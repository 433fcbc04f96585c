import gzip
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loan_files import read, to_csv

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables import csv_file
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Shard

KAGGLE = {feature.name: feature.column or feature.name for feature in CONTRACT_FEATURES}


def test_locked_zip_is_refused(loan: dict[str, Any], tmp_path: Path) -> None:
    """A zip with a password is reported as encrypted, not as damaged."""
    path = tmp_path / "loans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("loans.csv", to_csv([loan]))
    content = bytearray(path.read_bytes())
    for place in (content.index(b"PK\x03\x04") + 6, content.index(b"PK\x01\x02") + 8):
        content[place] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^loans\.zip: encrypted, or compressed by an unsupported method. Unpack it.$"):
        open_source(path)


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


def test_missing_columns_are_named(loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """A file without a needed column is refused by both names that the column may have, ids by the one."""
    del loan["annual_income"], loan["term"]
    with pytest.raises(
        DataError, match=r"^loans.csv: no column annual_income \(annual_inc\), term, id. Add each under one"
    ):
        open_source(write_csv(to_csv([loan])), ("id",))


@pytest.mark.parametrize("extra", ["annual_inc", "annual_income"])
def test_column_twice_is_refused(extra: str, loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """A field with two columns, under one name or both, is ambiguous."""
    header, row, _ = to_csv([loan]).split("\n")
    with pytest.raises(DataError, match=r"^loans.csv: more than one column for annual_income. Keep one of each.$"):
        open_source(write_csv(f"{header},{extra}\n{row},1\n"))


@pytest.mark.parametrize("name", ["annual_income", "annual_inc", "risk_probability", "row"])
def test_id_with_a_known_name_is_refused(name: str, loan: dict[str, Any], write_csv: Callable[[str], Path]) -> None:
    """A field of the contract, or a column of the output, is no id."""
    with pytest.raises(ConfigurationError, match=f"{name} can't be an id column"):
        open_source(write_csv(to_csv([loan])), (name,))


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
    """An unreadable file is an error with a cure."""
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
    """Detecting the format reads the first bytes, which a pipe can't give again."""
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
def test_column_of_a_wrong_type_is_refused(
    field: str, value: Any, message: str, loan: dict[str, Any], tmp_path: Path
) -> None:
    """Lists and truth values are no numbers, as in a request; numbers are no levels."""
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.Table.from_pylist([loan | {field: value}]), path)
    with pytest.raises(DataError, match=message):
        open_source(path)


def test_all_that_is_wrong_with_columns_is_named(loan: dict[str, Any], tmp_path: Path) -> None:
    """All missing columns and wrong types are reported at once."""
    del loan["term"]
    path = tmp_path / "loans.parquet"
    pq.write_table(pa.Table.from_pylist([loan | {"annual_income": True, "home_ownership": 1}]), path)
    with pytest.raises(
        DataError,
        match=r"^loans.parquet: no column term, id. Add each under one of its names. Wrong type of column "
        r"annual_income \(bool instead of numbers\), home_ownership \(int64 instead of text\). Convert them.$",
    ):
        open_source(path, ("id",))


@pytest.mark.usefixtures("small_blocks")
def test_quote_that_is_never_closed_is_refused(
    loan: dict[str, Any], write_csv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose records never end is no CSV file, and is not read into memory to see that."""
    monkeypatch.setattr(csv_file, "_MAX_RECORD_BYTES", 5000)
    header, row, _ = to_csv([loan]).split("\n")
    for rows in (1, 100):
        with pytest.raises(DataError, match=r"^loans.csv: line 3: a quote is never closed. Close or remove it.$"):
            read(write_csv(f'{header}\n{row}\n"{row}\n' + f"{row}\n" * rows))


@pytest.mark.usefixtures("small_blocks")
def test_line_without_end_is_refused(
    loan: dict[str, Any], write_csv: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of one endless line is no CSV file, and is not read into memory to see that."""
    monkeypatch.setattr(csv_file, "_MAX_RECORD_BYTES", 5000)
    with pytest.raises(DataError, match=r"^loans.csv: not a CSV file: a line has more than 5,000 bytes.$"):
        read(write_csv(to_csv([loan]) + "x" * 10_000))


def test_id_that_is_no_text_is_refused(loan: dict[str, Any], tmp_path: Path) -> None:
    """An id column that is not in UTF-8 can't be passed through."""
    path = tmp_path / "loans.csv"
    path.write_bytes(to_csv([loan | {"id": "é"}]).encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read(path, ("id",))
