"""Reads loans from frames: pandas, Polars, or any other table with Arrow's C stream interface."""

import sys
from collections import Counter
from collections.abc import Collection
from typing import Any, Protocol

import pyarrow as pa

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE
from credit_risk_model.loan_age import ISSUED, SNAPSHOT, AgeSource, parse_as_of
from credit_risk_model.tables.ages import find_latest
from credit_risk_model.tables.columns import Wanted, check_months, find_columns, find_layout, normalize_names
from credit_risk_model.tables.texts import combine_chunks

_NAME = "The frame"


class Frame(Protocol):
    """A frame of any library."""

    @property
    def header(self) -> list[str]:
        """Names of its columns, as `normalize_names` returns them."""

    def column(self, name: str) -> pa.Array:
        """Return a column; raise KeyError if there is none."""

    def like_it(self, table: pa.Table) -> Any:
        """Convert a table with as many rows to a frame of the same library, with this one's index."""


def open_frame(frame: Any) -> Frame:
    """Wrap a frame by its library.

    Raises:
        DataError: It is not a frame.
    """
    # A frame's library is already imported, so none is imported here.
    if (pandas := sys.modules.get("pandas")) is not None and isinstance(frame, pandas.DataFrame):
        return _PandasFrame(frame)
    if hasattr(frame, "__arrow_c_stream__"):
        return _ArrowFrame(frame)
    raise DataError(f"{type(frame).__name__} is not a frame: pass one of pandas, Polars or Arrow.")


def read_frame(frame: Frame, as_of: str | None, *, is_part: bool = False) -> tuple[pa.Table, Counter[str]]:
    """Read a frame's loans under the contract's names, and count the converted values.

    Args:
        frame: A frame with the contract's names or Kaggle's; other columns are ignored.
        as_of: Month in which the loans were recorded, as 2016-01, for frames that do not say it.
        is_part: Whether it is a part of a larger table, so that its latest month may not be the table's.

    Raises:
        DataError: A column is missing, repeated, or of a wrong type; or a part does not say when its loans were
            recorded.
        ConfigurationError: `as_of` is not a month.
    """
    month, header = parse_as_of(as_of), frame.header
    found: dict[str, pa.Array] = {}

    def get_type(column: str) -> pa.DataType:
        found[column] = frame.column(column)
        return found[column].type

    columns = find_columns(_NAME, header, Wanted(), get_type)
    latest = _find_latest_of_part if is_part else lambda name: find_latest(_read_months(frame, name))
    layout = find_layout(columns, header, Wanted(), latest, month)
    if is_part:
        _refuse_unknown_record(header, layout.age)
    found |= {name: _read_months(frame, name) for name in layout.months}
    return layout.to_loans({name: found[column] for name, column in layout.columns.items()})


def keep_columns(frame: Frame, names: Collection[str]) -> dict[str, pa.Array]:
    """Return columns of a frame unchanged.

    Raises:
        DataError: A column is missing or repeated.
    """
    header, columns = frame.header, dict(zip(names, normalize_names(names), strict=True))
    if wrong := [name for name, column in columns.items() if header.count(column) != 1]:
        raise DataError(f"{_NAME}: columns to keep are missing or repeated: {', '.join(map(repr, wrong))}.")
    return {name: frame.column(column) for name, column in columns.items()}


def _find_latest_of_part(column: str) -> int | None:
    """Return None, since a part does not know the table's latest month; any month if each loan has its own."""
    return 0 if column == SNAPSHOT else None


def _refuse_unknown_record(header: Collection[str], age: AgeSource) -> None:
    if ISSUED in header and AGE not in header and not age.computed:
        raise DataError(
            f"{_NAME}: the month in which its loans were recorded is unknown, and a part of a table may lack the "
            f"table's latest date. Pass the month (as_of='2016-01'), or add a column {SNAPSHOT} or {AGE}."
        )


def _read_months(frame: Frame, name: str) -> pa.Array:
    column = frame.column(name)
    check_months(_NAME, name, column.type)
    return column


class _PandasFrame:
    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @property
    def header(self) -> list[str]:
        return normalize_names(map(str, self._frame.columns))

    def column(self, name: str) -> pa.Array:
        series = self._frame.iloc[:, self.header.index(name)]
        try:
            # Some extension types come in chunks.
            return _combine(pa.array(series))
        except (pa.ArrowException, OverflowError):  # mixed objects: as text, an invalid one affects only its own row
            missing = series.isna()
            return pa.array([None if gap else str(value) for value, gap in zip(series, missing, strict=True)])

    def like_it(self, table: pa.Table) -> Any:
        return table.to_pandas().set_axis(self._frame.index)


class _ArrowFrame:
    def __init__(self, frame: Any) -> None:
        self._frame, self._table = frame, pa.table(frame)

    @property
    def header(self) -> list[str]:
        return normalize_names(self._table.column_names)

    def column(self, name: str) -> pa.Array:
        return _combine(self._table.column(self.header.index(name)))

    def like_it(self, table: pa.Table) -> Any:
        if (polars := sys.modules.get("polars")) is not None and isinstance(self._frame, polars.DataFrame):
            return polars.DataFrame(table)
        if isinstance(self._frame, pa.RecordBatch):
            return pa.RecordBatch.from_arrays([combine_chunks(column) for column in table.columns], schema=table.schema)
        return table


def _combine(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return combine_chunks(column) if isinstance(column, pa.ChunkedArray) else column
