"""Draws a loan's issue month and terms: grade, rate, term, amount and the resulting instalment."""

import numpy as np

from credit_risk_model.training.synthetic.draws import CHUNK_ROWS, SNAPSHOT, Array, Loans, number_month

FIRST_ISSUE = number_month(2007, 6)

LARGE_LOANS_SINCE = number_month(2012, 1)
"""Before this month the maximum amount was 25,000; since then it is 35,000."""

LOANS_BY_YEAR = {
    2007: 603,
    2008: 2393,
    2009: 5281,
    2010: 12537,
    2011: 21721,
    2012: 53367,
    2013: 134755,
    2014: 235629,
    2015: 421095,
}
"""Loans issued in each year, as the lender's public statistics count them."""

GRADE_SHARES = {"A": 0.167, "B": 0.287, "C": 0.277, "D": 0.157, "E": 0.080, "F": 0.026, "G": 0.006}

LONG_TERM_SHARES = np.array([0.02, 0.20, 0.37, 0.46, 0.69, 0.79, 0.95])
"""Share of 60-month loans in the grades A to G; there are none before 2010."""

LONG_TERM_SINCE = number_month(2010, 1)

SUB_GRADES = np.array([f"{grade}{step}" for grade in GRADE_SHARES for step in range(1, 6)], dtype=object)

SUB_GRADE_RATES = np.interp(
    np.arange(35), [0, 4, 9, 14, 19, 24, 29, 34], [5.6, 8.1, 12.2, 15.4, 18.7, 22.2, 25.3, 28.2]
)

RATE_SHIFTS = np.array(
    [0.23, 0.31, 0.52, 0.64, 0.47, 0.18, -0.07, -0.36, 0.12, 0.41, 0.79, 0.56, 0.28, 0.05, -0.21, -0.48, -0.62, -0.33]
)
"""Percentage points on all rates in each half-year since 2007: the lender moved its rate table about twice a year."""

RATE_BOUNDS = (5.32, 28.99)


def draw_issue_months(rng: np.random.Generator) -> Array:
    """Draw issue months; later months of a year have more loans, since the lender grew."""
    months = np.arange(FIRST_ISSUE, SNAPSHOT)
    growth = 1 + 0.04 * (months % 12)
    years = months // 12
    shares = np.zeros(months.size)
    for year, loans in LOANS_BY_YEAR.items():
        shares[years == year] = loans * growth[years == year] / growth[years == year].sum()
    return rng.choice(months, size=CHUNK_ROWS, p=shares / shares.sum())


def draw_terms(rng: np.random.Generator, loans: Loans, issued: Array) -> Loans:
    """Draw grade, rate, term and amount, and compute the instalment."""
    sub_grade = _sub_grade_numbers(rng, loans)
    grade = sub_grade // 5
    long = (rng.random(CHUNK_ROWS) < LONG_TERM_SHARES[grade]) & (issued >= LONG_TERM_SINCE)
    rate = SUB_GRADE_RATES[sub_grade] + RATE_SHIFTS[issued // 6 - number_month(2007, 1) // 6]
    rate = np.round(np.clip(rate, *RATE_BOUNDS), 2)
    amount = _amounts(rng, loans["annual_inc"], long, grade, issued)
    invested = np.where(rng.random(CHUNK_ROWS) < 0.9, amount, np.floor(amount * rng.beta(30, 1, CHUNK_ROWS) / 25) * 25)
    return {
        "loan_amnt": amount,
        "funded_amnt": amount,
        "funded_amnt_inv": invested,
        "term": np.where(long, " 60 months", " 36 months").astype(object),
        "int_rate": rate,
        "installment": np.round(_instalment(amount, rate, np.where(long, 60, 36)), 2),
        "grade": np.array(list(GRADE_SHARES), dtype=object)[grade],
        "sub_grade": SUB_GRADES[sub_grade],
    }


def _sub_grade_numbers(rng: np.random.Generator, loans: Loans) -> Array:
    """Draw sub-grades, 0 for A1 to 34 for G5: worse figures give later ones, and the grades keep their shares."""
    weakness = (
        0.02 * (loans["dti"] - 18)
        + 0.012 * (loans["revol_util"] - 55)
        + 0.25 * np.minimum(loans["delinq_2yrs"], 3)
        + 0.30 * loans["inq_last_6mths"]
        - 0.4 * np.log(loans["annual_inc"] / 65_000)
        + rng.normal(0.0, 1.0, CHUNK_ROWS)
    )
    rank = weakness.argsort().argsort() / CHUNK_ROWS
    limits = np.cumsum(np.repeat(list(GRADE_SHARES.values()), 5) / 5)
    return np.asarray(np.minimum(np.searchsorted(limits, rank, side="right"), 34))


def _amounts(rng: np.random.Generator, income: Array, long: Array, grade: Array, issued: Array) -> Array:
    wanted = 11_500 * (income / 65_000) ** 0.4 * np.where(long, 1.5, 1.0) * rng.lognormal(0.0, 0.55, CHUNK_ROWS)
    # Weak grades (E to G) and old loans have lower maxima, as the lender's had.
    maximum = np.where(issued < LARGE_LOANS_SINCE, 25_000, np.where(grade >= 4, 30_000, 35_000))
    step = np.where(rng.random(CHUNK_ROWS) < 0.6, 1000, 25)
    return np.asarray(np.clip(np.round(wanted / step) * step, 500, maximum), dtype=float)


def _instalment(amount: Array, rate: Array, months: Array) -> Array:
    """Compute the annuity: the monthly payment that repays an amount at a rate (percent a year) over the months."""
    monthly = rate / 1200
    return np.asarray(amount * monthly / (1 - (1 + monthly) ** -months))
