import gzip
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from loan_files import KAGGLE_LOAN, read_loans, write_loans

from credit_risk_model.errors import DataError
from credit_risk_model.tables import csv_file


def test_missing_file_is_named_with_the_cure(tmp_path: Path) -> None:
    """The error names the file, not its folder, and how to get it."""
    with pytest.raises(DataError, match=r"^loan\.csv: no such file\. Run `make data`, or set LOAN_DATA"):
        read_loans(tmp_path / "loan.csv")


@pytest.mark.parametrize("column", KAGGLE_LOAN)
def test_missing_column_is_named(column: str, tmp_path: Path) -> None:
    """A file without a needed column is refused with the column's name."""
    path = write_loans(tmp_path / "loan.csv", {})
    pd.read_csv(path, dtype=str).drop(columns=column).to_csv(path, index=False)
    with pytest.raises(DataError, match=rf"^loan\.csv: no column (\w+ \()?{column}\)?\. "):
        read_loans(path)


def test_repeated_column_is_named(tmp_path: Path) -> None:
    """Two columns of one name are ambiguous."""
    path = tmp_path / "loan.csv"
    path.write_text(",".join([*KAGGLE_LOAN, "dti"]) + "\n" + ",".join([*KAGGLE_LOAN.values(), "1"]) + "\n")
    with pytest.raises(DataError, match="more than one column for debt_to_income_ratio"):
        read_loans(path)


@pytest.mark.parametrize("column", ["annual_inc", "int_rate", "installment"])
def test_unparsable_number_is_named_by_column_and_row(
    column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names column and row of a number that doesn't parse, and not the borrower's value."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 400)
    path = write_loans(tmp_path / "loan.csv", {}, {}, {column: "$13.49"})
    with pytest.raises(DataError, match=rf"column {column}, data row 3: not a number") as caught:
        read_loans(path)
    assert "13.49" not in str(caught.value)


def test_unknown_status_is_named_by_row(tmp_path: Path) -> None:
    """A status that is neither known as safe nor as risky stops the reading."""
    path = write_loans(tmp_path / "loan.csv", {}, {"loan_status": "Sold"}, {"loan_status": "Sold"})
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
    path.write_text(",".join(KAGGLE_LOAN) + "\n" + (",".join(KAGGLE_LOAN.values()) + ",\n") * 2)
    assert read_loans(path)["loan_amount"].tolist() == [12000, 12000]


def test_header_without_rows_is_refused(tmp_path: Path) -> None:
    """A header alone is no loan book."""
    (tmp_path / "loan.csv").write_text(",".join(KAGGLE_LOAN) + "\n")
    with pytest.raises(DataError, match="has a header but no row"):
        read_loans(tmp_path / "loan.csv")


def test_truncated_plain_file_is_refused(tmp_path: Path) -> None:
    """A plain file that ends amid a row, within a field, between two or within quotes, is refused."""
    whole = write_loans(tmp_path / "whole.csv", {}, {}).read_bytes()
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
    path.write_text(",".join(KAGGLE_LOAN) + "\n" + ",".join(KAGGLE_LOAN.values()))
    assert len(read_loans(path)) == 1


def test_truncated_packed_files_are_refused(tmp_path: Path) -> None:
    """A .gz or .zip that was cut off is refused."""
    plain = write_loans(tmp_path / "loan.csv", *[{}] * 200)
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
    """Two CSV files in a .zip are ambiguous."""
    path = tmp_path / "loan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(DataError, match="holds 2 CSV files instead of one"):
        read_loans(path)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    """A folder without files holds no loans."""
    with pytest.raises(DataError, match="the folder has no file of loans"):
        read_loans(tmp_path)
