"""Made-up loans that the service replays before it calls itself ready."""

import numpy as np

from credit_risk_model.features import CONTRACT_FEATURES, Feature
from credit_risk_model.schemas import EXAMPLE_LOAN, CreditRiskModelInput

_RANDOM_LOANS = 45


def golden_loans(seed: int) -> list[CreditRiskModelInput]:
    """Make loans from the contract alone, so that none of them is a borrower's.

    Returns:
        The contract's example, the loan at all lower bounds, the one at all upper bounds, and loans whose fields are
        drawn independently of each other within the bounds.
    """
    rng = np.random.default_rng(seed)
    drawn = [{feature.name: _draw(feature, rng) for feature in CONTRACT_FEATURES} for _ in range(_RANDOM_LOANS)]
    lowest = {feature.name: (feature.bounds or feature.levels)[0] for feature in CONTRACT_FEATURES}
    highest = {feature.name: (feature.bounds or feature.levels)[-1] for feature in CONTRACT_FEATURES}
    return [CreditRiskModelInput.model_validate(loan) for loan in (EXAMPLE_LOAN, lowest, highest, *drawn)]


def _draw(feature: Feature, rng: np.random.Generator) -> str | float:
    if feature.bounds is None:
        return feature.levels[int(rng.integers(len(feature.levels)))]
    smallest, largest = feature.bounds
    # Most loans lie near the lower bound of a field: the fourth power draws most there, and some far out.
    value = smallest + (largest - smallest) * rng.random() ** 4
    whole = CreditRiskModelInput.model_fields[feature.name].annotation is int
    return float(round(value)) if whole else round(float(value), 2)
