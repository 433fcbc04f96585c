"""Checks what must hold for every model: a dollar flips no decision, and loans that are paid on time are safe."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from credit_risk_model.contract import SHIPPED, Contract
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import AGE, CONTRACT_FEATURES, TERM_MONTHS, compute_instalments
from credit_risk_model.training.figures import DollarFigures, PerfectPayerFigures
from credit_risk_model.training.fitting import Fitted, is_running

_CHANGES = (1.0, -1.0, 0.01, -0.01)
"""US dollars."""
_QUANTILE = 0.999
_STEPS = 7
_BORROWERS: tuple[dict[str, Any], ...] = (
    {},
    {
        "annual_income": 12000,
        "debt_to_income_ratio": 29.9,
        "employment_length": "< 1 year",
        "loan_purpose": "small_business",
        "revolving_line_utilization_rate": 99.0,
        "delinquencies_in_last_2_years": 3,
        "derogatory_public_record_count": 2,
        "number_of_delinquent_accounts": 1,
        "verification_status": "Not Verified",
    },
    {"annual_income": 150000, "debt_to_income_ratio": 2.0, "employment_length": "10+ years", "home_ownership": "OWN"},
    {"debt_to_income_ratio": None, "employment_length": None, "revolving_line_utilization_rate": None},
)
"""Applications of perfect payers: the example, a very risky one, a very safe one, and one with nulls."""


def measure_dollar(fitted: Fitted, loans: pd.DataFrame, cut_off: float) -> DollarFigures:
    """Change each payment field of running loans of known age by a dollar and a cent, up and down."""
    running = loans[is_running(loans) & loans[AGE].notna().to_numpy()]
    if running.empty:
        return DollarFigures(loans=0, flipped_share=0.0, largest_change_quantile=0.0, largest_change=0.0)
    before = fitted.predict(running)
    largest, flipped = np.zeros(len(running)), np.zeros(len(running), dtype=bool)
    for field, change in product(("last_payment_amount", "total_payments_to_date"), _CHANGES):
        after = fitted.predict(running.assign(**{field: (running[field] + change).clip(lower=0)}))
        largest = np.maximum(largest, np.abs(after - before))
        flipped |= (after >= cut_off) != (before >= cut_off)
    return DollarFigures(
        loans=len(running),
        flipped_share=float(flipped.mean()),
        largest_change_quantile=float(np.quantile(largest, _QUANTILE)),
        largest_change=float(largest.max()),
    )


def make_perfect_payers(contract: Contract = SHIPPED) -> pd.DataFrame:
    """Make up loans that paid each instalment on time: every month of both terms, and a range of amounts and rates."""
    amounts = np.linspace(*contract.bounds["loan_amount"], _STEPS).round()
    rates = np.linspace(*contract.bounds["interest_rate"], _STEPS).round(2)
    rows = [
        {**EXAMPLE_LOAN, **borrower, "term": term, "loan_amount": amount, "interest_rate": rate, AGE: float(month)}
        for term, months in TERM_MONTHS.items()
        for month in range(months + 1)
        for amount, rate, borrower in product(amounts, rates, _BORROWERS)
    ]
    loans = pd.DataFrame(rows)
    for feature in CONTRACT_FEATURES:
        if feature.levels:
            loans[feature.name] = pd.Categorical(loans[feature.name], categories=feature.levels)
        else:
            loans[feature.name] = loans[feature.name].astype(float)
    instalment = compute_instalments(loans).round(2)  # a loan is paid in whole cents
    return loans.assign(
        total_payments_to_date=(instalment * loans[AGE]).round(2),
        last_payment_amount=instalment.where(loans[AGE] > 0, 0.0),
    )


def measure_perfect_payers(fitted: Fitted, cut_off: float, contract: Contract = SHIPPED) -> PerfectPayerFigures:
    """Predict perfect payers of known age."""
    probability = fitted.predict(make_perfect_payers(contract))
    return PerfectPayerFigures(
        loans=len(probability),
        called_risky=int((probability >= cut_off).sum()),
        mean_probability=float(probability.mean()),
        largest_probability=float(probability.max()),
    )


@dataclass(frozen=True)
class Stability:
    """The measured stability; None if no age is known."""

    dollar: DollarFigures | None
    perfect_payers: PerfectPayerFigures | None

    def table(self) -> pd.DataFrame:
        """Return the figures."""
        if self.dollar is None or self.perfect_payers is None:
            return pd.DataFrame()
        rows = {"a dollar more or less": self.dollar.store(), "paid in time": self.perfect_payers.store()}
        return pd.DataFrame.from_dict(rows, orient="index").T


def measure_stability(fitted: Fitted, loans: pd.DataFrame, cut_off: float, contract: Contract = SHIPPED) -> Stability:
    """Measure the effects of a dollar, and the predictions for loans that are paid on time."""
    if fitted.with_age is None:
        return Stability(None, None)
    return Stability(measure_dollar(fitted, loans, cut_off), measure_perfect_payers(fitted, cut_off, contract))
