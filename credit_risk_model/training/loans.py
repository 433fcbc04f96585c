"""Kaggle's `loan.csv` in, a table of loans in the contract's names out."""

import csv
import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES, TERM_MONTHS
from credit_risk_model.loan_age import DATES_OF_FILE, ISSUED, SNAPSHOT, choose_age_source, parse_as_of, parse_month
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.training.synthetic.layout import ADDRESS

LABEL = "loan_risk"
STATUS = "loan_status"
INSTALLMENT = "installment"
ISSUE_MONTH = "issue_month"

SAFE_STATUSES = (
    "Fully Paid",
    "Current",
    "In Grace Period",
    "Does not meet the credit policy. Status:Fully Paid",
    "Issued",
)
RISKY_STATUSES = (
    "Charged Off",
    "Default",
    "Late (31-120 days)",
    "Late (16-30 days)",
    "Does not meet the credit policy. Status:Charged Off",
)

ENDED_STATUSES = tuple(
    status for status in SAFE_STATUSES + RISKY_STATUSES if status.endswith(("Paid", "Off", "Default"))
)
"""Statuses of loans that no payment is expected of. All other loans are running."""

NAMES = {feature.column: feature.name for feature in CONTRACT_FEATURES if feature.column} | {
    "installment": INSTALLMENT,
    "loan_status": STATUS,
}
"""The columns that must be there, by their name in the file, with the name that they get."""

SOURCE = "source"
_OPTIONAL = (ISSUED, SNAPSHOT, *DATES_OF_FILE, AGE, SOURCE)
"""Columns that a file may have: for the loans' age, the test out of time, and the one with a source left out."""
_NUMBERS = [*(feature.column for feature in CONTRACT_FEATURES if feature.column and not feature.levels), "installment"]
_MISSING = ["", "n/a", "NaN", "nan", "NA"]  # `NONE` is a home ownership, not a missing one
_CURE = "Use Kaggle's loan.csv as `make data` fetches it."
_CHUNK_ROWS = 100_000
_Binary = IO[bytes] | gzip.GzipFile  # typeshed does not call the second one of the first kind
_LAST_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class LoanBook:
    """A file of loans as it was read.

    Attributes:
        loans: One row for each of the file's, with the contract's field names (numbers as float64, the rest as
            categories; `instalments_due` is NaN where it is not known), `installment`, `loan_status` and the label
            `loan_risk` (categories safe, risky). Where the file has them, `issue_month` (the first day of `issue_d`)
            and `source`.
        age: What the instalments due were computed from, in words.
    """

    loans: pd.DataFrame
    age: str


def read_loans(path: Path, as_of: str | None = None) -> LoanBook:
    """Read a file of loans.

    The instalments due are taken from a column `instalments_due`. Else they are the whole months from `issue_d` to the
    month in which the loans were recorded, at most the term's: `loan_age.choose_age_source` says which that is.

    Args:
        path: A CSV file in the layout of Kaggle's `loan.csv`, plain, `.gz`, or the only CSV file of a `.zip`.
        as_of: The month in which the loans' state was recorded, as 2016-01, for files that do not say it.

    Raises:
        DataError: The file is missing, empty or truncated, lacks a column, or holds a number that doesn't parse or an
            unknown loan status. The message names no borrower's value.
        ConfigurationError: `as_of` is no month.
    """
    snapshot = parse_as_of(as_of)
    try:
        with _open(path) as file:
            header = _read_header(path, file)
        with _open(path) as file:
            loans = _read_table(path, file, header)
    except FileNotFoundError:
        raise DataError(f"{path.name}: no such file. Run `make data`, or set LOAN_DATA to a loan.csv.") from None
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path.name}: truncated or damaged ({error}). Fetch it again: `make data`.") from None
    except OSError as error:
        raise DataError(f"{path.name}: can't be read ({error.strerror or error}).") from None
    loans = _label(path, loans)
    age = _add_age(loans, snapshot)
    order = [*(feature.name for feature in CONTRACT_FEATURES), INSTALLMENT, STATUS, LABEL]
    order += [name for name in (ISSUE_MONTH, SOURCE) if name in loans]
    return LoanBook(pd.DataFrame({name: loans[name] for name in order}, copy=False), age)


def hash_file(path: Path) -> str:
    """Return the SHA-256 of the file as it is stored, compressed or not."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_synthetic(path: Path) -> bool:
    """Return whether the file's first loans are those of a synthetic loan book."""
    with _open(path) as file:
        return ADDRESS.encode() in file.read(_LAST_LINE_BYTES)


@contextmanager
def _open(path: Path) -> Iterator[_Binary]:
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            yield file
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            # macOS puts a file of its own beside each, in a folder of that name.
            names = [name for name in archive.namelist() if name.endswith(".csv") and not name.startswith("__MACOSX/")]
            if len(names) != 1:
                raise DataError(f"{path.name}: holds {len(names)} CSV files, one is needed. {_CURE}")
            with archive.open(names[0]) as file:
                yield file
    else:
        with path.open("rb") as file:
            yield file


def _read_header(path: Path, file: _Binary) -> list[str]:
    try:
        header = next(csv.reader([file.readline(_LAST_LINE_BYTES).decode("utf-8-sig", errors="replace")]), [])
    except csv.Error as error:
        raise DataError(f"{path.name}: its first line is no CSV ({error}). {_CURE}") from None
    if not header:
        raise DataError(f"{path.name}: empty. {_CURE}")
    missing = [column for column in NAMES if column not in header]
    if missing:
        raise DataError(f"{path.name}: no column {', '.join(missing)}. {_CURE}")
    repeated = [column for column in NAMES if header.count(column) > 1]
    if repeated:
        raise DataError(f"{path.name}: more than one column {', '.join(repeated)}. {_CURE}")
    return header


class _LastBytes(io.RawIOBase):
    """Passes a stream through and keeps its end, which shows whether the last line is complete."""

    def __init__(self, file: _Binary) -> None:
        super().__init__()
        self._file = file
        self.end = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has a wider buffer type
        content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        self.end = (self.end + content)[-_LAST_LINE_BYTES:]
        return len(content)


def _read_table(path: Path, file: _Binary, header: list[str]) -> pd.DataFrame:
    columns = [column for column in header if column in NAMES or column in _OPTIONAL]
    stream = _LastBytes(file)
    try:
        parts = _read_parts(stream, columns)
    except pd.errors.ParserError:
        raise DataError(f"{path.name}: a row has another number of fields, or the file is truncated. {_CURE}") from None
    except ValueError:
        raise _unparsable_number(path) from None
    if not any(len(part) for part in parts[columns[0]]):
        raise DataError(f"{path.name}: has a header and no row. {_CURE}")
    last_line = stream.end.rpartition(b"\n")[2].decode(errors="replace")
    if last_line and len(next(csv.reader([last_line]))) < len(header):
        raise DataError(f"{path.name}: truncated: its last line has too few fields. Fetch it again: `make data`.")
    # copy=False: pandas would make one array of all numbers, and hold each of them twice while it does.
    return pd.DataFrame({NAMES.get(column, column): _join(parts.pop(column)) for column in columns}, copy=False)


def _read_parts(stream: _LastBytes, columns: list[str]) -> dict[str, list[pd.Series]]:
    """Read the columns piece by piece: the text of more than one piece is never in memory."""
    parts: dict[str, list[pd.Series]] = {column: [] for column in columns}
    for chunk in pd.read_csv(
        io.BufferedReader(stream, 1 << 20),
        usecols=columns,
        index_col=False,  # else pandas takes the first column for an index where rows have a field too many
        dtype={column: "float64" if column in (*_NUMBERS, AGE) else "category" for column in columns},
        keep_default_na=False,
        na_values=_MISSING,
        encoding_errors="replace",  # only in free text that is not read
        chunksize=_CHUNK_ROWS,
    ):
        for column in columns:
            # What is not copied is a view, and one column's view keeps all of the chunk's numbers alive.
            parts[column].append(chunk[column].copy())
    return parts


def _join(parts: list[pd.Series]) -> pd.Series:
    """Put a column's parts together, without one string object for each row where they are categories."""
    if isinstance(parts[0].dtype, pd.CategoricalDtype):
        return pd.Series(union_categoricals(parts, sort_categories=True))
    return pd.concat(parts, ignore_index=True)


def _unparsable_number(path: Path) -> DataError:
    """Find the first number that doesn't parse, to name its column and row but not its value."""
    with _open(path) as file:
        reader = pd.read_csv(
            file,
            usecols=_NUMBERS,
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=_MISSING,
            encoding_errors="replace",
            chunksize=_CHUNK_ROWS,
        )
        for chunk in reader:
            for column in _NUMBERS:
                wrong = chunk[column].notna() & pd.to_numeric(chunk[column], errors="coerce").isna()
                if wrong.any():
                    row = _first_row(wrong)
                    return DataError(f"{path.name}: column {column}, data row {row}: not a number. {_CURE}")
    return DataError(f"{path.name}: can't be parsed as CSV. {_CURE}")


def _first_row(marked: pd.Series) -> int:
    """Return the number of the first marked row, counted from 1."""
    return int(marked.to_numpy().argmax()) + int(marked.index[0]) + 1


def _label(path: Path, loans: pd.DataFrame) -> pd.DataFrame:
    unknown = loans[STATUS].notna() & ~loans[STATUS].isin(SAFE_STATUSES + RISKY_STATUSES)
    if unknown.any():
        raise DataError(
            f"{path.name}: column loan_status, data row {_first_row(unknown)}: a status that is neither known as "
            f"safe nor as risky ({int(unknown.sum())} rows in all). {_CURE}"
        )
    loans[LABEL] = _risk(loans[STATUS])
    return loans


def _add_age(loans: pd.DataFrame, as_of: int | None) -> str:
    """Add the instalments due to the loans, and say in words what they were computed from."""
    months = {name: _month_numbers(loans.pop(name)) for name in (ISSUED, SNAPSHOT, *DATES_OF_FILE) if name in loans}
    if ISSUED in months:
        loans[ISSUE_MONTH] = _first_days(months[ISSUED])

    def latest(name: str) -> int | None:
        return None if months[name].isna().all() else int(months[name].max())

    source = choose_age_source({*months, *loans.columns}, latest, as_of)
    if source.computed:
        snapshot = months[SNAPSHOT] if source.snapshot is None else source.snapshot
        age = snapshot - months[ISSUED]
        term = loans["term"].astype(object).map(TERM_MONTHS).astype(float)
        loans[AGE] = np.minimum(age.where(age >= 0), term)
    elif AGE not in loans:
        loans[AGE] = np.nan
    return source.words


def _month_numbers(texts: pd.Series) -> pd.Series:
    """Number months such as Dec-2011, by the levels; NaN for what is none."""
    numbers = {level: parse_month(level) for level in texts.cat.categories}
    return texts.astype(object).map(numbers).astype(float)


def _first_days(months: pd.Series) -> pd.Series:
    days = {
        month: pd.Timestamp(year=int(month) // 12, month=int(month) % 12 + 1, day=1)
        for month in months.dropna().unique()
    }
    return months.map(days).astype("datetime64[ns]")


def _risk(status: pd.Series) -> pd.Series:
    """Label loans by their status. There are ten levels of it, so that no row is looked at by itself."""
    safe_or_risky = [0 if level in SAFE_STATUSES else 1 for level in status.cat.categories]
    codes = np.array([*safe_or_risky, -1], dtype=np.int8)  # a missing status has the code -1: the last one here
    levels = pd.Index([CreditRisk.SAFE.value, CreditRisk.RISKY.value])
    return pd.Series(pd.Categorical.from_codes(codes.take(status.cat.codes), categories=levels))
