import numpy as np
import pandas as pd

from credit_risk_model.contract import widen
from credit_risk_model.features import AGE, TERM_MONTHS, compute_instalments
from credit_risk_model.training import stability
from credit_risk_model.training.fitting import Fitted, Probabilities, is_running


class Nervous(Fitted):
    """A model that calls a loan risky whose payments are an odd number of dollars."""

    def predict(self, loans: pd.DataFrame, *, withhold_age: bool = False) -> Probabilities:
        """Decide by the dollars alone."""
        return np.asarray(loans["total_payments_to_date"] // 1 % 2, dtype=float)


def test_model_that_a_dollar_flips_is_found(fitted: Fitted, loans: pd.DataFrame) -> None:
    """Every loan of a model that goes by odd dollars is flipped by one."""
    found = stability.measure_dollar(Nervous(fitted.with_age, fitted.without_age), loans, 0.5)
    assert found.loans == is_running(loans).sum()
    assert found.flipped_share > 0.99
    assert found.largest_change == 1.0


def test_payments_in_twentieths_of_an_instalment_hold_a_dollar(fitted: Fitted, loans: pd.DataFrame) -> None:
    """A dollar hardly changes the predictions of the model for known ages."""
    found = stability.measure_dollar(fitted, loans, 0.3)
    assert found.flipped_share <= 0.01
    assert found.largest_change_quantile <= found.largest_change


def test_loans_without_running_ones_have_no_dollar_to_measure(fitted: Fitted, loans: pd.DataFrame) -> None:
    """Without running loans, there is nothing to flip."""
    assert stability.measure_dollar(fitted, loans[~is_running(loans)], 0.3).loans == 0


def test_perfect_payers_reach_the_bounds_of_the_contract() -> None:
    """With widened bounds, perfect payers include the largest amounts and rates."""
    payers = stability.make_perfect_payers(widen({"loan_amount": (500, 40_000), "interest_rate": (5.31, 30.99)}))
    assert (payers["loan_amount"].max(), payers["interest_rate"].max()) == (40_000, 30.99)


def test_perfect_payers_paid_each_instalment_in_time() -> None:
    """They stand at each month of both terms, with what was due paid to the cent, in amounts and rates of all sizes."""
    payers = stability.make_perfect_payers()
    missing = payers[AGE] - payers["total_payments_to_date"] / compute_instalments(payers)
    assert missing.abs().max() < 0.06  # 60 times half a cent, of the smallest instalment
    for term, months in TERM_MONTHS.items():
        assert set(payers.loc[payers["term"] == term, AGE]) == set(range(months + 1))
    assert payers["loan_amount"].agg(["min", "max"]).tolist() == [500, 35000]
    assert payers["interest_rate"].agg(["min", "max"]).tolist() == [5.32, 28.99]


def test_model_that_calls_payers_risky_is_found(fitted: Fitted) -> None:
    """The number of those called risky, at a cut-off that all reach, is the number of all."""
    found = stability.measure_perfect_payers(fitted, 0.0)
    assert found.called_risky == found.loans == len(stability.make_perfect_payers())
    assert stability.measure_perfect_payers(fitted, 1.0).called_risky == 0


def test_without_an_age_nothing_must_hold(fitted: Fitted, loans: pd.DataFrame) -> None:
    """Without known ages, there is nothing to measure, and the table is empty."""
    found = stability.measure_stability(Fitted(None, fitted.without_age), loans, 0.3)
    assert (found.dollar, found.perfect_payers) == (None, None)
    assert found.table().empty
    assert stability.measure_stability(fitted, loans, 0.3).table().shape[1] == 2
