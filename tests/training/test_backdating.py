from typing import Any

import numpy as np
import pandas as pd
import pytest

from credit_risk_model.features import AGE, TERM_MONTHS, compute_instalments
from credit_risk_model.training.backdating import backdate, plot_backdated, tabulate_backdated


@pytest.fixture(scope="module")
def again(loans: pd.DataFrame) -> pd.DataFrame:
    """The backdated loans of the small book."""
    return backdate(loans, seed=1, times=5)


def one(loans: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    """A single ended loan of 36 months, with these changes."""
    ordinary: dict[str, Any] = {"loan_amount": 12000, "interest_rate": 13.5, "term": " 36 months", AGE: 36.0}
    row = loans.head(1).astype(dict.fromkeys(loans.select_dtypes("category"), object)).assign(**ordinary | changes)
    return row.astype({name: loans[name].dtype for name in loans.select_dtypes("category")})


def many(loans: pd.DataFrame, count: int, **changes: object) -> pd.DataFrame:
    """So many of such a loan: each is backdated on its own, at once with the others."""
    return pd.concat([one(loans, **changes)] * count, ignore_index=True)


def test_only_ended_loans_of_known_age_are_backdated(loans: pd.DataFrame) -> None:
    """Running loans are as they are, and without an age there is no earlier month."""
    running = loans[loans["loan_status"] == "Current"]
    assert backdate(running, seed=1).empty
    assert backdate(loans.assign(**{AGE: np.nan}), seed=1).empty


def test_backdating_follows_the_seed(loans: pd.DataFrame) -> None:
    """The same seed draws the same months, a different seed different ones."""
    assert backdate(loans, seed=1).equals(backdate(loans, seed=1))
    assert not backdate(loans, seed=1)[AGE].equals(backdate(loans, seed=2)[AGE])


def test_no_loan_is_older_than_it_was(loans: pd.DataFrame) -> None:
    """Months are drawn evenly from the first to the loan's own age."""
    changes = {"loan_status": "Fully Paid", "loan_risk": "safe", "total_payments_to_date": 14660.04}
    drawn = backdate(many(loans, 1000, **changes), seed=1, times=4)
    counts = drawn[AGE].value_counts()
    assert set(counts.index) == set(range(1, 37))
    assert counts.min() > 60


def test_regular_payer_is_safe_at_every_month(loans: pd.DataFrame) -> None:
    """A loan that was paid to its term had paid what was due at each month before, and its last payment was one."""
    paid = many(
        loans,
        500,
        loan_status="Fully Paid",
        loan_risk="safe",
        total_payments_to_date=14660.04,
        last_payment_amount=407.23,
    )
    drawn = backdate(paid, seed=1, times=4)
    assert set(drawn["loan_risk"]) == {"safe"}
    running = drawn[drawn["loan_status"] == "Current"]
    behind = (running[AGE] - running["total_payments_to_date"] / compute_instalments(running)).round(6)
    # A month's instalment may not be due yet on the snapshot's day.
    assert set(behind) == {0, 1}
    assert 0.28 < (behind == 1).mean() < 0.38


def test_charged_off_loan_goes_through_all_states(loans: pd.DataFrame) -> None:
    """A loan that paid ten instalments was current until then, in grace or late after it, then charged off."""
    ended = many(
        loans,
        1000,
        loan_status="Charged Off",
        loan_risk="risky",
        total_payments_to_date=10.4 * 407.2234,
        last_payment_amount=50.0,
    )
    drawn = backdate(ended, seed=1, times=4)
    ages = drawn.groupby("loan_status", observed=True)[AGE].agg(["min", "max"])
    found = ages.apply(tuple, axis=1)
    assert found["Current"] == (1, 11)
    assert found["Late (31-120 days)"] == (12, 15)
    assert found["Charged Off"] == (15, 36)
    missed_one = drawn[drawn["loan_status"].isin(["In Grace Period", "Late (16-30 days)"])]
    assert 0.3 < (missed_one["loan_risk"] == "risky").mean() < 0.5
    # Recoveries come a year after.
    old = drawn[drawn[AGE] >= 24]
    assert set(old["total_payments_to_date"].round(2)) == {round(10.4 * 407.2234, 2)}
    assert set(drawn[drawn[AGE] < 20]["total_payments_to_date"].round(2)) <= {round(n * 407.2234, 2) for n in range(11)}


def test_loan_whose_payments_do_not_cover_it_is_not_backdated(loans: pd.DataFrame) -> None:
    """A repaid loan with payments far below its amount is not backdated, since its paid instalments are unknown."""
    changes = {"loan_status": "Fully Paid", "loan_risk": "safe"}
    assert backdate(one(loans, total_payments_to_date=6000.0, **changes), seed=1).empty
    assert len(backdate(one(loans, total_payments_to_date=12500.0, **changes), seed=1)) == 2


def test_backdated_loans_have_the_columns_of_the_others(loans: pd.DataFrame, again: pd.DataFrame) -> None:
    """Backdated loans have the file's columns, and none has paid more instalments than its term has."""
    assert again.columns.tolist() == loans.columns.tolist()
    months = again["term"].map(TERM_MONTHS).astype(float)
    assert (again[AGE] <= months).all()
    assert not again.drop(columns=["employment_length", "revolving_line_utilization_rate"]).isna().any(axis=None)


def test_table_and_plot_show_what_was_added(loans: pd.DataFrame, again: pd.DataFrame) -> None:
    """The table counts all backdated loans by status; the figure has a bar for the loans of each kind."""
    assert tabulate_backdated(again)["loans"].sum() == len(again)
    (axes,) = plot_backdated(loans, again).axes
    heights = sum(patch.get_height() for container in axes.containers for patch in container)
    assert heights == len(loans) + len(again)
