import math
from typing import Any

import numpy as np
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
