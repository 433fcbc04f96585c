import datetime

import pyarrow as pa
import pytest

from credit_risk_model.loan_age import AgeSource
from credit_risk_model.tables.ages import compute_due, find_latest, holds_months, number_months

DEC_2011 = 2011 * 12 + 11


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["Dec-2011", None]),
        pa.array([b"Dec-2011", None]),
        pa.array(["Dec-2011", None], pa.large_string()),
        pa.array(["Dec-2011", None]).dictionary_encode(),
        pa.array([datetime.date(2011, 12, 31), None]),
        pa.array([datetime.date(2011, 12, 31), None], pa.date64()),
        pa.array([datetime.date(2011, 12, 31), None]).dictionary_encode(),
        pa.array([datetime.datetime(2011, 12, 1, 0, 0), None], pa.timestamp("ns")),
        pa.array([datetime.datetime(2011, 11, 30, 23, 30, tzinfo=datetime.UTC), None], pa.timestamp("s", "+01:00")),
    ],
    ids=lambda column: str(column.type),
)
def test_months_of_text_dates_and_timestamps_are_alike(column: pa.Array) -> None:
    """A month may be text, a date or a timestamp, which lies in the month of its own time zone."""
    assert repr(number_months(column).tolist()) == repr([float(DEC_2011), float("nan")])


@pytest.mark.parametrize("text", ["", "NA", "12-2011", "Dec-11", "2011-12-01", "December-2011", "Dec-2011 ?", "\ufffd"])
def test_text_that_is_no_month_is_not_known(text: str) -> None:
    """Whatever does not name a month is no error: the age of that loan is not known."""
    assert find_latest(pa.array([text])) is None


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        (pa.string(), True),
        (pa.date32(), True),
        (pa.null(), True),
        (pa.timestamp("us", "UTC"), True),
        (pa.timestamp("us", "Nowhere/At_all"), False),
        (pa.int64(), False),
        (pa.bool_(), False),
        (pa.time32("s"), False),
    ],
)
def test_types_that_hold_months_are_known(kind: pa.DataType, holds: bool) -> None:
    """Text, dates, timestamps of known time zones and empty columns hold months; nothing else does."""
    assert holds_months(kind) is holds


def test_text_that_is_not_in_utf_8_is_not_known() -> None:
    """Bytes in another encoding are no month and no term, and stop no other row."""
    assert find_latest(pa.array([b"D\xe9c-2012", b"Dec-2011"])) == DEC_2011
    columns = {
        "issue_d": pa.array([b"Dec-2011", b"D\xe9c-2011", b"Dec-2011"]),
        "term": pa.array([b"36 months", b"36 months", b"36 m\xe9nths"]),
    }
    source = AgeSource("months", computed=True, snapshot=DEC_2011 + 2)
    assert compute_due(columns, source).to_pylist() == [2, None, None]
