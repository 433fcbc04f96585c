import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import made_up_loans, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from credit_risk_model import features
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.tables.checking import check
from credit_risk_model.tables.spellings import find_level
from credit_risk_model.tables.texts import MISSING_TEXTS

WHOLE = {feature.name for feature in features.CONTRACT_FEATURES if feature.whole}


def number(feature: features.Feature) -> st.SearchStrategy[float | None]:
    """Mostly values that the contract allows, and whatever else a column of numbers may hold."""
    assert feature.bounds is not None
    smallest, largest = feature.bounds
    inside = st.floats(smallest, largest)
    ends = [edge for end in (smallest, largest) for edge in (end, math.nextafter(end, -1e9), math.nextafter(end, 1e9))]
    whole = inside.map(lambda value: float(round(value)))
    return st.one_of(*[whole if feature.name in WHOLE else inside] * 20, st.none(), st.floats(), st.sampled_from(ends))


def level(feature: features.Feature) -> st.SearchStrategy[str | None]:
    """Mostly the contract's levels, and whatever else a column of text may hold."""
    known = st.sampled_from(feature.levels)
    return st.one_of(*[known] * 20, st.none(), st.text(max_size=5), known.map(str.upper), known.map(str.strip))


LOANS = st.lists(
    st.fixed_dictionaries(
        {feature.name: level(feature) if feature.levels else number(feature) for feature in features.CONTRACT_FEATURES}
    ),
    min_size=1,
    max_size=20,
)


def to_table(loans: list[dict[str, Any]]) -> pa.Table:
    """Loans as a table of numbers and texts."""
    kinds = {feature.name: pa.string() if feature.levels else pa.float64() for feature in features.CONTRACT_FEATURES}
    return pa.table({name: pa.array([loan[name] for loan in loans], kind) for name, kind in kinds.items()})


def to_request(loan: dict[str, Any]) -> dict[str, Any]:
    """The loan of a row as a request has it: null for a missing text, levels as the contract spells them, no cents."""
    request = {name: None if value in MISSING_TEXTS else value for name, value in loan.items()}
    for feature in features.CONTRACT_FEATURES:
        value = request[feature.name]
        if feature.levels and value is not None:
            request[feature.name] = find_level(feature, value) or value
        elif feature.name in {"annual_income", "loan_amount"} and value is not None and math.isfinite(value):
            request[feature.name] = round(value)
    return request


def fields_refused(loan: dict[str, Any]) -> set[str]:
    """The fields for which a request with this loan is refused."""
    try:
        CreditRiskModelInput.model_validate(to_request(loan))
    except ValidationError as error:
        return {str(found["loc"][0]) for found in error.errors()}
    return set()


@settings(max_examples=100)
@given(LOANS)
def test_rows_and_requests_are_refused_alike(loans: list[dict[str, Any]]) -> None:
    """A row is rejected for the very fields that a request with its values would be refused for."""
    checked = check(to_table(loans))
    for place, loan in enumerate(loans):
        reasons = checked.reasons.get(place, [])
        assert {reason.partition(":")[0] for reason in reasons} == fields_refused(loan)
        assert checked.good[place] == (not reasons)
    assert sum(checked.counts.values()) == sum(map(len, checked.reasons.values()))


@settings(max_examples=100)
@given(LOANS)
def test_rows_and_requests_become_the_same_numbers(loans: list[dict[str, Any]]) -> None:
    """A good row's features are, bit for bit, those of a request with its values."""
    requests = [CreditRiskModelInput.model_validate(to_request(loan)) for loan in loans if not fields_refused(loan)]
    checked = check(to_table(loans))
    known = ~np.isnan(checked.columns[features.AGE])
    assert known.tolist() == [request.instalments_due is not None for request in requests]
    for wanted, chosen in ((features.AGE_KNOWN, known), (features.AGE_UNKNOWN, ~known)):
        rows = [wanted.encode_loan(request) for request, is_chosen in zip(requests, chosen, strict=True) if is_chosen]
        expected = np.array(rows, dtype=float).reshape(-1, len(wanted.features))
        np.testing.assert_array_equal(np.column_stack(checked.model_columns(wanted, chosen)), expected)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("annual_income", None, "missing"),
        ("annual_income", math.nan, "not a finite number"),
        ("annual_income", -math.inf, "not a finite number"),
        ("delinquencies_in_last_2_years", 1.5, "not a whole number"),
        ("annual_income", 1895.0, "below 1896"),
        ("annual_income", 1895.4, "below 1896"),
        ("annual_income", 273001.0, "above 273000"),
        ("last_payment_amount", 36475.6, "above 36475.59"),
        ("interest_rate", 5.31, "below 5.32"),
        ("term", None, "missing"),
        ("term", "48 months", "unknown level"),
        ("loan_purpose", "boat", "unknown level"),
        ("loan_purpose", "n/a", "missing"),
        ("instalments_due", 37.0, "above the term"),
        ("instalments_due", 60.0, "above the term"),
        ("instalments_due", 61.0, "above 60"),
        ("delinquencies_in_last_2_years", 100.5, "not a whole number"),
        ("delinquencies_in_last_2_years", -1.5, "not a whole number"),
        ("instalments_due", -1.0, "below 0"),
        ("instalments_due", 1.5, "not a whole number"),
        ("instalments_due", math.nan, "not a finite number"),
        ("debt_to_income_ratio", 43.0, "above 42.64"),
        ("employment_length", "ten", "unknown level"),
    ],
)
def test_reason_names_field_and_rule(field: str, value: Any, reason: str, loan: dict[str, Any]) -> None:
    """A reason tells which rule of which field is broken, and never the value."""
    assert check(to_table([loan, loan | {field: value}])).reasons == {1: [f"{field}: {reason}"]}


@pytest.mark.parametrize(("income", "dollars"), [(65000.5, 65000), (65001.5, 65002), (65000.51, 65001), (1895.6, 1896)])
def test_cents_of_an_income_are_rounded_as_training_does(income: float, dollars: int, loan: dict[str, Any]) -> None:
    """An income with cents becomes the whole dollars that training made of it, which is counted."""
    checked = check(to_table([loan, loan | {"annual_income": income}]))
    assert checked.columns["annual_income"].tolist() == [65000, dollars]
    assert checked.columns["annual_income"][1] == pd.Series([income]).round()[0]
    assert checked.converted == {"annual_income: cents rounded": 1}


def test_levels_spelled_otherwise_are_counted(loan: dict[str, Any]) -> None:
    """A level that is spelled in another way has the contract's code, and is counted; the contract's own is not."""
    loans = [loan, loan | {"term": "36 months", "home_ownership": "rent"}, loan | {"term": "60"}]
    checked = check(to_table(loans))
    assert checked.columns["term"].tolist() == [0, 0, 1]
    assert checked.columns["home_ownership"].tolist() == [0, 0, 0]
    assert checked.converted == {"term: another spelling": 2, "home_ownership: another spelling": 1}


def test_what_may_be_null_may_be_missing(loan: dict[str, Any]) -> None:
    """A missing value of a field that a request may leave null is no reason to reject a row."""
    nullable = [feature.name for feature in features.CONTRACT_FEATURES if feature.nullable]
    checked = check(to_table([loan | dict.fromkeys(nullable), loan | {"employment_length": "n/a"}]))
    assert checked.reasons == {}
    assert all(np.isnan(checked.columns[name][0]) for name in nullable)
    assert np.isnan(checked.columns["employment_length"][1])


def test_sixty_instalments_may_be_due_of_sixty(loan: dict[str, Any]) -> None:
    """The longer term allows what the shorter does not."""
    assert check(to_table([loan | {"term": " 60 months", "instalments_due": 60.0}])).reasons == {}


def test_every_broken_field_is_a_reason(loan: dict[str, Any]) -> None:
    """All broken fields of a row are named, in the contract's order."""
    broken = loan | {"term": "x", "annual_income": None, "interest_rate": 100.0}
    assert check(to_table([broken])).reasons == {
        0: ["annual_income: missing", "interest_rate: above 28.99", "term: unknown level"]
    }


@pytest.mark.parametrize("kind", [pa.int64(), pa.int8(), pa.uint16(), pa.float32(), pa.decimal128(21, 2)])
def test_any_type_of_number_will_do(kind: pa.DataType, loan: dict[str, Any]) -> None:
    """Integers, floats and decimals of any width are numbers."""
    table = to_table([loan])
    place = table.schema.get_field_index("delinquencies_in_last_2_years")
    table = table.set_column(place, "delinquencies_in_last_2_years", pa.array([2]).cast(kind))
    assert check(table).columns["delinquencies_in_last_2_years"].tolist() == [2.0]


def test_levels_may_come_as_a_dictionary(loan: dict[str, Any]) -> None:
    """A dictionary's own codes are not the model's: the level's text counts."""
    table = to_table([loan | {"term": " 60 months"}, loan | {"term": " 36 months"}, loan | {"term": None}])
    place = table.schema.get_field_index("term")
    as_dictionary = table.set_column(place, "term", table["term"].dictionary_encode())
    assert check(as_dictionary).columns["term"].tolist() == check(table).columns["term"].tolist() == [1.0, 0.0]
    assert check(as_dictionary).reasons == {2: ["term: missing"]}


@pytest.mark.parametrize("wanted", features.FEATURE_SETS, ids=lambda wanted: str(wanted.name))
def test_features_of_chosen_loans_are_those_of_requests(wanted: features.FeatureSet) -> None:
    """Any choice of the good loans becomes the columns of a model, in their order, with a request's numbers."""
    loans = made_up_loans(60).drop_columns(["id"])
    checked = check(spoilt(loans, "term", {7: "soon"}))
    rows = [row for place, row in enumerate(loans.to_pylist()) if place != 7]
    known = np.array([row[features.AGE] is not None for row in rows])
    assert known.tolist() == (~np.isnan(checked.columns[features.AGE])).tolist()
    for chosen in (known, known & (np.arange(59) % 3 == 0), np.zeros(59, dtype=bool)):
        requests = [CreditRiskModelInput.model_validate(row) for row, is_in in zip(rows, chosen, strict=True) if is_in]
        expected = np.array([wanted.encode_loan(each) for each in requests]).reshape(-1, len(wanted.names))
        np.testing.assert_array_equal(np.column_stack(checked.model_columns(wanted, chosen)), expected)
    of_known_age = check(loans.filter(loans[features.AGE].is_valid()))
    everything = np.ones(len(of_known_age.good), dtype=bool)
    assert {len(column) for column in of_known_age.model_columns(wanted, everything)} == {len(everything)}


def test_rows_are_good_or_counted_by_their_reasons(loan: dict[str, Any]) -> None:
    """Each rejected row counts for each of its reasons; the columns are those of the good rows."""
    late, poor = loan | {"instalments_due": 37.0}, loan | {"annual_income": 1.0, "term": None}
    checked = check(to_table([late, loan, poor, loan | {"annual_income": 70_000.0}, poor]))
    assert checked.good.tolist() == [False, True, False, True, False]
    assert checked.counts == {"annual_income: below 1896": 2, "term: missing": 2, "instalments_due: above the term": 1}
    assert checked.columns["annual_income"].tolist() == [65_000, 70_000]
    good = check(to_table([loan]))
    assert (good.good.tolist(), good.reasons, dict(good.counts), dict(good.converted)) == ([True], {}, {}, {})


@pytest.mark.parametrize("name", ["annual_income", "delinquencies_in_last_2_years", "interest_rate", "instalments_due"])
def test_bounds_themselves_are_allowed_beside_a_bad_row(name: str, loan: dict[str, Any]) -> None:
    """The smallest and the largest value are good, and so is a missing one where it may be, whatever else is wrong."""
    (feature,) = (each for each in features.CONTRACT_FEATURES if each.name == name)
    assert feature.bounds is not None
    values = [*map(float, feature.bounds), 1e6, *([None] if feature.nullable else [])]
    checked = check(to_table([loan | {"term": " 60 months", name: value} for value in values]))
    assert checked.reasons == {2: [f"{name}: above {feature.bounds[1]}"]}


def test_negative_zero_is_zero(loan: dict[str, Any]) -> None:
    """A count of -0 is the 0 of a request."""
    found = check(to_table([loan | {"delinquencies_in_last_2_years": -0.0}])).columns["delinquencies_in_last_2_years"]
    assert math.copysign(1, found[0]) == 1


def test_level_that_is_not_in_utf_8_is_unknown(loan: dict[str, Any]) -> None:
    """Bytes in another encoding are an unknown level of their own row."""
    table = to_table([loan, loan])
    place = table.schema.get_field_index("home_ownership")
    table = table.set_column(place, "home_ownership", pa.array([b"RENT", b"\xff"]))
    assert check(table).reasons == {1: ["home_ownership: unknown level"]}
