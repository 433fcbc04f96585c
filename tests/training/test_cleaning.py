from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_risk_model.contract import SHIPPED
from credit_risk_model.errors import DataError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import CONTRACT_FEATURES, Feature
from credit_risk_model.training import cleaning
from credit_risk_model.training.cleaning import clean
from credit_risk_model.training.loans import read_loans


@pytest.fixture
def read(book_path: Path) -> pd.DataFrame:
    """The book as read."""
    return read_loans(book_path).loans


def kept(read: pd.DataFrame, **changes: Any) -> bool:
    """Whether an ordinary loan, put into the book with these changes, is kept."""
    marks = {"loan_amount": 777, "last_payment_amount": 777.77}
    loan: dict[str, Any] = {
        **EXAMPLE_LOAN,
        "installment": 26.4,
        "loan_status": "Current",
        "loan_risk": "safe",
        **marks,
        **changes,
    }
    book = read.astype(dict.fromkeys(read.select_dtypes("category"), object))
    for name, value in loan.items():
        book.at[0, name] = value
    loans = clean(book.astype(dict.fromkeys(read.select_dtypes("category"), "category"))).loans
    return any((loans[name] == mark).any() for name, mark in marks.items())


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("number_of_delinquent_accounts", 6, 7),
        ("collections_in_last_12_months", 5, 6),
        ("delinquencies_in_last_2_years", 10, 11),
        ("derogatory_public_record_count", 10, 11),
        ("revolving_line_utilization_rate", 100, 100.1),
    ],
)
def test_limits_are_allowed_and_beyond_them_dropped(
    field: str, allowed: float, refused: float, read: pd.DataFrame
) -> None:
    """A loan at a limit is kept, a loan beyond it is dropped."""
    assert kept(read, **{field: allowed})
    assert not kept(read, **{field: refused})


@pytest.mark.parametrize("home_ownership", ["OTHER", "NONE", "ANY"])
def test_odd_home_ownerships_are_dropped(home_ownership: str, read: pd.DataFrame) -> None:
    """Homes are owned, mortgaged or rented."""
    assert kept(read, home_ownership="OWN")
    assert not kept(read, home_ownership=home_ownership)


@pytest.mark.parametrize("feature", CONTRACT_FEATURES, ids=lambda feature: feature.name)
def test_loan_that_a_request_could_not_be_is_dropped(feature: Feature, read: pd.DataFrame) -> None:
    """A loan that lacks a field is dropped, unless a request may leave the field null."""
    assert kept(read, **{feature.name: np.nan}) == feature.nullable


def test_missing_issue_month_is_no_missing_value(read: pd.DataFrame) -> None:
    """The issue month serves the out-of-time test alone."""
    assert kept(read, issue_month=pd.NaT)


def test_deviations_are_taken_of_what_is_left(read: pd.DataFrame) -> None:
    """Incomes, then debt ratios, stay within 3 standard deviations of the rows that earlier steps left."""
    nullable = [feature.name for feature in CONTRACT_FEATURES if feature.nullable]
    left = read[read.drop(columns=["issue_month", *nullable]).notna().all(axis=1)]
    for field, row in (("annual_income", 2), ("debt_to_income_ratio", 3)):
        values = left[field]
        within = (values >= values.mean() - 3 * values.std()) & (values <= values.mean() + 3 * values.std())
        left = left[within | values.isna()]
        assert clean(read).steps["rows"][row] == len(left)


def test_table_tells_the_rows_left_after_each_step(read: pd.DataFrame) -> None:
    """The table starts with the rows read, ends with the rows left, and has a line for each step."""
    found = clean(read)
    loans, steps = found.loans, found.steps
    assert steps.columns.tolist() == ["step", "rows", "removed"]
    assert steps["step"].tolist() == ["as read", *(words for words, _ in cleaning.STEPS)]
    assert steps["rows"].iloc[0] == len(read)
    assert steps["rows"].iloc[-1] == len(loans) == len(read) - steps["removed"].sum()
    assert (steps["removed"] >= 0).all()


def test_published_counts_stand_beside_a_file_of_that_size(read: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a file with Kaggle's number of rows the published counts are shown, the last beside the last step."""
    monkeypatch.setattr(cleaning, "ROWS_OF_KAGGLES_FILE", len(read))
    published = clean(read).steps["published"]
    assert (published.iloc[0], published.iloc[-1]) == (887379, 831103)


def test_cleaned_loans_have_the_contracts_form(read: pd.DataFrame) -> None:
    """Whole numbers are whole, categories have the contract's levels in order, the instalment is gone."""
    read.loc[:, "annual_income"] += 0.25
    loans = clean(read).loans
    assert "installment" not in loans
    assert loans.index.tolist() == list(range(len(loans)))
    assert loans["annual_income"].dtype == np.int64
    for feature in CONTRACT_FEATURES:
        if feature.levels:
            assert loans[feature.name].cat.categories.tolist() == list(feature.levels)


def test_level_that_the_contract_does_not_know_is_refused(read: pd.DataFrame) -> None:
    """A new purpose is an error that names its column: the model could not be asked about it."""
    read["loan_purpose"] = read["loan_purpose"].cat.rename_categories({"car": "boat"})
    with pytest.raises(DataError, match=r"Column purpose: .* unknown level"):
        clean(read)


def test_nothing_left_is_an_error(read: pd.DataFrame) -> None:
    """If no loan passes the filters, that is an error."""
    with pytest.raises(DataError, match="The cleaning steps leave no loan"):
        clean(read.assign(revolving_line_utilization_rate=101.0))


def later(read: pd.DataFrame) -> pd.DataFrame:
    """The book with an amount and a rate of later years, and a rate that can't be."""
    read = read.copy()
    read.loc[read.index[:3], "loan_amount"] = [40_000.0, 39_000.4, 35_000.0]
    read.loc[read.index[3:6], "interest_rate"] = [30.99, 5.31, 0.0]
    return read


def test_bounds_are_widened_to_what_the_loans_have(read: pd.DataFrame) -> None:
    """The cleaned loans' extremes become bounds, and no bound is narrower than the shipped one."""
    found = clean(later(read), widen_bounds=True)
    assert found.contract.widened == {"interest_rate": (5.31, 30.99), "loan_amount": (500, 40_000)}
    for name, (low, high) in found.contract.bounds.items():
        assert found.loans[name].dropna().between(low, high).all()
        assert low <= SHIPPED.bounds[name][0]
        assert high >= SHIPPED.bounds[name][1]


def test_loan_that_cannot_be_is_dropped_where_bounds_are_widened(read: pd.DataFrame) -> None:
    """A rate of 0 would be a divisor, so a separate last step drops its loan."""
    steps = clean(later(read), widen_bounds=True).steps
    assert steps["step"].iloc[-1] == cleaning.STEP_OF_WIDENING[0]
    assert steps["removed"].iloc[-1] == 1
    assert clean(later(read)).steps["step"].tolist() == ["as read", *(words for words, _ in cleaning.STEPS)]


def test_published_counts_stand_beside_more_steps(read: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step of widening has no published count."""
    monkeypatch.setattr(cleaning, "ROWS_OF_KAGGLES_FILE", len(read))
    published = clean(read, widen_bounds=True).steps["published"]
    assert (published.iloc[0], published.iloc[-2]) == (887379, 831103)
    assert published.isna().iloc[-1]


def test_income_of_millions_widens_nothing(read: pd.DataFrame) -> None:
    """An outlier goes with the step that drops incomes beyond 3 deviations, before the bounds are found."""
    read.loc[0, "annual_income"] = 9_000_000
    assert "annual_income" not in clean(read, widen_bounds=True).contract.widened


def test_loans_beyond_the_bounds_are_reported(read: pd.DataFrame) -> None:
    """A training describes the loans that its archive will refuse, or the bounds that it widened."""
    amount = "loan_amount: the archive accepts 500 to 35000, which some of these loans exceed."
    assert f"{amount} Set widen_bounds to accept 500 to 40000." in cleaning.describe_bounds(clean(later(read)))
    assert "interest_rate: bounds 5.31 to 30.99, widened from 5.32 to 28.99." in cleaning.describe_bounds(
        clean(later(read), widen_bounds=True)
    )
    assert cleaning.describe_bounds(clean(read)) == []
