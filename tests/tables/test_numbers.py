from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from credit_risk_model.tables.numbers import is_number, to_numbers

CENTS = st.integers(-10_000_000, 10_000_000)


def bits(column: pa.Array) -> list[str | None]:
    """Numbers to the last bit."""
    return [None if value is None else value.hex() for value in to_numbers(column)[0].to_pylist()]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_short_floats_are_read_by_their_shortest_decimal(values: list[float]) -> None:
    """A float of 32 bits has the bits that its digits have in a request: 13.56, not 13.5600004."""
    expected = [float(str(np.float32(value))) for value in values]
    assert bits(pa.array(values, pa.float32())) == [value.hex() for value in expected]


@pytest.mark.parametrize("kind", [pa.decimal128(12, 2), pa.decimal256(40, 2), pa.decimal64(12, 2)])
@given(cents=st.lists(CENTS))
def test_decimals_have_the_bits_of_the_nearest_float(kind: pa.DataType, cents: list[int]) -> None:
    """A decimal is read as the service reads its digits, where Arrow's own cast is off by a bit now and then."""
    values = [Decimal(number).scaleb(-2) for number in cents]
    assert bits(pa.array(values, kind)) == [float(str(value)).hex() for value in values]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([13, None], pa.int8()),
        pa.array([13, None], pa.uint64()),
        pa.array([13.0, None], pa.float32()),
        pa.array([Decimal(13), None]),
        pa.array([13, None]).dictionary_encode(),
        pa.array([13.0, None], pa.float32()).dictionary_encode(),
        pa.array([Decimal(13), None]).dictionary_encode(),
        pa.array(["13", None]),
        pa.array(["13.0", ""], pa.large_string()),
        pa.array(["13", "NA"], pa.string_view()),
        pa.array([b" 13 ", None]),
        pa.array([b"1.3e1", None], pa.binary_view()),
        pa.array(["13", None]).dictionary_encode(),
        pa.array(["13", None], pa.string_view()).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_numbers_of_all_types_are_alike(column: pa.Array) -> None:
    """Integers, floats, decimals and texts of any width, and dictionaries of them, are the numbers that they mean."""
    assert bits(column) == [float(13).hex(), None]


@pytest.mark.parametrize(
    ("kind", "is_one"),
    [
        (pa.int64(), True),
        (pa.float32(), True),
        (pa.decimal128(5, 2), True),
        (pa.dictionary(pa.int8(), pa.int64()), True),
        (pa.dictionary(pa.int8(), pa.string()), False),
        (pa.bool_(), False),
        (pa.date32(), False),
        (pa.list_(pa.int64()), False),
    ],
)
def test_types_of_numbers_are_known(kind: pa.DataType, is_one: bool) -> None:
    """Truth values, dates and lists are no numbers."""
    assert is_number(kind) is is_one


def test_percent_signs_are_read_and_counted() -> None:
    """A percent sign is left out where one may be, and is no part of a number elsewhere."""
    column = pa.array([" 13.56%", "54 % ", "7", "%", "5%%", None, " 13.56%"])
    numbers, signs = to_numbers(column, percent=True)
    assert repr(numbers.to_pylist()) == "[13.56, 54.0, 7.0, nan, nan, None, 13.56]"
    assert signs == 3
    assert repr(to_numbers(column)[0].to_pylist()) == "[nan, nan, 7.0, nan, nan, None, nan]"
    assert to_numbers(column)[1] == 0


def test_whole_number_that_no_float_holds_is_the_nearest_one() -> None:
    """A number beyond any bound is a number all the same, so that its row is rejected for it and no other stops."""
    assert to_numbers(pa.array([2**53 + 1, 1, None]))[0].to_pylist() == [2.0**53, 1.0, None]
