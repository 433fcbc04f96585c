"""Reads a file of loans into a table with the contract's names.

The file is read as in scoring: `tables` detects its format, and parses its columns, numbers and levels.
"""

import hashlib
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.cores import count_cores
from credit_risk_model.errors import DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.loan_age import ISSUED
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.tables.ages import number_months
from credit_risk_model.tables.columns import INSTALLMENT, STATUS, Wanted, check_months
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import Chunk, Source
from credit_risk_model.tables.spellings import find_level, find_spelling
from credit_risk_model.tables.stores import StoredFile
from credit_risk_model.tables.texts import combine_chunks, is_text, number_texts
from credit_risk_model.tables.threads import map_in_order
from credit_risk_model.training.synthetic.layout import ADDRESS

LABEL = "loan_risk"
ISSUE_MONTH = "issue_month"
SOURCE = "source"

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
"""Statuses of loans that expect no more payments. All other loans are running."""

_WANTED = Wanted(numbers=(INSTALLMENT,), texts=(STATUS, ISSUED, SOURCE), needed=(INSTALLMENT, STATUS))
_LEVELS = {feature.name: feature for feature in CONTRACT_FEATURES if feature.levels}
_NUMBERS = [*(feature.name for feature in CONTRACT_FEATURES if not feature.levels), INSTALLMENT]
_MISSING = -1
_CURE = "Use Kaggle's loan.csv as `make data` fetches it, or a file in its columns."

_Codes = npt.NDArray[np.signedinteger[Any]]


@dataclass(frozen=True)
class LoanBook:
    """The loans of a file.

    Attributes:
        loans: One row for each row of the file: the contract's fields (numbers as float64, the rest as categories;
            `instalments_due` is NaN if unknown), `installment`, `loan_status` and the label `loan_risk` (categories
            safe, risky). If the file has them, also `issue_month` (the first day of `issue_d`) and `source`. A row
            whose number of fields differs from the header's has no values.
        age: What the instalments due were computed from, in words.
        synthetic: Whether the first loan is from a synthetic loan book.
    """

    loans: pd.DataFrame
    age: str
    synthetic: bool


def read_loans(path: Path, as_of: str | None = None) -> LoanBook:
    """Read a file of loans.

    The instalments due come from a column `instalments_due`, if there is one. Otherwise they are the whole months from
    `issue_d` to the month of the record, which `loan_age.choose_age_source` finds, but at most the term's months.

    Args:
        path: Any file or folder that the scoring reads, with `loan_status` and `installment`.
        as_of: The month in which the loans' state was recorded, as 2016-01, for files that do not say it.

    Raises:
        DataError: The file is missing, empty or truncated, lacks a column, or holds an invalid number or an unknown
            loan status. The message contains no borrower's value.
        ConfigurationError: `as_of` is not a month.
    """
    if not path.exists():
        raise DataError(f"{path.name}: no such file. Run `make data`, or set LOAN_DATA to a loan.csv.")
    threads = count_cores()
    source = open_source(path, as_of=as_of, threads=threads, wanted=_WANTED)
    table = _Table(path.name, source)
    for chunk in map_in_order(methodcaller("parse"), source.tasks(), threads):
        table.add(chunk)
    return LoanBook(table.finish(), source.age, _is_synthetic(source))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's stored bytes, or of the digests of a folder's files."""
    if path.is_dir():
        digests = [hash_file(Path(file.path)) for file in StoredFile.at(path).files()]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_synthetic(source: Source) -> bool:
    (first,) = next(source.tasks(as_they_are=True)).parse().table.slice(0, 1).to_pylist() or [{}]
    return any(isinstance(value, str) and value.startswith(ADDRESS) for value in first.values())


class _Table:
    """The loans read so far: numbers as arrays, texts as codes of the levels found."""

    def __init__(self, name: str, source: Source) -> None:
        self._name, self._source = name, source
        self._numbers: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._codes: dict[str, list[_Codes]] = {}
        self._met: dict[str, dict[str, int]] = {}
        self._rows = self._unknown = self._first_unknown = 0
        self._last_is_broken = ""

    def add(self, chunk: Chunk) -> None:
        """Add a chunk's rows; unparsable ones have no values."""
        loans = _insert_broken_rows(chunk)
        if not loans.num_rows:
            return
        for name in _NUMBERS:
            self._numbers.setdefault(name, []).append(self._check_numbers(name, combine_chunks(loans[name])))
        for name in (*_LEVELS, STATUS, SOURCE):
            if name in loans.column_names:
                self._codes.setdefault(name, []).append(self._code(name, combine_chunks(loans[name])))
        if ISSUED in loans.column_names:
            issued = combine_chunks(loans[ISSUED])
            check_months(self._name, ISSUED, issued.type)
            self._numbers.setdefault(ISSUE_MONTH, []).append(number_months(issued))
        self._check_statuses()
        self._rows += loans.num_rows
        self._last_is_broken = chunk.broken.get(chunk.rows - 1, "")

    def finish(self) -> pd.DataFrame:
        """Concatenate the parts, and release them."""
        if not self._rows:
            raise DataError(f"{self._name}: has a header but no row. {_CURE}")
        if self._last_is_broken:
            raise DataError(
                f"{self._name}: truncated: its last line has {self._last_is_broken}. Fetch it again: `make data`."
            )
        if self._unknown:
            raise DataError(
                f"{self._name}: column {STATUS}, data row {self._first_unknown}: unknown status "
                f"({self._unknown} rows in all). {_CURE}"
            )
        columns = {name: pd.Series(np.concatenate(self._numbers.pop(name))) for name in list(self._numbers)}
        columns |= {name: pd.Series(self._join_levels(name)) for name in list(self._codes)}
        columns[LABEL] = _risk(columns[STATUS])
        if ISSUE_MONTH in columns:
            columns[ISSUE_MONTH] = _find_first_days(columns[ISSUE_MONTH])
        order = [*(feature.name for feature in CONTRACT_FEATURES), INSTALLMENT, STATUS, LABEL]
        order += [name for name in (ISSUE_MONTH, SOURCE) if name in columns]
        # copy=False: otherwise pandas copies all numbers into one array, which needs twice the memory.
        return pd.DataFrame({name: columns[name] for name in order}, copy=False)

    def _check_numbers(self, name: str, numbers: pa.Array) -> npt.NDArray[np.float64]:
        wrong = pc.is_nan(numbers).fill_null(False)
        if pc.any(wrong).as_py():
            column = self._source.get_column_name(name)
            row = self._rows + pc.index(wrong, True).as_py() + 1
            raise DataError(f"{self._name}: column {column}, data row {row}: not a number. {_CURE}")
        return np.array(numbers.to_numpy(zero_copy_only=False))  # a copy, so that the chunk's memory can be released

    def _code(self, name: str, column: pa.Array) -> _Codes:
        """Encode a column's levels in the order of their appearance."""
        met = self._met.setdefault(name, {})

        def encode(text: bytes) -> float:
            return met.setdefault(_find_level(name, text.decode(errors="replace")), len(met))

        texts = column if is_text(column.type) else pc.cast(column, pa.string())
        codes = number_texts(texts, encode, _MISSING)
        return codes.astype(_choose_type(met))

    def _check_statuses(self) -> None:
        unknown = [code for status, code in self._met[STATUS].items() if status not in SAFE_STATUSES + RISKY_STATUSES]
        if unknown:
            wrong = np.isin(self._codes[STATUS][-1], unknown)
            self._first_unknown = self._first_unknown or self._rows + int(wrong.argmax()) + 1
            self._unknown += int(wrong.sum())

    def _join_levels(self, name: str) -> pd.Categorical:
        met, codes = self._met.pop(name), np.concatenate(self._codes.pop(name))
        levels = sorted(met)
        ranks = np.array([*(levels.index(level) for level in met), _MISSING], dtype=_choose_type(met))
        return pd.Categorical.from_codes(ranks[codes], categories=pd.Index(levels, dtype=object))


def _choose_type(met: dict[str, int]) -> np.dtype[Any]:
    return np.min_scalar_type(-1 - len(met))


def _find_level(name: str, text: str) -> str:
    """Return the level that a text means, or the text itself if it means none; cleaning handles those."""
    found = text
    if name in _LEVELS:
        found = find_level(_LEVELS[name], text) or text
    elif name == STATUS:
        found = find_spelling(SAFE_STATUSES + RISKY_STATUSES, text) or text
    return found


def _insert_broken_rows(chunk: Chunk) -> pa.Table:
    """Insert the unparsable rows at their positions, without values."""
    if not chunk.broken:
        return chunk.table
    places = {place: row for row, place in enumerate(chunk.places.tolist())}
    left_out = set(chunk.skipped)
    rows = [places.get(place) for place in range(chunk.rows) if place not in left_out]
    return chunk.table.take(pa.array(rows, pa.int64()))


def _find_first_days(months: pd.Series) -> pd.Series:
    days = {
        month: pd.Timestamp(year=int(month) // 12, month=int(month) % 12 + 1, day=1)
        for month in months.dropna().unique()
    }
    return months.map(days).astype("datetime64[ns]")


def _risk(status: pd.Series) -> pd.Series:
    """Label loans by their status, through the codes of its ten levels."""
    safe_or_risky = [0 if level in SAFE_STATUSES else 1 for level in status.cat.categories]
    codes = np.array([*safe_or_risky, -1], dtype=np.int8)  # a missing status has the code -1, the last element here
    levels = pd.Index([CreditRisk.SAFE.value, CreditRisk.RISKY.value])
    return pd.Series(pd.Categorical.from_codes(codes.take(status.cat.codes), categories=levels))
