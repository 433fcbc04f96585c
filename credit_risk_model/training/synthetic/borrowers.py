"""Draws borrowers: income, debts, credit file, home, employment, purpose."""

import numpy as np

from credit_risk_model.training.synthetic.draws import CHUNK_ROWS, Loans, draw_levels

HIGHEST_COMMON_INCOME = 273_000
"""The published cleaning of the full file leaves no larger income; larger ones are planted as odd values."""

HOME_OWNERSHIP = {"MORTGAGE": 0.50, "RENT": 0.40, "OWN": 0.10}
VERIFICATION = {"Source Verified": 0.372, "Verified": 0.327, "Not Verified": 0.301}
EMPLOYMENT_LENGTH = {
    "10+ years": 0.347,
    "< 1 year": 0.084,
    "1 year": 0.067,
    "2 years": 0.093,
    "3 years": 0.083,
    "4 years": 0.062,
    "5 years": 0.066,
    "6 years": 0.051,
    "7 years": 0.053,
    "8 years": 0.052,
    "9 years": 0.042,
}
PURPOSES = {
    "debt_consolidation": 0.591,
    "credit_card": 0.232,
    "home_improvement": 0.058,
    "other": 0.048,
    "major_purchase": 0.0195,
    "small_business": 0.0117,
    "car": 0.01,
    "medical": 0.0096,
    "moving": 0.0061,
    "vacation": 0.0053,
    "house": 0.0042,
    "wedding": 0.0026,
    "renewable_energy": 0.0007,
    "educational": 0.0005,
}


def draw_borrowers(rng: np.random.Generator) -> Loans:
    """Draw a chunk of borrowers."""
    income = 65_000 * rng.lognormal(0.0, 0.5, CHUNK_ROWS)
    income = np.where(income > HIGHEST_COMMON_INCOME, rng.uniform(150_000, HIGHEST_COMMON_INCOME, CHUNK_ROWS), income)
    step = rng.choice([1.0, 500.0, 1000.0], size=CHUNK_ROWS, p=[0.2, 0.2, 0.6])
    return {
        "annual_inc": np.maximum(np.round(income / step) * step, 4000.0),
        "dti": np.round(np.minimum(40 * rng.beta(2.5, 3.0, CHUNK_ROWS), 39.99), 2),
        "revol_util": np.round(100 * rng.beta(2.2, 1.85, CHUNK_ROWS), 1),
        "delinq_2yrs": np.minimum(rng.negative_binomial(0.35, 0.53, CHUNK_ROWS), 10).astype(float),
        "inq_last_6mths": np.minimum(rng.poisson(0.69, CHUNK_ROWS), 8).astype(float),
        "pub_rec": np.minimum(rng.negative_binomial(0.4, 0.67, CHUNK_ROWS), 10).astype(float),
        "acc_now_delinq": np.minimum(rng.poisson(0.005, CHUNK_ROWS), 6).astype(float),
        "collections_12_mths_ex_med": np.minimum(rng.poisson(0.014, CHUNK_ROWS), 5).astype(float),
        "home_ownership": draw_levels(rng, HOME_OWNERSHIP),
        "emp_length": draw_levels(rng, EMPLOYMENT_LENGTH),
        "verification_status": draw_levels(rng, VERIFICATION),
        "purpose": draw_levels(rng, PURPOSES),
    }
