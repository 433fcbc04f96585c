import csv
import datetime
import gzip
import io
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loan_files import KAGGLE_LOAN, read_loans, write_loans

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.conversion import convert
from credit_risk_model.tables import csv_file
from credit_risk_model.training import loans

NAMES = {feature.column: feature.name for feature in CONTRACT_FEATURES if feature.column} | {
    "installment": "installment",
    "loan_status": "loan_status",
}
STATUSES = {
    "Fully Paid": "safe",
    "Current": "safe",
    "In Grace Period": "safe",
    "Does not meet the credit policy. Status:Fully Paid": "safe",
    "Issued": "safe",
    "Charged Off": "risky",
    "Default": "risky",
    "Late (31-120 days)": "risky",
    "Late (16-30 days)": "risky",
    "Does not meet the credit policy. Status:Charged Off": "risky",
}


def test_row_gets_the_contracts_names_and_types(tmp_path: Path) -> None:
    """Columns are found by name, and returned under the contract's names in its order."""
    table = read_loans(write_loans(tmp_path / "loan.csv", {"loan_status": "Default"}))
    assert table.columns.tolist() == [
        *(feature.name for feature in CONTRACT_FEATURES),
        "installment",
        "loan_status",
        "loan_risk",
    ]
    (row,) = table.to_dict("records")
    expected = {NAMES[column]: value for column, value in KAGGLE_LOAN.items()}
    expected |= {"loan_status": "Default", "instalments_due": "nan"}
    assert {name: str(row[name]) for name in expected} == expected
    assert row["loan_risk"] == "risky"
    categories = {feature.name for feature in CONTRACT_FEATURES if feature.levels} | {"loan_status", "loan_risk"}
    assert {name for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)} == categories


@pytest.mark.parametrize(("status", "risk"), STATUSES.items())
def test_status_decides_the_target(status: str, risk: str, tmp_path: Path) -> None:
    """Each of the ten statuses is safe or risky."""
    assert read_loans(write_loans(tmp_path / "loan.csv", {"loan_status": status}))["loan_risk"].tolist() == [risk]


DATED = [
    {"issue_d": "Sep-2015", "snapshot_d": "Jan-2016", "source": "a", "loan_status": status, "dti": dti, "term": term}
    for status, dti, term in [
        ("Current", "17.2", " 36 months"),
        ("Charged Off", "", " 60 months"),
        ("Fully Paid", "9.25", " 36 months"),
    ]
]


def texts(*changes: dict[str, str]) -> pa.Table:
    """Rows as a table of texts; a text that is not there is empty."""
    return pa.Table.from_pylist([{"id": str(row), **KAGGLE_LOAN, **change} for row, change in enumerate(changes)])


def to_csv(table: pa.Table, separator: str = ",", ending: str = "\n") -> str:
    """A table of texts as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=ending)
    writer.writerows([table.column_names, *(row.values() for row in table.to_pylist())])
    return text.getvalue()


def with_decimal_commas(path: Path, table: pa.Table) -> None:
    """Write as a European Excel does."""
    rows = [{name: value.replace(".", ",") for name, value in row.items()} for row in table.to_pylist()]
    path.write_text(to_csv(pa.Table.from_pylist(rows), ";"))


def as_lendingclub_has_it(path: Path, table: pa.Table) -> None:
    """Write with a note, a marker line, footers and percent signs."""
    rows = [{**row, "int_rate": f" {row['int_rate']}%", "revol_util": "54%"} for row in table.to_pylist()]
    header, *lines = to_csv(pa.Table.from_pylist(rows)).splitlines(keepends=True)
    note = "Notes offered by Prospectus (https://www.example.org/prospectus)\n"
    marker = "Loans that do not meet the credit policy\n"
    footers = "\nTotal amount funded in policy code 1: 24000\nTotal amount funded in policy code 2: 0\n"
    path.write_text("".join([note, header, lines[0], marker, *lines[1:], footers]))


def in_other_spellings(path: Path, table: pa.Table) -> None:
    """Write levels, statuses and column names in other spellings."""
    spelled = {"10+ years": "10+ yrs", "RENT": "rent", " 36 months": "36", " 60 months": "60 mo", "Current": "CURRENT"}
    rows = [{name: spelled.get(value, value) for name, value in row.items()} for row in table.to_pylist()]
    text = to_csv(pa.Table.from_pylist(rows))
    header, _, lines = text.partition("\n")
    path.write_text(f"{header.upper().replace('SOURCE', 'source')}\n{lines}")


def as_numbers(path: Path, table: pa.Table) -> None:
    """Write Parquet with the types that the columns mean."""
    numbers = [name for name in table.column_names if name in NAMES and re.fullmatch(r"[\d.]+", KAGGLE_LOAN[name])]
    for name in numbers:
        values = [float(value) if value else None for value in table[name].to_pylist()]
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    for name, day in (("issue_d", datetime.date(2015, 9, 1)), ("snapshot_d", datetime.date(2016, 1, 1))):
        table = table.set_column(table.column_names.index(name), name, pa.array([day] * table.num_rows))
    pq.write_table(table, path)


def as_parquet_parts(path: Path, table: pa.Table) -> None:
    """Write a folder as Spark does."""
    path.mkdir()
    (path / "_SUCCESS").write_text("")
    for row in range(table.num_rows):
        pq.write_table(table.slice(row, 1), path / f"part-{row}.parquet")


def as_csv_parts(path: Path, table: pa.Table) -> None:
    """Write a folder of CSV files."""
    path.mkdir()
    for row in range(table.num_rows):
        (path / f"part-{row}.csv").write_text(to_csv(table.slice(row, 1)))


KINDS: dict[str, Callable[[Path, pa.Table], object]] = {
    "tabs": lambda path, table: path.write_text(to_csv(table, "\t")),
    "a comma at each row's end": lambda path, table: path.write_text(
        to_csv(table).replace("\n", ",\n").replace(",\n", "\n", 1)
    ),
    "CR": lambda path, table: path.write_bytes(to_csv(table, ending="\r").encode()),
    "UTF-16": lambda path, table: path.write_text(to_csv(table, "\t"), encoding="utf-16"),
    "semicolons and decimal commas": with_decimal_commas,
    "LendingClub's own download": as_lendingclub_has_it,
    "other spellings, names in upper case": in_other_spellings,
    "Parquet of text": lambda path, table: pq.write_table(table, path),
    "Parquet of bytes": lambda path, table: pq.write_table(
        table.cast(pa.schema([(name, pa.binary()) for name in table.column_names])), path
    ),
    "Parquet of numbers and dates": as_numbers,
    "Parquet parts": as_parquet_parts,
    "CSV parts": as_csv_parts,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_loans(kind: str, tmp_path: Path) -> None:
    """However loans are written, they are the loans of Kaggle's layout, with their age and their label."""
    table = texts(*DATED)
    (tmp_path / "loan.csv").write_text(to_csv(table))
    expected = loans.read_loans(tmp_path / "loan.csv")
    assert expected.loans["instalments_due"].tolist() == [4, 4, 4]
    assert expected.loans["loan_risk"].tolist() == ["safe", "risky", "safe"]
    KINDS[kind](tmp_path / "loans", table)
    found = loans.read_loans(tmp_path / "loans")
    pd.testing.assert_frame_equal(found.loans, expected.loans)
    assert found.age == expected.age


def test_row_with_a_wrong_number_of_fields_is_missing_all_values(tmp_path: Path) -> None:
    """It stays in its place, for the cleaning to drop and count; its neighbours keep their values."""
    header, first, second, third, _ = to_csv(texts(*DATED)).split("\n")
    (tmp_path / "loan.csv").write_text("\n".join([header, first, f"x,{second}", third, ""]))
    table = read_loans(tmp_path / "loan.csv")
    assert table.isna().all(axis="columns").tolist() == [False, True, False]
    assert table["debt_to_income_ratio"].tolist()[::2] == [17.2, 9.25]


def test_issue_date_of_a_wrong_type_is_refused(tmp_path: Path) -> None:
    """Months can't be read from numbers."""
    table = texts({"instalments_due": "3"}).append_column("issue_d", pa.array([201509]))
    pq.write_table(table, tmp_path / "loan.parquet")
    with pytest.raises(DataError, match=r"^loan\.parquet: column issue_d is of type int64, not months"):
        read_loans(tmp_path / "loan.parquet")


def test_status_of_a_wrong_type_is_refused(tmp_path: Path) -> None:
    """A status is a text."""
    table = texts({}).drop_columns("loan_status").append_column("loan_status", pa.array([1]))
    pq.write_table(table, tmp_path / "loan.parquet")
    with pytest.raises(DataError, match=r"^loan\.parquet: wrong type of column loan_status \(int64 instead of text\)"):
        read_loans(tmp_path / "loan.parquet")


def test_folder_has_the_digest_of_its_files(tmp_path: Path) -> None:
    """A folder's digest depends on the content of each of its files."""
    as_csv_parts(tmp_path / "loans", texts(*DATED))
    before = loans.hash_file(tmp_path / "loans")
    assert loans.hash_file(tmp_path / "loans") == before
    with (tmp_path / "loans" / "part-2.csv").open("a") as file:
        file.write("\n")
    assert loans.hash_file(tmp_path / "loans") != before


def test_packed_files_are_read_alike(tmp_path: Path) -> None:
    """A plain file, its .gz and its .zip give the same table."""
    plain = write_loans(tmp_path / "loan.csv", {}, {"emp_length": "n/a"}, {"home_ownership": "NONE"})
    packed = tmp_path / "loan.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    zipped = tmp_path / "loan.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(plain, "loan/loan.csv")
        archive.writestr("readme.txt", "")
    expected = read_loans(plain)
    pd.testing.assert_frame_equal(read_loans(packed), expected)
    pd.testing.assert_frame_equal(read_loans(zipped), expected)


def test_missing_values_are_missing_and_none_is_a_home_ownership(tmp_path: Path) -> None:
    """Empty cells and n/a are missing; NONE is a word that the file uses."""
    table = read_loans(write_loans(tmp_path / "loan.csv", {"emp_length": "n/a", "home_ownership": "NONE", "dti": ""}))
    assert table.isna().sum().loc[lambda missing: missing > 0].index.tolist() == [
        "debt_to_income_ratio",
        "employment_length",
        "instalments_due",
    ]
    assert table["home_ownership"].tolist() == ["NONE"]


def test_issue_date_is_taken_where_it_is(tmp_path: Path) -> None:
    """`issue_d` becomes the first of its month; a month that doesn't parse is missing."""
    path = write_loans(tmp_path / "loan.csv", {"issue_d": "Sep-2015"}, {"issue_d": "soon"})
    months = read_loans(path)["issue_month"]
    assert months.tolist() == [pd.Timestamp(2015, 9, 1), pd.NaT]


DATES = {"issue_d": "Sep-2015", "last_credit_pull_d": "Dec-2015", "last_pymnt_d": "Nov-2015", "snapshot_d": "Jan-2016"}


@pytest.mark.parametrize(
    ("columns", "as_of", "due", "words"),
    [
        ((*DATES, "instalments_due"), None, 2, "column instalments_due"),
        (tuple(DATES), "2017-01", 4, "whole months from issue_d to snapshot_d, at most the term's"),
        (tuple(DATES)[:3], None, 3, "whole months from issue_d to 2015-12, the latest last_credit_pull_d, at most"),
        (tuple(DATES)[:3], "2016-01", 3, "the latest last_credit_pull_d (as_of 2016-01 is not used), at most"),
        (
            ("issue_d", "last_pymnt_d"),
            None,
            2,
            "whole months from issue_d to 2015-11, the latest last_pymnt_d, at most",
        ),
        (("issue_d",), "2016-01", 4, "whole months from issue_d to 2016-01, as_of, at most the term's"),
        (("issue_d",), "2030-01", 36, "whole months from issue_d to 2030-01, as_of, at most the term's"),
        (("issue_d",), "2015-01", None, "whole months from issue_d to 2015-01, as_of, at most the term's"),
        (("issue_d",), None, None, "not known: the file does not say when it was recorded"),
        ((), "2016-01", None, "not known: the file has no issue_d"),
    ],
)
def test_age_is_whole_months_to_the_snapshot(
    columns: tuple[str, ...], as_of: str | None, due: int | None, words: str, tmp_path: Path
) -> None:
    """The instalments due come from the first known source, are at most the term's, and the book names the source."""
    values = {**DATES, "instalments_due": "2"}
    book = loans.read_loans(write_loans(tmp_path / "loan.csv", {name: values[name] for name in columns}), as_of)
    assert words in book.age
    assert book.loans["instalments_due"].fillna(-1).tolist() == [-1 if due is None else due]


def test_latest_date_of_the_file_is_the_snapshot_of_all(tmp_path: Path) -> None:
    """A loan's age is counted up to the file's latest date, not up to its own last date."""
    rows = [{**DATES, "last_credit_pull_d": month} for month in ("Oct-2015", "Jan-2016")]
    for row in rows:
        del row["snapshot_d"]
    assert read_loans(write_loans(tmp_path / "loan.csv", *rows))["instalments_due"].tolist() == [4, 4]


@pytest.mark.parametrize("as_of", ["January", "2016", "2016-13", "2016-01-31x"])
def test_as_of_that_is_no_month_is_refused(as_of: str, tmp_path: Path) -> None:
    """An invalid month is refused with its format."""
    with pytest.raises(ConfigurationError, match=rf"as_of is '{as_of}': write the month .* as 2016-01"):
        loans.read_loans(write_loans(tmp_path / "loan.csv", {}), as_of)


def test_levels_that_differ_between_chunks_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read in pieces; each row keeps its own level."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 400)
    purposes = ["car", "car", "wedding", "house", "medical"]
    path = write_loans(tmp_path / "loan.csv", *({"purpose": purpose} for purpose in purposes))
    assert read_loans(path)["loan_purpose"].tolist() == purposes


def test_status_that_is_missing_has_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row without a status is kept for the cleaning to remove; its neighbours keep their own labels."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 400)
    statuses = ["Default", "", "Fully Paid", "Default", ""]
    table = read_loans(write_loans(tmp_path / "loan.csv", *({"loan_status": status} for status in statuses)))
    labels: list[Any] = table["loan_risk"].astype(object).where(table["loan_risk"].notna(), None).tolist()
    assert labels == [
        "risky",
        None,
        "safe",
        "risky",
        None,
    ]


def test_bytes_that_are_no_text_are_passed_over_where_they_are_not_needed(tmp_path: Path) -> None:
    """Free text in any encoding, and control characters in it, leave the loans as they are."""
    path = write_loans(tmp_path / "loan.csv", {}, {"dti": "3.5"})
    expected = read_loans(path)
    path.write_bytes(path.read_bytes().replace(b"of two lines", b"caf\xe9 \xff\xfe \x00\x07 \xed\xa0\x80"))
    pd.testing.assert_frame_equal(read_loans(path), expected)


def test_reading_holds_no_loan_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its peak, reading holds the table that it gives and little else."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 1 << 18)
    path = write_loans(tmp_path / "loan.csv", *[{}] * 40_000)
    tracemalloc.start()
    try:
        table = read_loans(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * table.memory_usage().sum()


def test_zip_made_on_a_macintosh_is_read(tmp_path: Path) -> None:
    """The file that macOS adds beside each in a .zip is not taken for a second one."""
    plain = write_loans(tmp_path / "loan.csv", {})
    with zipfile.ZipFile(tmp_path / "loan.zip", "w") as archive:
        archive.write(plain, "loan.csv")
        archive.writestr("__MACOSX/._loan.csv", b"\x00\x05\x16\x07")
    assert len(read_loans(tmp_path / "loan.zip")) == 1


def test_synthetic_book_is_known(book_path: Path, tmp_path: Path) -> None:
    """A synthetic loan book is recognized by its content, not by its name."""
    assert loans.read_loans(book_path).synthetic
    convert(book_path, tmp_path / "book.parquet")
    assert loans.read_loans(tmp_path / "book.parquet").synthetic
    assert not loans.read_loans(write_loans(tmp_path / "synthetic.csv", {})).synthetic
