"""A synthetic loan book in the 74-column layout of Kaggle's ``loan.csv``, made from loan mathematics.

It stands in for the real file where that is missing: nothing in it describes a person, and every web address, title and
description in it says or shows that it is made up. A book is made in chunks of 10,000 loans, each with the full file's
mix of statuses in random order, so a longer book begins with the shorter one of the same seed.

The steps, in the order of a loan's life: issue months, borrowers, terms, statuses, repayment, credit file, paperwork;
then the odd and the missing values that a real file has.

Run it as ``python -m credit_risk_model.training.synthetic --rows 887379 --output data/synthetic/loan.csv``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from credit_risk_model.whole_file import open_whole

Array = npt.NDArray[Any]
Loans = dict[str, Array]

COLUMNS: tuple[str, ...] = tuple(
    """
    id member_id loan_amnt funded_amnt funded_amnt_inv term int_rate installment grade sub_grade emp_title emp_length
    home_ownership annual_inc verification_status issue_d loan_status pymnt_plan url desc purpose title zip_code
    addr_state dti delinq_2yrs earliest_cr_line inq_last_6mths mths_since_last_delinq mths_since_last_record open_acc
    pub_rec revol_bal revol_util total_acc initial_list_status out_prncp out_prncp_inv total_pymnt total_pymnt_inv
    total_rec_prncp total_rec_int total_rec_late_fee recoveries collection_recovery_fee last_pymnt_d last_pymnt_amnt
    next_pymnt_d last_credit_pull_d collections_12_mths_ex_med mths_since_last_major_derog policy_code
    application_type annual_inc_joint dti_joint verification_status_joint acc_now_delinq tot_coll_amt tot_cur_bal
    open_acc_6m open_il_6m open_il_12m open_il_24m mths_since_rcnt_il total_bal_il il_util open_rv_12m open_rv_24m
    max_bal_bc all_util total_rev_hi_lim inq_fi total_cu_tl inq_last_12m
    """.split()
)
"""The 74 columns of Kaggle's ``loan.csv``, in its order."""

ADDRESS = "https://synthetic.invalid/loan/"
"""What every loan's `url` begins with: by it a book is known as synthetic wherever it turns up."""

CHUNK_ROWS = 10_000
"""Loans made at once: few enough to keep memory flat, and the status shares are whole numbers of ten thousand."""

STATUSES_PER_CHUNK = {
    "Current": 6780,
    "Fully Paid": 2340,
    "Charged Off": 510,
    "Late (31-120 days)": 130,
    "Issued": 100,
    "In Grace Period": 70,
    "Late (16-30 days)": 30,
    "Does not meet the credit policy. Status:Fully Paid": 20,
    "Does not meet the credit policy. Status:Charged Off": 10,
    "Default": 10,
}
"""How the full file's 887,379 loans stood in January 2016, in loans of 10,000."""

PAID = tuple(status for status in STATUSES_PER_CHUNK if status.endswith("Fully Paid"))
CHARGED_OFF = tuple(status for status in STATUSES_PER_CHUNK if status.endswith("Charged Off"))


def _month(year: int, month: int) -> int:
    return year * 12 + month - 1


SNAPSHOT = _month(2016, 1)
FIRST_ISSUE = _month(2007, 6)
POLICY_CHANGE = _month(2011, 1)
"""Loans issued under the former credit policy are older than this."""
LARGE_LOANS_SINCE = _month(2012, 1)
"""Before this month 25,000 was the most that was lent; since then 35,000."""
BALANCES_KEPT_SINCE = _month(2012, 8)
"""Total balances and collection amounts are missing for loans older than this (8 % of the full file)."""
MONTH_TEXTS = np.array(
    [
        f"{name}-{year}"
        for year in range(1940, 2018)
        for name in ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    ],
    dtype=object,
)

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
LONG_TERM_SINCE = _month(2010, 1)
SUB_GRADES = np.array([f"{grade}{step}" for grade in GRADE_SHARES for step in range(1, 6)], dtype=object)
SUB_GRADE_RATES = np.interp(
    np.arange(35), [0, 4, 9, 14, 19, 24, 29, 34], [5.6, 8.1, 12.2, 15.4, 18.7, 22.2, 25.3, 28.2]
)
RATE_SHIFTS = np.array(
    [0.23, 0.31, 0.52, 0.64, 0.47, 0.18, -0.07, -0.36, 0.12, 0.41, 0.79, 0.56, 0.28, 0.05, -0.21, -0.48, -0.62, -0.33]
)
"""Percentage points on all rates in each half-year since 2007: the lender moved its rate table about twice a year."""
RATE_BOUNDS = (5.32, 28.99)

HIGHEST_COMMON_INCOME = 273_000
"""The published cleaning of the full file leaves no income above this; rarer ones are planted as odd values."""

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
STATES = {"CA": 15, "NY": 8, "TX": 8, "FL": 7, "IL": 4, "NJ": 4, "PA": 4, "OH": 3, "GA": 3, "VA": 3, "NC": 3, "MI": 3}
JOB_TITLES = ("Teacher", "Nurse", "Driver", "Manager", "Engineer", "Sales", "Electrician", "Clerk", "Cook", "Analyst")

EXTRA_PAYMENT_CHANCES = (0.80, 0.05)
EXTRA_PAYMENT_LAST_CHANCES = (0.8, 0.3)
"""How often a loan has an extra or partial payment, and how often that is its last one: in difficulty, and otherwise.

Real borrowers in difficulty pay part of an instalment less often. It is the main trace by which a model can tell a loan
that stopped from a young one here, as no field tells a loan's age; these chances and the slopes of the default hazard
are set so that LightGBM reaches an AUC of about 0.92 on the contract's fields.
"""

ODD_NUMBERS = (
    ("annual_inc", 1, 1_000_000, 1_500_000, 0),
    ("annual_inc", 1, 1_500_000, 2_500_000, 0),
    ("annual_inc", 1, 2_500_000, 3_500_000, 0),
    ("dti", 1, 9999, 9999, 0),
    ("acc_now_delinq", 1, 7, 14, 0),
    ("collections_12_mths_ex_med", 1, 6, 20, 0),
    ("delinq_2yrs", 5, 11, 39, 0),
    ("pub_rec", 3, 11, 86, 0),
    ("revol_util", 38, 100.1, 150, 1),
    ("revol_util", 1, 150, 892.3, 1),
)
"""Column, loans per chunk, lowest, highest, decimals: what the cleaning removes from the full file, or more."""
ODD_HOMES = (("OTHER", 2), ("NONE", 1), ("ANY", 1))

DETAIL_COLUMNS = {
    "open_acc_6m": (0, 3),
    "open_il_6m": (0, 10),
    "open_il_12m": (0, 3),
    "open_il_24m": (0, 5),
    "mths_since_rcnt_il": (1, 140),
    "total_bal_il": (0, 140_000),
    "il_util": (10, 120),
    "open_rv_12m": (0, 4),
    "open_rv_24m": (0, 6),
    "max_bal_bc": (0, 26_000),
    "all_util": (5, 105),
    "inq_fi": (0, 5),
    "total_cu_tl": (0, 11),
    "inq_last_12m": (0, 9),
}
"""Lowest and highest value of the columns that the lender began to fill in December 2015, for half of the loans."""


def synthetic_loan_book(rows: int, seed: int = 42) -> pd.DataFrame:
    """Makes a whole synthetic loan book in memory.

    Args:
        rows: Number of loans, at least 1.
        seed: Seed, at least 0. The same seed gives the same loans, whatever the number of rows.

    Returns:
        The loans in random order under ``COLUMNS``: amounts in USD, rates in percent a year, months as ``Sep-2015``,
        and ``n/a`` where the employment length is missing, as the file has it.

    Raises:
        ValueError: If there is not at least one row, or the seed is negative.
    """
    return pd.concat(_chunks(rows, seed), ignore_index=True)


def write_synthetic_loan_book(
    path: Path, rows: int, seed: int = 42, progress: Callable[[int], object] | None = None
) -> None:
    """Writes a synthetic loan book as CSV, whole or not at all.

    The same rows and seed give the same bytes. Memory stays flat, whatever the number of rows.

    Args:
        path: The file to write or replace; gzip-compressed if its name ends in ``.gz``. Its folder is made if missing.
        rows: Number of loans, at least 1.
        seed: Seed, at least 0.
        progress: Called after each chunk with the number of loans just written.

    Raises:
        ValueError: If there is not at least one row, or the seed is negative.
        OSError: If the file cannot be written.
    """
    chunks = _chunks(rows, seed)
    with _replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for chunk in chunks:
            writer.writerows(_cells(chunk))
            if progress is not None:
                progress(len(chunk))


def _chunks(rows: int, seed: int) -> Iterator[pd.DataFrame]:
    if rows < 1:
        raise ValueError(f"A loan book of {rows} rows cannot be made: ask for at least 1 row.")
    if seed < 0:
        raise ValueError(f"The seed {seed} is negative: give 0 or more.")
    return (_chunk(seed, start).head(rows - start) for start in range(0, rows, CHUNK_ROWS))


def _cells(chunk: pd.DataFrame) -> Iterable[tuple[object, ...]]:
    # The csv module writes a float as its shortest exact text, several times faster than DataFrame.to_csv.
    columns = (chunk[name] for name in COLUMNS)
    return zip(
        *(
            (column.astype(object).where(column.notna(), None) if column.hasnans else column).tolist()
            for column in columns
        ),
        strict=True,
    )


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    with open_whole(path) as raw:
        if path.suffix == ".gz":
            # Neither name nor time goes into the header, or the same loans would not be the same bytes.
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
            ):
                yield text
        else:
            plain = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            try:
                yield plain
            finally:
                plain.detach()  # flushes; the file below stays open, to be synced


def _chunk(seed: int, start: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, start // CHUNK_ROWS])
    issued = _issue_months(rng)
    loans = _borrowers(rng)
    loans |= _terms(rng, loans, issued)
    loans["loan_status"] = _statuses(rng, loans, issued)
    loans |= _repayment(rng, loans, issued)
    loans |= _credit_file(rng, loans, issued)
    loans |= _december_2015_details(rng, issued)
    loans |= _paperwork(rng, loans, issued, start)
    _plant_odd_values(rng, loans)
    _blank_missing_values(rng, loans, issued)
    return pd.DataFrame({name: loans[name] for name in COLUMNS})


def _issue_months(rng: np.random.Generator) -> Array:
    """Months in which the loans were issued, more of them towards the end of a year, since the lender grew."""
    months = np.arange(FIRST_ISSUE, SNAPSHOT)
    growth = 1 + 0.04 * (months % 12)
    years = months // 12
    shares = np.zeros(months.size)
    for year, loans in LOANS_BY_YEAR.items():
        shares[years == year] = loans * growth[years == year] / growth[years == year].sum()
    return rng.choice(months, size=CHUNK_ROWS, p=shares / shares.sum())


def _borrowers(rng: np.random.Generator) -> Loans:
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
        "home_ownership": _draw(rng, HOME_OWNERSHIP),
        "emp_length": _draw(rng, EMPLOYMENT_LENGTH),
        "verification_status": _draw(rng, VERIFICATION),
        "purpose": _draw(rng, PURPOSES),
    }


def _terms(rng: np.random.Generator, loans: Loans, issued: Array) -> Loans:
    """Grade, rate, term, amount and the instalment that follows from them."""
    sub_grade = _sub_grade_numbers(rng, loans)
    grade = sub_grade // 5
    long = (rng.random(CHUNK_ROWS) < LONG_TERM_SHARES[grade]) & (issued >= LONG_TERM_SINCE)
    rate = SUB_GRADE_RATES[sub_grade] + RATE_SHIFTS[issued // 6 - _month(2007, 1) // 6]
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
    """0 for A1 to 34 for G5: the worse the borrower's figures, the later the sub-grade; the grades' shares hold."""
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
    # Weak grades (E to G) and old loans are held to less, as the lender did.
    most = np.where(issued < LARGE_LOANS_SINCE, 25_000, np.where(grade >= 4, 30_000, 35_000))
    step = np.where(rng.random(CHUNK_ROWS) < 0.6, 1000, 25)
    return np.asarray(np.clip(np.round(wanted / step) * step, 500, most), dtype=float)


def _instalment(amount: Array, rate: Array, months: Array) -> Array:
    """The annuity: the equal monthly payment that repays an amount at a rate (percent a year) in so many months."""
    monthly = rate / 1200
    return np.asarray(amount * monthly / (1 - (1 + monthly) ** -months))


def _default_hazard(loans: Loans) -> Array:
    """Logarithm of the monthly hazard of default, up to a constant."""
    return np.asarray(
        0.15 * (loans["int_rate"] - 13)
        + 0.40 * (loans["term"] == " 60 months")
        + 0.03 * (loans["dti"] - 18)
        + 0.010 * (loans["revol_util"] - 55)
        + 0.20 * np.minimum(loans["delinq_2yrs"], 4)
        + 0.25 * np.minimum(loans["acc_now_delinq"], 2)
        - 0.70 * np.log(loans["annual_inc"] / 65_000)
    )


def _statuses(rng: np.random.Generator, loans: Loans, issued: Array) -> Array:
    """Draws each status for its share of the loans, among those whose age allows it.

    A hazard's logarithm plus Gumbel noise, ranked, draws without replacement in proportion to the hazard.
    """
    age = SNAPSHOT - issued
    months = np.where(loans["term"] == " 60 months", 60, 36)
    running, former = age < months, issued < POLICY_CHANGE
    hazard = _default_hazard(loans)
    exposed = hazard + np.log(np.maximum(np.minimum(age, months) - 4, 1))
    repaid = np.where(running, 1.5 * np.log(age), np.inf)
    policy = "Does not meet the credit policy. Status:"
    draws = (
        ("Issued", age == 1, np.zeros(CHUNK_ROWS)),
        (f"{policy}Charged Off", former, hazard),
        (f"{policy}Fully Paid", former, np.zeros(CHUNK_ROWS)),
        ("Charged Off", age >= 5, exposed),
        ("Default", running & (age >= 7), hazard),
        ("Late (31-120 days)", running & (age >= 4), hazard),
        ("Late (16-30 days)", running & (age >= 2), hazard),
        ("In Grace Period", running & (age >= 2), hazard),
        ("Fully Paid", age >= 1, repaid),
    )
    statuses = np.full(CHUNK_ROWS, "Current", dtype=object)
    for status, possible, log_weight in draws:
        key = np.where(possible & (statuses == "Current"), log_weight + rng.gumbel(size=CHUNK_ROWS), -np.inf)
        statuses[np.argsort(-key, kind="stable")[: STATUSES_PER_CHUNK[status]]] = status
    return statuses


def _months_paid(rng: np.random.Generator, status: Array, age: Array, months: Array) -> Array:
    """Number of monthly payments made by the snapshot."""
    arrears = (rng.random(CHUNK_ROWS) < 0.2).astype(int)
    for late, (fewest, most) in {
        "In Grace Period": (1, 1),
        "Late (16-30 days)": (1, 2),
        "Late (31-120 days)": (2, 4),
        "Default": (5, 6),
    }.items():
        arrears = np.where(status == late, rng.integers(fewest, most + 1, CHUNK_ROWS), arrears)
    lived = np.minimum(age, months)
    moment = np.sqrt(rng.random(CHUNK_ROWS))
    prepaid = (age < months) | (rng.random(CHUNK_ROWS) < 0.45)
    paid = np.maximum(age - arrears, 0)
    paid = np.where(status == "Issued", 0, paid)
    # A loan is charged off about five months after its last payment.
    paid = np.where(np.isin(status, CHARGED_OFF), np.floor(moment * (lived - 4)), paid)
    return np.where(np.isin(status, PAID), np.where(prepaid, np.maximum(np.ceil(moment * lived), 1), months), paid)


def _repayment(rng: np.random.Generator, loans: Loans, issued: Array) -> Loans:
    """What was paid by the snapshot, split into principal, interest, late fees and recoveries."""
    status, amount, instalment = loans["loan_status"], loans["loan_amnt"], loans["installment"]
    fully_paid, charged_off = np.isin(status, PAID), np.isin(status, CHARGED_OFF)
    months = np.where(loans["term"] == " 60 months", 60, 36)
    paid = _months_paid(rng, status, SNAPSHOT - issued, months)
    monthly = loans["int_rate"] / 1200
    regular: Array = paid - fully_paid
    growth = (1 + monthly) ** regular
    balance = np.clip(amount * growth - instalment * (growth - 1) / monthly, 0.0, amount)
    payoff = balance * (1 + monthly)
    # A tenth of the loans repaid early were so in several parts.
    last_part = np.where(rng.random(CHUNK_ROWS) < 0.1, rng.random(CHUNK_ROWS), 1.0)
    usual = np.where(fully_paid, payoff * last_part, instalment) * (paid > 0)

    strained = ~fully_paid & ~np.isin(status, ("Current", "Issued"))
    extra = _extra_payments(rng, paid, instalment, balance, strained) * ~fully_paid
    principal = _cents(np.where(fully_paid, amount, amount - balance + extra))
    interest = _cents(regular * instalment - (amount - balance) + np.where(fully_paid, payoff - balance, 0.0))
    fee_due = (rng.random(CHUNK_ROWS) < np.where(strained, 0.2, 0.008)) & (paid > 0)
    late_fee = _cents(np.where(fee_due, np.maximum(15.0, 0.05 * instalment), 0.0))
    recovered = charged_off & (rng.random(CHUNK_ROWS) < 0.58)
    recoveries = _cents(np.where(recovered, rng.beta(1.0, 6.0, CHUNK_ROWS) * (amount - principal), 0.0))
    total = _cents(principal + interest + late_fee + recoveries)
    owed = _cents(np.where(fully_paid | charged_off, 0.0, amount - principal))
    invested = loans["funded_amnt_inv"] / amount
    return {
        "out_prncp": owed,
        "out_prncp_inv": _cents(owed * invested),
        "total_pymnt": total,
        "total_pymnt_inv": _cents(total * invested),
        "total_rec_prncp": principal,
        "total_rec_int": interest,
        "total_rec_late_fee": late_fee,
        "recoveries": recoveries,
        "collection_recovery_fee": _cents(recoveries * rng.choice([0.0, 0.01, 0.18], CHUNK_ROWS)),
        "last_pymnt_amnt": _last_payments(rng, usual, extra, strained),
        **_payment_dates(rng, issued, paid, fully_paid | charged_off),
    }


def _extra_payments(rng: np.random.Generator, paid: Array, instalment: Array, balance: Array, strained: Array) -> Array:
    """Principal paid beside the instalments: few borrowers pay any, but most who stop paying first paid a part."""
    chance = np.where(strained, *EXTRA_PAYMENT_CHANCES)
    extra = instalment * rng.uniform(0.05, 0.95, CHUNK_ROWS)
    return np.where((rng.random(CHUNK_ROWS) < chance) & (paid > 0), np.minimum(extra, 0.9 * balance), 0.0)


def _last_payments(rng: np.random.Generator, usual: Array, extra: Array, strained: Array) -> Array:
    """The usual payment, or beside it the extra one, or the extra one alone: mostly so where a borrower struggles."""
    partial = rng.random(CHUNK_ROWS) < np.where(strained, *EXTRA_PAYMENT_LAST_CHANCES)
    return _cents(np.where(extra > 0, np.where(partial, extra, usual + extra), usual))


def _payment_dates(rng: np.random.Generator, issued: Array, paid: Array, ended: Array) -> Loans:
    last = issued + paid.astype(int)
    pulled = np.where(rng.random(CHUNK_ROWS) < 0.35, SNAPSHOT, last + rng.integers(0, 7, CHUNK_ROWS))
    return {
        "last_pymnt_d": _month_texts(last, missing=paid == 0),
        "next_pymnt_d": _month_texts(np.where(last == SNAPSHOT, SNAPSHOT + 1, SNAPSHOT), missing=ended),
        "last_credit_pull_d": _month_texts(np.where(ended, np.minimum(pulled, SNAPSHOT), SNAPSHOT)),
    }


def _credit_file(rng: np.random.Generator, loans: Loans, issued: Array) -> Loans:
    """The other columns that a credit bureau would report."""
    open_accounts = 1.0 + rng.negative_binomial(6, 0.357, CHUNK_ROWS)
    revolving = np.round(11_500 * rng.lognormal(0.0, 0.85, CHUNK_ROWS) * loans["revol_util"] / 55)
    limit = np.round(100 * revolving / np.maximum(loans["revol_util"], 5), -2)
    old = issued < BALANCES_KEPT_SINCE
    collected = np.where(rng.random(CHUNK_ROWS) < 0.14, np.round(rng.lognormal(5.5, 1.4, CHUNK_ROWS)), 0.0)
    return {
        "open_acc": open_accounts,
        "total_acc": open_accounts + rng.negative_binomial(3, 0.17, CHUNK_ROWS),
        "revol_bal": revolving,
        "earliest_cr_line": _month_texts(issued - 36 - rng.gamma(3.5, 45, CHUNK_ROWS).clip(max=500).astype(int)),
        "mths_since_last_delinq": _months_since(rng, 0.49, 82, known=loans["delinq_2yrs"] > 0),
        "mths_since_last_record": _months_since(rng, 0.0, 119, known=loans["pub_rec"] > 0),
        "mths_since_last_major_derog": _months_since(rng, 0.25, 93, known=loans["delinq_2yrs"] > 2),
        "tot_coll_amt": np.where(old, np.nan, collected),
        "tot_cur_bal": np.where(old, np.nan, revolving + np.round(70_000 * rng.lognormal(0.0, 1.1, CHUNK_ROWS))),
        "total_rev_hi_lim": np.where(old, np.nan, limit),
    }


def _months_since(rng: np.random.Generator, share: float, longest: int, known: Array) -> Array:
    """Months since an event; missing unless the loan has it for certain or is of the share that has it besides."""
    months = rng.integers(0, longest + 1, CHUNK_ROWS).astype(float)
    return np.where(known | (rng.random(CHUNK_ROWS) < share), months, np.nan)


def _december_2015_details(rng: np.random.Generator, issued: Array) -> Loans:
    detailed = (issued == SNAPSHOT - 1) & (rng.random(CHUNK_ROWS) < 0.45)
    details: Loans = {}
    for name, (lowest, highest) in DETAIL_COLUMNS.items():
        value = np.round(lowest + (highest - lowest) * rng.beta(1.0, 3.0, CHUNK_ROWS))
        details[name] = np.where(detailed, value, np.nan)
    joint = detailed & (rng.random(CHUNK_ROWS) < 0.025)
    return details | {
        "application_type": np.where(joint, "JOINT", "INDIVIDUAL").astype(object),
        "annual_inc_joint": np.where(joint, np.round(rng.uniform(60_000, 200_000, CHUNK_ROWS), -3), np.nan),
        "dti_joint": np.where(joint, np.round(rng.uniform(5, 30, CHUNK_ROWS), 2), np.nan),
        "verification_status_joint": np.where(joint, _draw(rng, VERIFICATION), np.nan),
    }


def _paperwork(rng: np.random.Generator, loans: Loans, issued: Array, start: int) -> Loans:
    """Numbers, addresses and free text: made up, and plainly so."""
    numbers = 900_000_000 + start + np.arange(CHUNK_ROWS)
    described = (issued < _month(2014, 3)) & (rng.random(CHUNK_ROWS) < 0.5)
    return {
        "id": numbers,
        "member_id": numbers + 50_000_000,
        "issue_d": _month_texts(issued),
        "pymnt_plan": np.full(CHUNK_ROWS, "n", dtype=object),
        "url": np.array([f"{ADDRESS}{number}" for number in numbers.tolist()], dtype=object),
        "desc": np.where(described, "Synthetic loan, no borrower: " + loans["purpose"], np.nan),
        "title": np.where(rng.random(CHUNK_ROWS) < 0.0005, np.nan, "Synthetic " + loans["purpose"]),
        "emp_title": _draw(rng, dict.fromkeys(JOB_TITLES, 1.0)),
        "zip_code": np.array([f"{zone:03d}xx" for zone in range(1000)], dtype=object)[
            rng.integers(0, 1000, CHUNK_ROWS)
        ],
        "addr_state": _draw(rng, STATES),
        "initial_list_status": _draw(rng, {"f": 0.5, "w": 0.5}),
        "policy_code": np.ones(CHUNK_ROWS),
    }


def _plant_odd_values(rng: np.random.Generator, loans: Loans) -> None:
    """Puts each kind of odd value into loans of its own, so that each cleaning step finds some."""
    rows = iter(rng.permutation(CHUNK_ROWS).tolist())
    for name, count, lowest, highest, decimals in ODD_NUMBERS:
        chosen = [next(rows) for _ in range(count)]
        loans[name][chosen] = np.round(rng.uniform(lowest, highest, count), decimals)
    for home, count in ODD_HOMES:
        loans["home_ownership"][[next(rows) for _ in range(count)]] = home


def _blank_missing_values(rng: np.random.Generator, loans: Loans, issued: Array) -> None:
    unemployed = rng.random(CHUNK_ROWS) < 0.05
    loans["emp_length"][unemployed] = "n/a"
    loans["emp_title"][unemployed | (rng.random(CHUNK_ROWS) < 0.01)] = np.nan
    loans["revol_util"][rng.random(CHUNK_ROWS) < 0.0005] = np.nan
    # The credit files of the oldest loans were not kept whole.
    oldest = np.argsort(issued, kind="stable")
    for name in ("delinq_2yrs", "inq_last_6mths", "open_acc", "pub_rec", "total_acc", "acc_now_delinq"):
        loans[name][oldest[:2]] = np.nan
    loans["earliest_cr_line"][oldest[:2]] = np.nan
    loans["collections_12_mths_ex_med"][oldest[:3]] = np.nan
    loans["annual_inc"][oldest[0]] = np.nan


def _draw(rng: np.random.Generator, shares: Mapping[str, float]) -> Array:
    weights = np.array(list(shares.values()))
    levels: Array = np.array(list(shares), dtype=object)
    return np.asarray(levels[rng.choice(weights.size, size=CHUNK_ROWS, p=weights / weights.sum())])


def _cents(amounts: Array) -> Array:
    # The sum turns a negative zero, which would be written as "-0.0", into a plain one.
    return np.asarray(np.round(amounts, 2) + 0.0)


def _month_texts(months: Array, missing: Array | None = None) -> Array:
    texts: Array = MONTH_TEXTS[months - _month(1940, 1)]
    if missing is not None:
        texts[missing] = np.nan
    return texts


def _at_least(lowest: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{value} is too small: give {lowest} or more")
        return value

    return whole_number


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a synthetic loan book from the command line.

    Args:
        arguments: The command line without the program's name; by default the process's own.

    Raises:
        SystemExit: With code 2 for a wrong argument, with 1 if the file cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m credit_risk_model.training.synthetic",
        description="Write a synthetic loan book in the 74-column layout of Kaggle's loan.csv.",
    )
    parser.add_argument("--rows", type=_at_least(1), default=887_379, help="number of loans (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("data/synthetic/loan.csv"),
        help="file to write, compressed if it ends in .gz (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=_at_least(0), default=42, help="the same seed gives the same loans (default: 42)"
    )
    options = parser.parse_args(arguments)
    # disable=None: a bar only where the error stream is a terminal.
    with tqdm(total=options.rows, unit="loans", disable=None) as bar:
        try:
            write_synthetic_loan_book(options.output, options.rows, options.seed, progress=bar.update)
        except OSError as error:
            parser.exit(1, f"{parser.prog}: cannot write {options.output}: {error.strerror or error}\n")


if __name__ == "__main__":
    main()
