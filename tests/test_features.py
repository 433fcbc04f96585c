import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from credit_risk_model import features
from credit_risk_model.schemas import EXAMPLE_LOAN, CreditRiskModelInput
from credit_risk_model.training.fitting import feature_frame
from credit_risk_model.training.golden import golden_loans


def valid_loans() -> st.SearchStrategy[CreditRiskModelInput]:
    """Any loan that the contract allows, its bounds and levels taken from the contract."""
    fields = {}
    for feature in features.CONTRACT_FEATURES:
        if feature.bounds is None:
            fields[feature.name] = st.sampled_from(feature.levels)
        elif CreditRiskModelInput.model_fields[feature.name].annotation is int:
            fields[feature.name] = st.integers(int(feature.bounds[0]), int(feature.bounds[1]))
        else:
            fields[feature.name] = st.floats(*feature.bounds)
    return st.fixed_dictionaries(fields).map(CreditRiskModelInput.model_validate)


def table_of(loans: list[CreditRiskModelInput]) -> pd.DataFrame:
    """The loans as training has them: a frame with categories in the contract's levels."""
    frame = pd.DataFrame([loan.model_dump(mode="json") for loan in loans])
    for feature in features.CONTRACT_FEATURES:
        if feature.levels:
            frame[feature.name] = pd.Categorical(frame[feature.name], categories=feature.levels)
    return feature_frame(frame)


def test_row_of_the_example() -> None:
    """A loan becomes its fields in the contract's order, levels as codes, and its arithmetic."""
    row = features.row(CreditRiskModelInput.model_validate(EXAMPLE_LOAN))
    fields = (65000, 0, 0, 17.2, 5.0, 0.0, 0, 13.5, 407.23, 12000, 0, 0.0, 54.0, 0.0, 14660.04, 1.0)
    assert row[: len(fields)] == fields
    # 12,000 at 13.5 % over 36 months is 407.2234 a month: a hair less than 36 of 36 paid, 35 of them before the last.
    arithmetic = (35.99999, 0.9999997, 1.22167, 1.000016, 34.99997, 0.99999)
    np.testing.assert_allclose(row[len(fields) :], arithmetic, rtol=1e-6)


def test_instalment_is_the_annuity() -> None:
    """Payments of one textbook annuity instalment a month count as one instalment each, for either term."""
    for rate, term, months in ((13.5, " 36 months", 36), (5.32, " 60 months", 60), (28.99, " 60 months", 60)):
        monthly = rate / 1200
        annuity = 12000 * monthly / (1 - (1 + monthly) ** -months)
        changes = {"interest_rate": rate, "term": term, "total_payments_to_date": 7 * annuity}
        loan = CreditRiskModelInput.model_validate({**EXAMPLE_LOAN, **changes})
        derived = dict(zip(features.NAMES, features.row(loan), strict=True))
        np.testing.assert_allclose(derived["payments_in_instalments"], 7, rtol=1e-12)
        np.testing.assert_allclose(derived["share_of_schedule_paid"], 7 / months, rtol=1e-12)


@settings(max_examples=300, deadline=None)
@given(loan=valid_loans())
def test_loan_and_table_give_the_same_bits(loan: CreditRiskModelInput) -> None:
    """The row of any valid loan equals its line in a table, to the last bit, levels by their codes."""
    table = table_of([loan])
    for name in features.CATEGORIES:
        table[name] = table[name].cat.codes
    assert table.columns.tolist() == list(features.NAMES)
    assert tuple(table.iloc[0].astype(float)) == features.row(loan)


@settings(max_examples=300, deadline=None)
@given(loan=valid_loans())
def test_encoding_loses_nothing(loan: CreditRiskModelInput) -> None:
    """Any valid loan can be told from its row."""
    decoded = {}
    for feature, value in zip(features.CONTRACT_FEATURES, features.row(loan), strict=False):
        decoded[feature.name] = feature.levels[int(value)] if feature.levels else value
    assert CreditRiskModelInput.model_validate(decoded) == loan


@settings(max_examples=300, deadline=None)
@given(loan=valid_loans())
def test_arithmetic_of_a_valid_loan_is_finite(loan: CreditRiskModelInput) -> None:
    """No valid loan divides by zero or overflows."""
    assert np.isfinite(features.row(loan)).all()


def test_many_loans_give_the_same_bits_as_each() -> None:
    """Vectorised arithmetic over a table does not differ from that of single loans."""
    loans = golden_loans(seed=5)
    table = table_of(loans)
    derived = table[[feature.name for feature in features.DERIVED_FEATURES]].to_numpy()
    assert [tuple(line) for line in derived] == [features.row(loan)[16:] for loan in loans]


def test_names_are_unique_and_described() -> None:
    """Field name, column name and feature name are one, and every feature says what it tells and comes from."""
    assert len(set(features.NAMES)) == len(features.NAMES)
    assert tuple(feature.name for feature in features.DERIVED_FEATURES) == features.LoanArithmetic._fields
    fields = set(CreditRiskModelInput.model_fields)
    assert all(feature.description and set(feature.fields) <= fields for feature in features.FEATURES)
