"""Measures how well probabilities rank loans, if both classes have enough loans."""

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss, roc_auc_score

from credit_risk_model.features import AGE
from credit_risk_model.training.figures import OutOfFoldFigures, Ranking, RankingByLoans
from credit_risk_model.training.fitting import Answers, Probabilities, is_running, label
from credit_risk_model.training.segments import apply_rule

MIN_LOANS_OF_A_CLASS = 30
"""With fewer loans of a class an AUC is meaningless."""


def can_rank(loans: pd.DataFrame) -> bool:
    """Return whether both classes have enough loans to rank."""
    risky = int(label(loans).sum())
    return min(risky, len(loans) - risky) >= MIN_LOANS_OF_A_CLASS


def rank(loans: pd.DataFrame, probability: Probabilities) -> Ranking:
    """Measure how probabilities rank loans."""
    risky = label(loans)
    return Ranking(auc=float(roc_auc_score(risky, probability)), brier=float(brier_score_loss(risky, probability)))


def rank_out_of_fold(training: pd.DataFrame, answers: Answers) -> OutOfFoldFigures:
    """Rank all and running loans, with their age and with it withheld."""
    withheld = _rank_by_loans(training, answers.withheld)
    if training[AGE].isna().all():
        return OutOfFoldFigures(age_withheld=withheld)
    return OutOfFoldFigures(age_known=_rank_by_loans(training, answers.known), age_withheld=withheld)


def _rank_by_loans(training: pd.DataFrame, probability: Probabilities) -> RankingByLoans:
    rows = {"running": is_running(training), "all": np.ones(len(training), dtype=bool)}
    found = {
        name: rank(training[chosen], probability[chosen]) for name, chosen in rows.items() if can_rank(training[chosen])
    }
    return RankingByLoans(**found)


def rank_by_rule(training: pd.DataFrame) -> Ranking | None:
    """Measure how the arrears rule ranks running loans; return None if it can't be applied."""
    running = training[is_running(training)]
    if not can_rank(running) or running[AGE].isna().all():
        return None
    return rank(running, apply_rule(running).astype(float))
