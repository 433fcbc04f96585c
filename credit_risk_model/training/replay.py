"""Replay: ended loans as they stood at earlier months, which makes running loans of every age.

Most files hold hardly any young loan. A model of such a file does not learn what a loan looks like that is paid in
time. So each ended loan is added again, as it stood at months that are drawn evenly over its term up to its snapshot.
Only training sets are replayed, never test sets.
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
"""Share of loans whose instalment of the month is not due yet on the snapshot's day."""
_GRACE_OR_LATE = 1
"""Instalments missed with which a loan is in grace, or 16 to 30 days late."""
_LATE_SHARE: Final = 0.4
"""Share of these that are late: so they stand in the snapshots of January 2016."""
_LATE = 4
"""Instalments missed up to which a loan is 31 to 120 days late; with more it is charged off."""
_RECOVERED_AFTER = 12
"""Instalments missed after which recoveries count among the payments."""
_COVERED: Final = 0.97
"""Share of the amount that the payments of a repaid loan cover at least.

Where investors funded a part of the loan only, their payments alone are recorded: of such a loan it is not known how
many instalments were paid, so it is not replayed.
"""
_LARGE_PAYMENT: Final = 1.5
"""In instalments: a last payment above it paid the rest of the loan early."""
_ROUNDING = 0.02
"""Largest share of an instalment that rounding takes away."""


def replay(loans: pd.DataFrame, seed: int, times: int = TIMES) -> pd.DataFrame:
    """Make running loans of ended ones.

    Args:
        loans: Cleaned loans. Those that are still running, or whose age is not known, are passed over.
        seed: Seed of the months that are drawn.
        times: How often each ended loan is replayed.

    Returns:
        The replayed loans with the same columns. Their status is the one that they had then, as far as it can be told.
    """
    ended = loans[loans[STATUS].isin(ENDED_STATUSES) & loans[AGE].notna()]
    repaid = ended[LABEL] == CreditRisk.SAFE.value
    ended = ended[~repaid | (ended["total_payments_to_date"] >= _COVERED * ended["loan_amount"])]
    rng = np.random.default_rng(seed)
    return pd.concat([loans.iloc[:0], *(_replay_once(ended, rng) for _ in range(times))], ignore_index=True)


def _replay_once(ended: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    instalment = compute_instalments(ended).to_numpy()
    months = ended["term"].map(TERM_MONTHS).to_numpy(dtype=float)
    payments, last = (ended[name].to_numpy(dtype=float) for name in ("total_payments_to_date", "last_payment_amount"))
    charged_off = (ended[LABEL] == CreditRisk.RISKY.value).to_numpy()
    # A file's age is whole months, so that the last of them may not be due yet.
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


def tabulate_replay(replayed: pd.DataFrame) -> pd.DataFrame:
    """Count the replayed loans by the status that they had, with the share that is risky and their mean age."""
    risky = replayed[LABEL] == CreditRisk.RISKY.value
    table = replayed.assign(risky_share=risky).groupby(STATUS, observed=True)
    return table.agg(loans=(AGE, "size"), risky_share=("risky_share", "mean"), mean_age=(AGE, "mean")).round(3)


def plot_replay(loans: pd.DataFrame, replayed: pd.DataFrame) -> Figure:
    """Draw how old the loans are, those of the file and those that were replayed."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    bins = list(range(62))
    axes.hist([loans[AGE].dropna(), replayed[AGE]], bins=bins, label=["of the file", "replayed"], stacked=True)
    axes.set(title="Age of the training loans", xlabel="Instalments due", ylabel="Loans")
    axes.legend()
    return figure
