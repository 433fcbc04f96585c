"""Makes the golden loans: made-up loans whose probabilities the service must reproduce before it is ready."""

import numpy as np

from credit_risk_model.contract import SHIPPED, Contract
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.features import AGE, TERM_MONTHS, Feature
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.tables.numbers import round_to_whole

_RANDOM_LOANS = 45
_WITHOUT_AGE, _NOT_KNOWN = 1 / 3, 1 / 10


def make_golden_loans(seed: int, contract: Contract = SHIPPED) -> list[CreditRiskModelInput]:
    """Make loans from a contract alone, so that none is a real borrower's.

    Returns:
        The contract's example, a loan at all lower bounds, one at all upper bounds, and random loans whose fields are
        drawn independently within the bounds. A third of those have no age, and some have nulls.
    """
    rng = np.random.default_rng(seed)
    drawn = [_draw_loan(rng, contract.fields) for _ in range(_RANDOM_LOANS)]
    lowest = {feature.name: (feature.bounds or feature.levels)[0] for feature in contract.fields}
    highest = {feature.name: (feature.bounds or feature.levels)[-1] for feature in contract.fields}
    return [contract.loan.model_validate(loan) for loan in (EXAMPLE_LOAN, lowest, highest, *drawn)]


def _draw_loan(rng: np.random.Generator, fields: tuple[Feature, ...]) -> dict[str, str | float | None]:
    loan = {feature.name: _draw(feature, rng) for feature in fields}
    for feature in fields:
        if feature.nullable and rng.random() < (_WITHOUT_AGE if feature.name == AGE else _NOT_KNOWN):
            loan[feature.name] = None
    if loan[AGE] is not None:
        loan[AGE] = float(rng.integers(TERM_MONTHS[str(loan["term"])] + 1))
    return loan


def _draw(feature: Feature, rng: np.random.Generator) -> str | float | None:
    if feature.bounds is None:
        return feature.levels[int(rng.integers(len(feature.levels)))]
    smallest, largest = feature.bounds
    # Most real values lie near a field's lower bound. The fourth power draws most values there, and some far out.
    value = smallest + (largest - smallest) * rng.random() ** 4
    return float(round_to_whole(value)) if feature.whole else round(float(value), 2)
