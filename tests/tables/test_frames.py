import datetime
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import made_up_loans

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.tables.frames import keep_columns, open_frame, read_frame

LOANS = made_up_loans(5)
MAKE: dict[str, Callable[[pa.Table], Any]] = {
    "pandas": lambda table: table.to_pandas(),
    "pandas with Arrow's types": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "Polars": pl.DataFrame,
    "Arrow": lambda table: table,
    "Arrow in chunks": lambda table: pa.concat_tables([table.slice(0, 2), table.slice(2)]),
    "Arrow batch": lambda table: table.combine_chunks().to_batches()[0],
}
UNKNOWN_RECORD = (
    "The frame: the month in which its loans were recorded is unknown, and a part of a table may lack the table's "
    "latest date. Pass the month (as_of='2016-01'), or add a column snapshot_d or instalments_due."
)


def with_months(**months: Any) -> pd.DataFrame:
    """The loans without their age, but with columns of months."""
    return LOANS.drop_columns([AGE]).to_pandas().assign(**months)


def ages(frame: Any, as_of: str | None = None, *, is_part: bool = False) -> list[float | None]:
    """The instalments due of a frame's loans."""
    found: list[float | None] = read_frame(open_frame(frame), as_of, is_part=is_part)[0][AGE].to_pylist()
    return found


@pytest.mark.parametrize("kind", MAKE)
def test_loans_of_any_frame_are_read_alike(kind: str) -> None:
    """Loans have the contract's names, order and values, whatever the library and however the columns are named."""
    kaggle = {feature.name: f" {(feature.column or feature.name).upper()} " for feature in CONTRACT_FEATURES}
    names = [kaggle.get(name, name) for name in LOANS.column_names]
    expected = LOANS.drop_columns(["id"]).to_pylist()
    for table in (LOANS, LOANS.rename_columns(names)):
        loans, converted = read_frame(open_frame(MAKE[kind](table)), None)
        assert loans.select(LOANS.column_names[1:]).to_pylist() == expected
        assert converted == {}


def test_converted_values_are_counted() -> None:
    """Percent signs are removed and counted."""
    rates = [f"{rate}%" for rate in LOANS["interest_rate"].to_pylist()]
    loans, converted = read_frame(open_frame(LOANS.to_pandas().assign(interest_rate=rates)), None)
    assert loans["interest_rate"].to_pylist() == LOANS["interest_rate"].to_pylist()
    assert converted == {"interest_rate: percent sign": 5}


def test_column_of_mixed_objects_is_read_cell_by_cell() -> None:
    """Numbers and texts may stand in one column of pandas; a missing value stays missing, a large number a number."""
    incomes = [65000, "65001", None, 2**70, 65002.5]
    loans, _ = read_frame(open_frame(LOANS.to_pandas().assign(annual_income=pd.Series(incomes, dtype=object))), None)
    assert loans["annual_income"].to_pylist() == [65000.0, 65001.0, None, 2.0**70, 65002.5]


def test_names_of_pandas_columns_may_be_anything() -> None:
    """A column that is not named by a text is ignored, like any other that is not read."""
    frame = LOANS.to_pandas()
    frame[7] = frame["id"]
    assert read_frame(open_frame(frame), None)[0].num_rows == 5


def test_months_of_the_whole_frame_give_the_age() -> None:
    """Of a whole frame, the latest month is that of the record, unless the caller names it or each loan has its own."""
    months = pd.Series(["Oct-2014", "Dec-2014", None, "Nov-2014", "Oct-2014"])
    issued = with_months(issue_d="Oct-2014")
    assert ages(issued.assign(last_pymnt_d=months)) == [2] * 5
    assert ages(issued.assign(last_pymnt_d=months), "2015-01") == [2] * 5
    assert ages(issued, "2015-01") == [3] * 5
    assert ages(issued.assign(snapshot_d=months)) == [0, 2, None, 1, 0]
    assert ages(issued.assign(issue_d=pd.to_datetime("2014-10-31")), "2015-01") == [3] * 5
    assert ages(issued) == [None] * 5
    assert read_frame(open_frame(issued.assign(last_pymnt_d=months)), None)[0][AGE].to_pylist() == [2] * 5


def test_part_of_a_table_must_say_when_it_was_recorded() -> None:
    """A part does not know the table's latest month, so it is refused unless its loans' record is known otherwise."""
    issued = with_months(issue_d="Oct-2014", last_pymnt_d="Dec-2014")
    with pytest.raises(DataError, match=f"^{re.escape(UNKNOWN_RECORD)}$"):
        ages(issued, is_part=True)
    assert ages(issued, "2015-01", is_part=True) == [3] * 5
    assert ages(issued.assign(snapshot_d="Nov-2014"), is_part=True) == [1] * 5
    assert ages(issued.assign(instalments_due=7), is_part=True) == [7] * 5
    assert ages(with_months(), is_part=True) == [None] * 5


def test_month_of_each_loan_counts_in_a_part_without_any() -> None:
    """A part whose loans all lack their month has loans of unknown age, and is no reason to stop."""
    assert ages(with_months(issue_d="Oct-2014", snapshot_d=None), is_part=True) == [None] * 5


@pytest.mark.parametrize("column", ["issue_d", "snapshot_d", "last_pymnt_d"])
def test_numbers_are_no_months(column: str) -> None:
    """A column that can hold no months is named with its type and the cure."""
    frame = with_months(**{"issue_d": "Oct-2014", column: 201410})
    words = f"The frame: column {column} is of type int64, not months. Convert it to dates, timestamps, or text"
    with pytest.raises(DataError, match=f"^{re.escape(words)}"):
        ages(frame, "2015-01" if column == "issue_d" else None)


def test_problems_of_columns_name_the_frame() -> None:
    """Missing columns and columns of a wrong type are all named, and so is a month that is none."""
    frame = LOANS.drop_columns(["term"]).to_pandas().assign(annual_income=True)
    words = (
        "The frame: no column term. Add each under one of its names. Wrong type of column annual_income (bool instead "
        "of numbers). Convert them."
    )
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        read_frame(open_frame(frame), None)
    with pytest.raises(ConfigurationError, match=r"^as_of is 'soon'"):
        read_frame(open_frame(LOANS), "soon")


def test_what_is_no_frame_is_refused_by_its_type() -> None:
    """The error names the type, and what may be passed."""
    with pytest.raises(DataError, match=r"^dict is not a frame: pass one of pandas, Polars or Arrow\.$"):
        open_frame({"term": [" 36 months"]})


@pytest.mark.parametrize("kind", MAKE)
def test_columns_are_kept_as_they_are(kind: str) -> None:
    """Columns come back under the names that were asked for, in that order, and with their own values."""
    table = LOANS.append_column("Day", pa.array([datetime.date(2016, 1, day) for day in range(1, 6)]))
    kept = keep_columns(open_frame(MAKE[kind](table)), ["Day", "TERM", "id"])
    assert list(kept) == ["Day", "TERM", "id"]
    assert all(isinstance(column, pa.Array) for column in kept.values())
    assert kept["id"].to_pylist() == LOANS["id"].to_pylist()
    assert kept["TERM"].to_pylist() == LOANS["term"].to_pylist()
    assert kept["Day"].to_pylist() == table["Day"].to_pylist()


def test_columns_that_can_not_be_kept_are_named() -> None:
    """All columns to keep that are missing or repeated are named as the caller wrote them."""
    frame = LOANS.to_pandas().assign(ID="x").rename(columns={"ID": "id"})
    words = "The frame: columns to keep are missing or repeated: 'id', 'Other'."
    with pytest.raises(DataError, match=f"^{re.escape(words)}$"):
        keep_columns(open_frame(frame), ["id", "term", "Other"])


@pytest.mark.parametrize(
    ("kind", "library"),
    [("pandas", pd.DataFrame), ("Polars", pl.DataFrame), ("Arrow", pa.Table), ("Arrow batch", pa.RecordBatch)],
)
def test_answers_come_in_a_frame_of_the_same_library(kind: str, library: type) -> None:
    """A table becomes a frame of the caller's library, with the same columns and values."""
    answers = pa.table({"row": pa.chunked_array([[1, 2], [3, 4, 5]]), "text": ["a", "b", None, "d", "e"]})
    found = open_frame(MAKE[kind](LOANS)).like_it(answers)
    assert type(found) is library
    assert pa.table(found).to_pydict() == answers.to_pydict()


def test_answers_have_the_index_of_their_loans() -> None:
    """Answers to a pandas frame stand under its own index."""
    frame = LOANS.to_pandas().set_axis(list("edcba"))
    found = open_frame(frame).like_it(pa.table({"row": [1, 2, 3, 4, 5]}))
    assert found["row"].to_dict() == {"e": 1, "d": 2, "c": 3, "b": 4, "a": 5}
