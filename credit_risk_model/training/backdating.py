"""Adds ended loans as they stood in earlier months, which gives running loans of every age.

Most files hold hardly any young loans, so a model does not learn what a young loan looks like that is paid on time.
Therefore each ended loan is added again, as it stood in random months of its term before its snapshot. Only training
sets are backdated, never test sets.
"""

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from credit_risk_model.features import AGE, TERM_MONTHS, compute_instalments
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.tables.columns import STATUS
from credit_risk_model.training.loans import ENDED_STATUSES, LABEL

TIMES = 2
"""How often each ended loan is added. A third time changed no figure."""

_NOT_YET_DUE: Final = 1 / 3
"""Share of loans whose instalment of the month is not yet due on the snapshot's day."""
_GRACE_OR_LATE = 1
"""Missed instalments with which a loan is in grace, or 16 to 30 days late."""
_LATE_SHARE: Final = 0.4
"""Share of these that are late, as in the snapshots of January 2016."""
_LATE = 4
"""Missed instalments up to which a loan is 31 to 120 days late; with more it is charged off."""
_RECOVERED_AFTER = 12
"""Missed instalments after which recoveries count among the payments."""
_COVERED: Final = 0.97
"""Smallest share of the amount that the payments of a repaid loan cover.

If investors funded only a part of a loan, only the payments to them are recorded. The number of paid instalments is
then unknown, so the loan is not backdated.
"""
_LARGE_PAYMENT: Final = 1.5
"""In instalments: a larger last payment repaid the rest of the loan early."""
_ROUNDING = 0.02
"""Largest share of an instalment that is lost to rounding."""


def backdate(loans: pd.DataFrame, seed: int, times: int = TIMES) -> pd.DataFrame:
    """Make running loans from ended ones.

    Args:
        loans: Cleaned loans. Running ones and those of unknown age are skipped.
        seed: Seed of the random months.
        times: How often to add each ended loan.

    Returns:
        The backdated loans with the same columns. Their status is an estimate of the one that they had then.
    """
    ended = loans[loans[STATUS].isin(ENDED_STATUSES) & loans[AGE].notna()]
    repaid = ended[LABEL] == CreditRisk.SAFE.value
    ended = ended[~repaid | (ended["total_payments_to_date"] >= _COVERED * ended["loan_amount"])]
    rng = np.random.default_rng(seed)
    return pd.concat([loans.iloc[:0], *(_backdate_once(ended, rng) for _ in range(times))], ignore_index=True)


def _backdate_once(ended: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    instalment = compute_instalments(ended).to_numpy()
    months = ended["term"].map(TERM_MONTHS).to_numpy(dtype=float)
    payments, last = (ended[name].to_numpy(dtype=float) for name in ("total_payments_to_date", "last_payment_amount"))
    charged_off = (ended[LABEL] == CreditRisk.RISKY.value).to_numpy()
    # A file's age is in whole months, so the last instalment may not be due yet.
    age = np.ceil(rng.random(len(ended)) * np.maximum(ended[AGE].to_numpy(), 1))
    due = np.maximum(age - (rng.random(len(ended)) < _NOT_YET_DUE), 0)
    before_payoff = np.where(last > _LARGE_PAYMENT * instalment, (payments - last) / instalment + _ROUNDING, months - 1)
    paid = np.maximum(np.floor(np.where(charged_off, payments / instalment + _ROUNDING, before_payoff)), 0)

    missed = due - paid
    regular = missed <= 0
    late = ~regular & charged_off
    grace = late & (missed <= _GRACE_OR_LATE) & (rng.random(len(ended)) >= _LATE_SHARE)
    regular_or_late = regular | (late & (missed <= _RECOVERED_AFTER))
    instalments_paid = np.minimum(due, paid)
    status = np.select(
        [regular, grace, late & (missed <= _GRACE_OR_LATE), late & (missed <= _LATE)],
        ["Current", "In Grace Period", "Late (16-30 days)", "Late (31-120 days)"],
        ended[STATUS].astype(str).to_numpy(),
    )
    return ended.assign(
        **{
            AGE: age,
            "total_payments_to_date": np.where(regular_or_late, instalments_paid * instalment, payments),
            "last_payment_amount": np.where(regular_or_late, np.where(instalments_paid > 0, instalment, 0.0), last),
            STATUS: pd.Categorical(status, categories=ended[STATUS].cat.categories.union(np.unique(status))),
            LABEL: pd.Categorical(
                np.where(late & ~grace, CreditRisk.RISKY.value, CreditRisk.SAFE.value),
                categories=ended[LABEL].cat.categories,
            ),
        }
    )


def tabulate_backdated(backdated: pd.DataFrame) -> pd.DataFrame:
    """Count the backdated loans by status, with risky share and mean age."""
    risky = backdated[LABEL] == CreditRisk.RISKY.value
    table = backdated.assign(risky_share=risky).groupby(STATUS, observed=True)
    return table.agg(loans=(AGE, "size"), risky_share=("risky_share", "mean"), mean_age=(AGE, "mean")).round(3)


def plot_backdated(loans: pd.DataFrame, backdated: pd.DataFrame) -> Figure:
    """Plot the age of the file's loans and the backdated ones."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    bins = list(range(62))
    axes.hist([loans[AGE].dropna(), backdated[AGE]], bins=bins, label=["of the file", "backdated"], stacked=True)
    axes.set(title="Age of the training loans", xlabel="Instalments due", ylabel="Loans")
    axes.legend()
    return figure
