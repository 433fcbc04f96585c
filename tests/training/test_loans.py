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

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.conversion import convert
from credit_risk_model.tables import csv_file
from credit_risk_model.training import loans

NAMES = {feature.column: feature.name for feature in CONTRACT_FEATURES if feature.column} | {
    "installment": "installment",
    "loan_status": "loan_status",
}
VALUES = {
    "annual_inc": "65000.0",
    "collections_12_mths_ex_med": "0.0",
    "delinq_2yrs": "1.0",
    "dti": "17.2",
    "emp_length": "10+ years",
    "home_ownership": "RENT",
    "acc_now_delinq": "0.0",
    "installment": "407.23",
    "int_rate": "13.5",
    "last_pymnt_amnt": "407.23",
    "loan_amnt": "12000.0",
    "loan_status": "Current",
    "pub_rec": "0.0",
    "purpose": "car",
    "revol_util": "54.0",
    "term": " 36 months",
    "total_pymnt_inv": "814.46",
    "verification_status": "Verified",
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


def read_loans(path: Path) -> pd.DataFrame:
    """The loans of a file, without what is said of their age."""
    return loans.read_loans(path).loans


def write(path: Path, *changes: dict[str, str], extra: str = "desc") -> Path:
    """Write a loan.csv with a row for each of the changes and one column that is not needed."""
    rows = [{**VALUES, **change, extra: "a text,\nof two lines"} for change in changes]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_row_gets_the_contracts_names_and_types(tmp_path: Path) -> None:
    """Columns are taken by name, whatever else there is, and come back under the contract's names in its order."""
    table = read_loans(write(tmp_path / "loan.csv", {"loan_status": "Default"}))
    assert table.columns.tolist() == [
        *(feature.name for feature in CONTRACT_FEATURES),
        "installment",
        "loan_status",
        "loan_risk",
    ]
    (row,) = table.to_dict("records")
    expected = {NAMES[column]: value for column, value in VALUES.items()}
    expected |= {"loan_status": "Default", "instalments_due": "nan"}
    assert {name: str(row[name]) for name in expected} == expected
    assert row["loan_risk"] == "risky"
    categories = {feature.name for feature in CONTRACT_FEATURES if feature.levels} | {"loan_status", "loan_risk"}
    assert {name for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)} == categories


@pytest.mark.parametrize(("status", "risk"), STATUSES.items())
def test_status_decides_the_target(status: str, risk: str, tmp_path: Path) -> None:
    """Each of the ten statuses is safe or risky."""
    assert read_loans(write(tmp_path / "loan.csv", {"loan_status": status}))["loan_risk"].tolist() == [risk]


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
    return pa.Table.from_pylist([{"id": str(row), **VALUES, **change} for row, change in enumerate(changes)])


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
    """Write levels, statuses and names of columns otherwise."""
    spelled = {"10+ years": "10+ yrs", "RENT": "rent", " 36 months": "36", " 60 months": "60 mo", "Current": "CURRENT"}
    rows = [{name: spelled.get(value, value) for name, value in row.items()} for row in table.to_pylist()]
    text = to_csv(pa.Table.from_pylist(rows))
    header, _, lines = text.partition("\n")
    path.write_text(f"{header.upper().replace('SOURCE', 'source')}\n{lines}")


def as_numbers(path: Path, table: pa.Table) -> None:
    """Write Parquet with the types that the columns mean."""
    numbers = [name for name in table.column_names if name in NAMES and re.fullmatch(r"[\d.]+", VALUES[name])]
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


def test_row_with_another_number_of_fields_is_missing_all_values(tmp_path: Path) -> None:
    """It stays in its place, for the cleaning to drop and count; its neighbours keep their values."""
    header, first, second, third, _ = to_csv(texts(*DATED)).split("\n")
    (tmp_path / "loan.csv").write_text("\n".join([header, first, f"x,{second}", third, ""]))
    table = read_loans(tmp_path / "loan.csv")
    assert table.isna().all(axis="columns").tolist() == [False, True, False]
    assert table["debt_to_income_ratio"].tolist()[::2] == [17.2, 9.25]


def test_issue_date_of_another_type_is_refused(tmp_path: Path) -> None:
    """Months can't be read from numbers, whatever the age is taken from."""
    table = texts({"instalments_due": "3"}).append_column("issue_d", pa.array([201509]))
    pq.write_table(table, tmp_path / "loan.parquet")
    with pytest.raises(DataError, match=r"^loan\.parquet: column issue_d is of type int64, not months"):
        read_loans(tmp_path / "loan.parquet")


def test_status_of_another_type_is_refused(tmp_path: Path) -> None:
    """A status is a text."""
    table = texts({}).drop_columns("loan_status").append_column("loan_status", pa.array([1]))
    pq.write_table(table, tmp_path / "loan.parquet")
    with pytest.raises(DataError, match=r"^loan\.parquet: wrong type of column loan_status \(int64 instead of text\)"):
        read_loans(tmp_path / "loan.parquet")


def test_folder_has_the_digest_of_its_files(tmp_path: Path) -> None:
    """A folder of parts is told from another by the content of any of its files."""
    as_csv_parts(tmp_path / "loans", texts(*DATED))
    before = loans.hash_file(tmp_path / "loans")
    assert loans.hash_file(tmp_path / "loans") == before
    with (tmp_path / "loans" / "part-2.csv").open("a") as file:
        file.write("\n")
    assert loans.hash_file(tmp_path / "loans") != before


def test_packed_files_are_read_alike(tmp_path: Path) -> None:
    """A plain file, its .gz and its .zip give the same table."""
    plain = write(tmp_path / "loan.csv", {}, {"emp_length": "n/a"}, {"home_ownership": "NONE"})
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
    table = read_loans(write(tmp_path / "loan.csv", {"emp_length": "n/a", "home_ownership": "NONE", "dti": ""}))
    assert table.isna().sum().loc[lambda missing: missing > 0].index.tolist() == [
        "debt_to_income_ratio",
        "employment_length",
        "instalments_due",
    ]
    assert table["home_ownership"].tolist() == ["NONE"]


def test_issue_date_is_taken_where_it_is(tmp_path: Path) -> None:
    """`issue_d` becomes the first of its month; a month that doesn't parse is missing."""
    path = write(tmp_path / "loan.csv", {"issue_d": "Sep-2015"}, {"issue_d": "soon"})
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
    """The instalments due come from the first of the known sources, at most the term's, and the book says which."""
    values = {**DATES, "instalments_due": "2"}
    book = loans.read_loans(write(tmp_path / "loan.csv", {name: values[name] for name in columns}), as_of)
    assert words in book.age
    assert book.loans["instalments_due"].fillna(-1).tolist() == [-1 if due is None else due]


def test_latest_date_of_the_file_is_the_snapshot_of_all(tmp_path: Path) -> None:
    """A loan that was paid long ago is as old as the file's latest date says, not as its own last date."""
    rows = [{**DATES, "last_credit_pull_d": month} for month in ("Oct-2015", "Jan-2016")]
    for row in rows:
        del row["snapshot_d"]
    assert read_loans(write(tmp_path / "loan.csv", *rows))["instalments_due"].tolist() == [4, 4]


@pytest.mark.parametrize("as_of", ["January", "2016", "2016-13", "2016-01-31x"])
def test_as_of_that_is_no_month_is_refused(as_of: str, tmp_path: Path) -> None:
    """The month is refused in a line that says how to write it."""
    with pytest.raises(ConfigurationError, match=rf"as_of is '{as_of}': write the month .* as 2016-01"):
        loans.read_loans(write(tmp_path / "loan.csv", {}), as_of)


def test_levels_that_differ_between_chunks_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read in pieces; each row keeps its own level."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 400)
    purposes = ["car", "car", "wedding", "house", "medical"]
    path = write(tmp_path / "loan.csv", *({"purpose": purpose} for purpose in purposes))
    assert read_loans(path)["loan_purpose"].tolist() == purposes


def test_status_that_is_missing_has_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row without a status is kept for the cleaning to remove; its neighbours keep their own labels."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 400)
    statuses = ["Default", "", "Fully Paid", "Default", ""]
    table = read_loans(write(tmp_path / "loan.csv", *({"loan_status": status} for status in statuses)))
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
    path = write(tmp_path / "loan.csv", {}, {"dti": "3.5"})
    expected = read_loans(path)
    path.write_bytes(path.read_bytes().replace(b"of two lines", b"caf\xe9 \xff\xfe \x00\x07 \xed\xa0\x80"))
    pd.testing.assert_frame_equal(read_loans(path), expected)


def test_reading_holds_no_loan_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its peak, reading holds the table that it gives and little else."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 1 << 18)
    path = write(tmp_path / "loan.csv", *[{}] * 40_000)
    tracemalloc.start()
    try:
        table = read_loans(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * table.memory_usage().sum()


def test_missing_file_is_named_with_the_cure(tmp_path: Path) -> None:
    """The error names the file, not its folder, and how to get it."""
    with pytest.raises(DataError, match=r"^loan\.csv: no such file\. Run `make data`, or set LOAN_DATA"):
        read_loans(tmp_path / "loan.csv")


@pytest.mark.parametrize("column", VALUES)
def test_missing_column_is_named(column: str, tmp_path: Path) -> None:
    """A file without a needed column is refused with the column's name."""
    path = write(tmp_path / "loan.csv", {})
    pd.read_csv(path, dtype=str).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"^loan\.csv: no column (\w+ \()?{column}\)?\. "):
        read_loans(path)


def test_repeated_column_is_named(tmp_path: Path) -> None:
    """Of two columns of one name nobody knows which to take."""
    path = tmp_path / "loan.csv"
    path.write_text(",".join([*VALUES, "dti"]) + "\n" + ",".join([*VALUES.values(), "1"]) + "\n")
    with pytest.raises(DataError, match="more than one column for debt_to_income_ratio"):
        read_loans(path)


@pytest.mark.parametrize("column", ["annual_inc", "int_rate", "installment"])
def test_unparsable_number_is_named_by_column_and_row(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names column and row of a number that doesn't parse, and not the borrower's value."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 400)
    path = write(tmp_path / "loan.csv", {}, {}, {column: "$13.49"})
    with pytest.raises(DataError, match=rf"column {column}, data row 3: not a number") as caught:
        read_loans(path)
    assert "13.49" not in str(caught.value)


def test_unknown_status_is_named_by_row(tmp_path: Path) -> None:
    """A status that is neither known as safe nor as risky stops the reading."""
    path = write(tmp_path / "loan.csv", {}, {"loan_status": "Sold"}, {"loan_status": "Sold"})
    with pytest.raises(DataError, match=r"column loan_status, data row 2: .* \(2 rows in all\)"):
        read_loans(path)


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"\n", "empty")])
def test_empty_file_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    """A file without a header is empty."""
    (tmp_path / "loan.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_loans(tmp_path / "loan.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\rb", "no column"),
        (b"\x00\r\x1f\x8b", "not text"),
        (b"PK\x03\x04\r\x00", "damaged, truncated"),
    ],
)
def test_file_that_is_no_csv_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    """Binary content is refused as such."""
    (tmp_path / "loan.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"^loan\.csv: {words}"):
        read_loans(tmp_path / "loan.csv")


def test_field_too_many_shifts_nothing(tmp_path: Path) -> None:
    """Rows that all end in a comma are read by their columns, as the header names them."""
    path = tmp_path / "loan.csv"
    path.write_text(",".join(VALUES) + "\n" + (",".join(VALUES.values()) + ",\n") * 2)
    assert read_loans(path)["loan_amount"].tolist() == [12000, 12000]


def test_header_without_rows_is_refused(tmp_path: Path) -> None:
    """A header alone is no loan book."""
    (tmp_path / "loan.csv").write_text(",".join(VALUES) + "\n")
    with pytest.raises(DataError, match="has a header but no row"):
        read_loans(tmp_path / "loan.csv")


def test_truncated_plain_file_is_refused(tmp_path: Path) -> None:
    """A plain file that ends amid a row, within a field, between two or within quotes, is refused."""
    whole = write(tmp_path / "whole.csv", {}, {}).read_bytes()
    path = tmp_path / "loan.csv"
    for missing, words in (
        (3, "line 4: a quote is never closed"),
        (25, "truncated: its last line has 18 fields where 19 are needed"),
        (40, "truncated: its last line has 17 fields where 19 are needed"),
        (100, "truncated: its last line has"),
    ):
        path.write_bytes(whole[:-missing])
        with pytest.raises(DataError, match=rf"^loan\.csv: {words}"):
            read_loans(path)


def test_last_line_needs_no_newline(tmp_path: Path) -> None:
    """A whole last row without a newline is no truncation."""
    path = tmp_path / "loan.csv"
    path.write_text(",".join(VALUES) + "\n" + ",".join(VALUES.values()))
    assert len(read_loans(path)) == 1


def test_truncated_packed_files_are_refused(tmp_path: Path) -> None:
    """A .gz or .zip that was cut off is refused."""
    plain = write(tmp_path / "loan.csv", *[{}] * 200)
    packed = tmp_path / "loan.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes())[:-20])
    with pytest.raises(DataError, match=r"^loan\.csv\.gz: damaged, truncated"):
        read_loans(packed)
    zipped = tmp_path / "loan.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(plain)
    zipped.write_bytes(zipped.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"^loan\.zip: damaged, truncated"):
        read_loans(zipped)


def test_zip_of_many_files_is_refused(tmp_path: Path) -> None:
    """Of two CSV files in a .zip nobody knows which to take."""
    path = tmp_path / "loan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(DataError, match="holds 2 CSV files instead of one"):
        read_loans(path)


def test_zip_made_on_a_macintosh_is_read(tmp_path: Path) -> None:
    """The file that macOS adds beside each in a .zip is not taken for a second one."""
    plain = write(tmp_path / "loan.csv", {})
    with zipfile.ZipFile(tmp_path / "loan.zip", "w") as archive:
        archive.write(plain, "loan.csv")
        archive.writestr("__MACOSX/._loan.csv", b"\x00\x05\x16\x07")
    assert len(read_loans(tmp_path / "loan.zip")) == 1


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    """A folder without files holds no loans."""
    with pytest.raises(DataError, match="the folder has no file of loans"):
        read_loans(tmp_path)


def test_synthetic_book_is_known(book_path: Path, tmp_path: Path) -> None:
    """A synthetic loan book is recognised by its content, whatever its name."""
    assert loans.read_loans(book_path).synthetic
    convert(book_path, tmp_path / "book.parquet")
    assert loans.read_loans(tmp_path / "book.parquet").synthetic
    assert not loans.read_loans(write(tmp_path / "synthetic.csv", {})).synthetic
