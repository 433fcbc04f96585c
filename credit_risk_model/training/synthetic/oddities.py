"""Adds the odd and missing values of a real file, so that each cleaning step finds some."""

import numpy as np

from credit_risk_model.training.synthetic.draws import CHUNK_ROWS, Array, Loans

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
"""Column, loans per chunk, lowest, highest, decimals: at least as many as the cleaning removes from the full file."""
ODD_HOMES = (("OTHER", 2), ("NONE", 1), ("ANY", 1))


def plant_odd_values(rng: np.random.Generator, loans: Loans) -> None:
    """Put each kind of odd value into different loans, so that each cleaning step finds some."""
    rows = iter(rng.permutation(CHUNK_ROWS).tolist())
    for name, count, lowest, highest, decimals in ODD_NUMBERS:
        chosen = [next(rows) for _ in range(count)]
        loans[name][chosen] = np.round(rng.uniform(lowest, highest, count), decimals)
    for home, count in ODD_HOMES:
        loans["home_ownership"][[next(rows) for _ in range(count)]] = home


def blank_missing_values(rng: np.random.Generator, loans: Loans, issued: Array) -> None:
    """Blank values as often as a real file lacks them."""
    unemployed = rng.random(CHUNK_ROWS) < 0.05
    loans["emp_length"][unemployed] = "n/a"
    loans["revol_util"][rng.random(CHUNK_ROWS) < 0.0005] = np.nan
    # The credit files of the oldest loans are incomplete.
    oldest = np.argsort(issued, kind="stable")
    for name in ("delinq_2yrs", "inq_last_6mths", "pub_rec", "acc_now_delinq"):
        loans[name][oldest[:2]] = np.nan
    loans["collections_12_mths_ex_med"][oldest[:3]] = np.nan
    loans["annual_inc"][oldest[0]] = np.nan
