"""Frames as data scientists have them: pandas, Polars, or any other table that speaks Arrow."""

import sys
from collections import Counter
from collections.abc import Collection
from typing import Any, Protocol

import pyarrow as pa

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE
from credit_risk_model.loan_age import ISSUED, SNAPSHOT, AgeSource, parse_as_of
from credit_risk_model.tables.ages import find_latest
from credit_risk_model.tables.columns import Wanted, check_months, find_columns, find_layout, plain_names
from credit_risk_model.tables.texts import one_array

_NAME = "The frame"


class Frame(Protocol):
    """A frame of some kind."""

    @property
    def header(self) -> list[str]:
        """Names of its columns, as `plain_names` gives them."""

    def column(self, name: str) -> pa.Array:
        """Give a column; raise KeyError where there is none."""

    def like_it(self, table: pa.Table) -> Any:
        """Make a frame of the same kind, with this one's index, of a table with as many rows."""


def open_frame(frame: Any) -> Frame:
    """Find out what kind a frame is of.

    Raises:
        DataError: It is none.
    """
    # A library that was never imported has made no frame, so none is imported here.
    if (pandas := sys.modules.get("pandas")) is not None and isinstance(frame, pandas.DataFrame):
        return _PandasFrame(frame)
    if hasattr(frame, "__arrow_c_stream__"):
        return _ArrowFrame(frame)
    raise DataError(f"{type(frame).__name__} is no frame: give one of pandas, Polars or Arrow.")


def read_frame(frame: Frame, as_of: str | None, *, is_part: bool = False) -> tuple[pa.Table, Counter[str]]:
    """Read the loans of a frame, in the contract's names, and count the values that were converted.

    Args:
        frame: In the contract's names or Kaggle's; other columns are fine.
        as_of: Month in which the loans were recorded, as 2016-01, for frames that do not say it.
        is_part: Whether it is a part of a larger table. Its latest month is not that of the whole then.

    Raises:
        DataError: A column is missing, there twice, or of a type that can't be read; or a part does not say when its
            loans were recorded.
        ConfigurationError: `as_of` is no month.
    """
    month, header = parse_as_of(as_of), frame.header
    found: dict[str, pa.Array] = {}

    def type_of(column: str) -> pa.DataType:
        found[column] = frame.column(column)
        return found[column].type

    columns = find_columns(_NAME, header, Wanted(), type_of)
    latest = _latest_of_part if is_part else lambda name: find_latest(_months(frame, name))
    layout = find_layout(columns, header, Wanted(), latest, month)
    if is_part:
        _refuse_unknown_record(header, layout.age)
    found |= {name: _months(frame, name) for name in layout.months}
    return layout.to_loans({name: found[column] for name, column in layout.columns.items()})


def keep_columns(frame: Frame, names: Collection[str]) -> dict[str, pa.Array]:
    """Give columns of a frame as they are.

    Raises:
        DataError: One is not there, or there more than once.
    """
    header, plain = frame.header, plain_names(names)
    if wrong := [name for name, known in zip(names, plain, strict=True) if header.count(known) != 1]:
        raise DataError(f"{_NAME}: columns to keep must be there once: {', '.join(map(repr, wrong))}.")
    return {name: frame.column(known) for name, known in zip(names, plain, strict=True)}


def _latest_of_part(column: str) -> int | None:
    """Find no date of the whole table in a part of it. Some month stands for those that each loan has of its own."""
    return 0 if column == SNAPSHOT else None


def _refuse_unknown_record(header: Collection[str], age: AgeSource) -> None:
    if ISSUED in header and AGE not in header and not age.computed:
        raise DataError(
            f"{_NAME}: the month in which its loans were recorded is not known, and a part of a table does not have "
            f"the latest date of the whole. Name the month (as_of='2016-01'), or add a column {SNAPSHOT} or {AGE}."
        )


def _months(frame: Frame, name: str) -> pa.Array:
    column = frame.column(name)
    check_months(_NAME, name, column.type)
    return column


class _PandasFrame:
    def __init__(self, frame: Any) -> None:
        self._frame = frame

    @property
    def header(self) -> list[str]:
        return plain_names(map(str, self._frame.columns))

    def column(self, name: str) -> pa.Array:
        series = self._frame.iloc[:, self.header.index(name)]
        try:
            # Some extension types come in chunks.
            return _whole(pa.array(series, from_pandas=True))
        except (pa.ArrowException, OverflowError):  # objects of several kinds: one that does not fit spoils only itself
            missing = series.isna()
            return pa.array([None if gap else str(value) for value, gap in zip(series, missing, strict=True)])

    def like_it(self, table: pa.Table) -> Any:
        return table.to_pandas().set_axis(self._frame.index)


class _ArrowFrame:
    def __init__(self, frame: Any) -> None:
        self._frame, self._table = frame, pa.table(frame)

    @property
    def header(self) -> list[str]:
        return plain_names(self._table.column_names)

    def column(self, name: str) -> pa.Array:
        return _whole(self._table.column(self.header.index(name)))

    def like_it(self, table: pa.Table) -> Any:
        if (polars := sys.modules.get("polars")) is not None and isinstance(self._frame, polars.DataFrame):
            return polars.DataFrame(table)
        if isinstance(self._frame, pa.RecordBatch):
            return pa.RecordBatch.from_arrays([one_array(column) for column in table.columns], schema=table.schema)
        return table


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return one_array(column) if isinstance(column, pa.ChunkedArray) else column
