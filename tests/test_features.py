import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_risk_model import features
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training.fitting import make_feature_frame
from credit_risk_model.training.golden import make_golden_loans
from credit_risk_model.training.packaging import to_frame


def valid_loans(*, age: bool | None = None) -> st.SearchStrategy[CreditRiskModelInput]:
    """Any loan that the contract allows, its bounds and levels taken from the contract.

    Args:
        age: Whether the instalments due are known; None for either.
    """
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for feature in features.CONTRACT_FEATURES:
        if feature.bounds is None:
            fields[feature.name] = st.sampled_from(feature.levels)
        elif feature.whole:
            fields[feature.name] = st.integers(int(feature.bounds[0]), int(feature.bounds[1]))
        else:
            fields[feature.name] = st.floats(*feature.bounds)
        if feature.nullable and (feature.name != features.AGE or age is None):
            fields[feature.name] |= st.none()
    if age is False:
        fields[features.AGE] = st.none()
    return st.fixed_dictionaries(fields).map(within_term).map(CreditRiskModelInput.model_validate)


def within_term(loan: dict[str, object]) -> dict[str, object]:
    """The loan with no more instalments due than its term has."""
    due, months = loan[features.AGE], features.TERM_MONTHS[str(loan["term"])]
    return loan if due is None else loan | {features.AGE: min(int(str(due)), months)}


def with_age(loan: CreditRiskModelInput) -> dict[str, float]:
    """The features of a loan whose age is known, by name."""
    return dict(zip(features.AGE_KNOWN.names, features.AGE_KNOWN.encode_loan(loan), strict=True))


SCHEMA = CreditRiskModelInput.model_json_schema()
KAGGLE = {
    "annual_income": "annual_inc",
    "collections_in_last_12_months": "collections_12_mths_ex_med",
    "delinquencies_in_last_2_years": "delinq_2yrs",
    "debt_to_income_ratio": "dti",
    "employment_length": "emp_length",
    "home_ownership": "home_ownership",
    "number_of_delinquent_accounts": "acc_now_delinq",
    "interest_rate": "int_rate",
    "last_payment_amount": "last_pymnt_amnt",
    "loan_amount": "loan_amnt",
    "derogatory_public_record_count": "pub_rec",
    "loan_purpose": "purpose",
    "revolving_line_utilization_rate": "revol_util",
    "term": "term",
    "total_payments_to_date": "total_pymnt_inv",
    "verification_status": "verification_status",
}


@pytest.mark.parametrize("name", SCHEMA["properties"])
def test_feature_of_a_field_says_what_its_json_schema_says(name: str) -> None:
    """Description, bounds, levels, whole or not, null or not are those of the schema; the column is Kaggle's."""
    stated = SCHEMA["properties"][name]
    kinds = stated.get("anyOf", [stated])
    (kind,) = (kind for kind in kinds if kind != {"type": "null"})
    levels = tuple(SCHEMA["$defs"][kind["$ref"].rpartition("/")[2]]["enum"]) if "$ref" in kind else ()
    feature = features._make_contract_feature(name)
    assert feature == features.Feature(
        name=name,
        description=stated["description"],
        fields=(name,),
        levels=levels,
        bounds=None if levels else (kind["minimum"], kind["maximum"]),
        column=KAGGLE.get(name),
        whole=kind.get("type") == "integer",
        nullable={"type": "null"} in kinds,
    )
    assert (type(feature.whole), type(feature.nullable), type(feature.levels)) == (bool, bool, tuple)
    assert feature in features.CONTRACT_FEATURES
    assert [each.name for each in features.CONTRACT_FEATURES] == list(SCHEMA["properties"])


NULLABLE = ("employment_length", "debt_to_income_ratio", "revolving_line_utilization_rate")


@pytest.mark.parametrize("unknown", [(), NULLABLE, *((name,) for name in NULLABLE)], ids=", ".join)
def test_null_becomes_no_number_and_changes_no_other_value(unknown: tuple[str, ...]) -> None:
    """Whichever fields are null: they alone become NaN, and the others are what they were."""
    get_values = features._make_getter(features.AGE_UNKNOWN.contract)
    loan = CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, **dict.fromkeys(unknown)})
    known = {
        "annual_income": 65000,
        "collections_in_last_12_months": 0,
        "delinquencies_in_last_2_years": 0,
        "debt_to_income_ratio": 17.2,
        "employment_length": 5.0,
        "home_ownership": 0.0,
        "number_of_delinquent_accounts": 0,
        "interest_rate": 13.5,
        "last_payment_amount": 407.23,
        "loan_amount": 12000,
        "derogatory_public_record_count": 0,
        "loan_purpose": 0.0,
        "revolving_line_utilization_rate": 54.0,
        "term": 0.0,
        "total_payments_to_date": 5293.9,
        "verification_status": 1.0,
    }
    values = get_values(loan)
    assert isinstance(values, tuple)
    np.testing.assert_equal(values, tuple((known | dict.fromkeys(unknown, math.nan)).values()))


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("share_of_due_paid", "total_payments_to_date"),
        ("arrears_before_last_payment", "total_payments_to_date"),
        ("last_payment_after_term", "last_payment_amount"),
        ("instalments_due", "instalments_due"),
        ("annual_income", "annual_income"),
    ],
)
def test_feature_restates_the_payment_that_it_comes_from(name: str, fact: str) -> None:
    """A derived feature is one fact with its payment; any other field is a fact of its own."""
    (found,) = {each.fact for each in (*features.AGE_KNOWN.features, *features.CONTRACT_FEATURES) if each.name == name}
    assert found == fact


def test_row_of_the_example() -> None:
    """A loan becomes its fields in the contract's order, levels as codes, and its arithmetic."""
    loan = CreditRiskModelInput.model_validate(EXAMPLE_LOAN)
    fields = (65000, 0, 0, 17.2, 5.0, 0.0, 0, 13.5, 407.23, 12000, 0, 0.0, 54.0, 0.0, 5293.9, 1.0)
    row = features.AGE_UNKNOWN.encode_loan(loan)
    assert row[: len(fields)] == fields
    # 12,000 at 13.5 % over 36 months is 407.2234 a month: 13 of 36 are paid, 12 of them before the last.
    np.testing.assert_allclose(row[len(fields) :], (13, 13 / 36, 0.441158, 1, 12, 1), atol=5e-5)
    derived = with_age(loan)
    assert [derived[feature.name] for feature in features.AGE_KNOWN.derived[:7]] == [2, 3, 0.87, 0.44, 1, 0, 0]
    assert all(math.isnan(derived[feature.name]) for feature in features.AGE_KNOWN.derived[7:])


def test_instalment_is_the_annuity() -> None:
    """Payments of one textbook annuity instalment a month count as one instalment each, for either term."""
    for rate, term, months in ((13.5, " 36 months", 36), (5.32, " 60 months", 60), (28.99, " 60 months", 60)):
        monthly = rate / 1200
        annuity = 12000 * monthly / (1 - (1 + monthly) ** -months)
        changes = {"interest_rate": rate, "term": term, "total_payments_to_date": 7 * annuity}
        loan = CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, **changes})
        derived = dict(zip(features.AGE_UNKNOWN.names, features.AGE_UNKNOWN.encode_loan(loan), strict=True))
        np.testing.assert_allclose(derived["payments_in_instalments"], 7, rtol=1e-12)
        np.testing.assert_allclose(derived["share_of_schedule_paid"], 7 / months, rtol=1e-12)
        assert with_age(loan)["arrears_in_instalments"] == 8


def test_loan_of_no_instalment_due_owes_nothing() -> None:
    """On its first day a loan has paid all that was due."""
    first_day = {"instalments_due": 0, "total_payments_to_date": 0, "last_payment_amount": 0}
    derived = with_age(CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, **first_day}))
    assert (derived["arrears_in_instalments"], derived["share_of_due_paid"]) == (0, 1)


def test_derived_features_of_a_longer_loan() -> None:
    """20,000 dollars at 12 % over 60 months are 444.889 a month: what was paid is told in those and in shares."""
    monthly = 20_000 * 0.01 / (1 - 1.01**-60)
    terms = {"loan_amount": 20_000, "interest_rate": 12.0, "term": " 60 months", "instalments_due": 1}
    paid = {"last_payment_amount": 1.7 * monthly, "total_payments_to_date": 3.53 * monthly}
    loan = CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, **terms, **paid})
    without_age = features.AGE_UNKNOWN.encode_loan(loan)[len(features.AGE_UNKNOWN.contract) :]
    share = 3.53 * monthly / 20_000
    np.testing.assert_allclose(without_age, (3.53, 3.53 / 60, share, 1.7, 1.83, 0.53), rtol=1e-9)
    derived = [with_age(loan)[feature.name] for feature in features.AGE_KNOWN.derived]
    # In twentieths of an instalment, shares in hundredths.
    np.testing.assert_allclose(derived[:7], (-2.55, -0.85, 3.53, 0.08, 1.7, 0.7, 0.45), atol=1e-9)
    over = loan.model_copy(update={"instalments_due": 60})
    derived = [with_age(over)[feature.name] for feature in features.AGE_KNOWN.derived]
    np.testing.assert_allclose(derived[:3], (56.45, 58.15, 0.06), atol=1e-9)
    after_term = (1.7, share, 0.53, 1.83, 1.7 * monthly, 3.53 * monthly)
    np.testing.assert_allclose(derived[7:], after_term, rtol=1e-9)
    assert math.isnan(with_age(loan.model_copy(update={"instalments_due": 59}))["last_payment_after_term"])


def test_compute_instalments_a_table_is_that_of_its_terms() -> None:
    """A table of loans gets the textbook annuity of each."""
    table = pd.DataFrame(
        {"loan_amount": [12_000, 12_000], "interest_rate": [13.5, 13.5], "term": [" 36 months", " 60 months"]}
    )
    expected = [12_000 * 0.01125 / (1 - 1.01125**-months) for months in (36, 60)]
    np.testing.assert_allclose(features.compute_instalments(table), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("due", "paid", "applies"),
    [(35, 20.0, False), (36, 20.0, True), (36, 35.8, True), (36, 35.95, False), (36, 40.0, False)],
)
def test_ended_loans_are_told_apart_where_instalments_are_unpaid(due: int, paid: float, applies: bool) -> None:
    """The features of ended loans have a value only once the term is over and a tenth of an instalment is missing."""
    changes = {"instalments_due": due, "total_payments_to_date": paid * 407.2234}
    derived = with_age(CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, **changes}))
    after_term = [value for name, value in derived.items() if name.endswith("_after_term")]
    assert len(after_term) == 6
    assert all(math.isnan(value) != applies for value in after_term)


def test_a_dollar_is_less_than_a_step() -> None:
    """Payments of a whole number of instalments lie amid a step: a dollar more or less changes no feature."""
    for change in (1.0, -1.0):
        for field in ("total_payments_to_date", "last_payment_amount"):
            loan = CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, field: EXAMPLE_LOAN[field] + change})
            before = with_age(CreditRiskModelInput.model_validate(EXAMPLE_LOAN))
            np.testing.assert_equal(with_age(loan), before)


@pytest.mark.parametrize("wanted", features.FEATURE_SETS, ids=lambda wanted: wanted.name)
@settings(max_examples=100)
@given(loan=valid_loans(age=True))
def test_loan_and_table_give_the_same_bits(wanted: features.FeatureSet, loan: CreditRiskModelInput) -> None:
    """The row of any valid loan equals its line in a table, to the last bit, levels by their codes."""
    table = make_feature_frame(to_frame([loan]), wanted)
    for name in wanted.categories:
        table[name] = table[name].cat.codes.where(table[name].notna())
    assert table.columns.tolist() == list(wanted.names)
    np.testing.assert_array_equal(table.iloc[0].to_numpy(dtype=float), wanted.encode_loan(loan))


@settings(max_examples=300)
@given(loan=valid_loans(age=False))
def test_encoding_loses_nothing(loan: CreditRiskModelInput) -> None:
    """Any valid loan of unknown age can be told from its row."""
    decoded: dict[str, str | float | None] = {}
    for feature, value in zip(features.AGE_UNKNOWN.contract, features.AGE_UNKNOWN.encode_loan(loan), strict=False):
        if math.isnan(value):
            decoded[feature.name] = None
        else:
            decoded[feature.name] = feature.levels[int(value)] if feature.levels else value
    assert CreditRiskModelInput.model_validate(decoded) == loan


@settings(max_examples=300)
@given(loan=valid_loans(age=True))
def test_arithmetic_of_a_valid_loan_is_finite(loan: CreditRiskModelInput) -> None:
    """No valid loan divides by zero or overflows; only what is not known or does not apply is not a number."""
    for wanted in features.FEATURE_SETS:
        for feature, value in zip(wanted.features, wanted.encode_loan(loan), strict=True):
            assert math.isfinite(value) or feature.nullable or feature.name.endswith("_after_term")


@pytest.mark.parametrize("wanted", features.FEATURE_SETS, ids=lambda wanted: wanted.name)
def test_many_loans_give_the_same_bits_as_each(wanted: features.FeatureSet) -> None:
    """Vectorised arithmetic over a table does not differ from that of single loans."""
    loans = [loan for loan in make_golden_loans(seed=5) if loan.instalments_due is not None]
    table = make_feature_frame(to_frame(loans), wanted)[[feature.name for feature in wanted.derived]]
    rows = [wanted.encode_loan(loan)[len(wanted.contract) :] for loan in loans]
    np.testing.assert_array_equal(table.to_numpy(dtype=float), rows)


@pytest.mark.parametrize("wanted", features.FEATURE_SETS, ids=lambda wanted: wanted.name)
def test_names_are_unique_and_described(wanted: features.FeatureSet) -> None:
    """Field name, column name and feature name are one, and every feature says what it tells and comes from."""
    assert len(set(wanted.names)) == len(wanted.names)
    fields = set(CreditRiskModelInput.model_fields)
    assert all(feature.description and set(feature.fields) <= fields for feature in wanted.features)


def test_one_name_has_one_meaning() -> None:
    """A feature that both sets have is the same feature."""
    meanings = {feature.name: feature for feature in features.AGE_UNKNOWN.features}
    for feature in features.AGE_KNOWN.features:
        assert meanings.get(feature.name, feature) == feature
