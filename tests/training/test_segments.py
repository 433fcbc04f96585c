import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

from credit_risk_model.features import AGE, compute_instalments
from credit_risk_model.training import segments
from credit_risk_model.training.figures import SegmentFigures
from credit_risk_model.training.fitting import Fitted, is_running, label

Figures = dict[str, SegmentFigures]


@pytest.fixture(scope="module")
def found(fitted: Fitted, loans: pd.DataFrame) -> Figures:
    """The figures of the small model on the small book."""
    return segments.measure_segments(loans, fitted.predict(loans), 0.3)


def test_rule_calls_risky_what_is_behind_and_not_repaid(loans: pd.DataFrame) -> None:
    """1.5 instalments behind are risky, a hair less are not; nor is a repaid loan, nor one of unknown age."""
    few = loans.head(4).copy()
    few[AGE] = [20.0, 20.0, 20.0, np.nan]
    instalment = compute_instalments(few)
    few["total_payments_to_date"] = [18.49, 18.51, 0.0, 0.0] * instalment
    assert segments.apply_rule(few).tolist() == [1, 0, 1, 0]
    few["total_payments_to_date"] = few["loan_amount"].astype(float)
    few[AGE] = 60.0
    assert segments.apply_rule(few).tolist() == [0, 0, 0, 0]


def test_figures_of_a_segment_are_those_of_its_loans(found: Figures, fitted: Fitted, loans: pd.DataFrame) -> None:
    """AUC, Brier score and F1 of model and rule are what scikit-learn finds on the segment's loans alone."""
    probability = fitted.predict(loans)
    rows = is_running(loans)
    risky, rule = label(loans)[rows], segments.apply_rule(loans)[rows]
    running = found["running"]
    assert running.rows == rows.sum()
    assert running.auc == pytest.approx(roc_auc_score(risky, probability[rows]))
    assert running.brier == pytest.approx(brier_score_loss(risky, probability[rows]))
    assert running.f1 == pytest.approx(f1_score(risky, probability[rows] >= 0.3))
    assert running.rule_auc == pytest.approx(roc_auc_score(risky, rule))
    assert running.rule_f1 == pytest.approx(f1_score(risky, rule))
    assert found["ended"].rows + running.rows == found["all"].rows == len(loans)


def test_loans_stand_by_status_year_and_age(found: Figures, loans: pd.DataFrame) -> None:
    """Every loan stands in one segment of each kind: its status, its year of issue, its share of the term."""
    for start, total in (("status", len(loans)), ("issued", len(loans)), ("running, ", is_running(loans).sum())):
        assert sum(figures.rows for name, figures in found.items() if name.startswith(start)) == total


def test_small_segments_come_with_intervals(found: Figures) -> None:
    """Below 2,000 loans each figure lies within its bootstrap interval; above there is none."""
    assert "auc_interval" not in found["all"].store()
    ended = found["ended"]
    assert ended.rows < segments.INTERVAL_BELOW
    for value, interval in (
        (ended.auc, ended.auc_interval),
        (ended.brier, ended.brier_interval),
        (ended.f1, ended.f1_interval),
    ):
        assert interval is not None
        assert value is not None
        assert interval[0] <= value <= interval[1]
        assert interval[0] < interval[1]


def test_segment_of_one_class_has_no_ranking(found: Figures) -> None:
    """If all loans are safe, AUC and F1 are None, and the Brier score is not."""
    current = found["status Current"]
    assert (current.auc, current.f1, current.rule_auc) == (None, None, None)
    assert current.brier < 0.1


def test_model_that_is_worse_than_the_rule_is_said_not_to_beat_it(loans: pd.DataFrame) -> None:
    """A model beats the rule by a higher AUC and a lower Brier score; a coin does not."""
    coin = np.random.default_rng(1).random(len(loans))
    assert not segments.measure_segments(loans, coin, 0.5)["running"].beats_rule
    oracle = segments.measure_segments(loans, label(loans).to_numpy(dtype=float), 0.5)
    assert oracle["running"].beats_rule
    assert segments.tabulate_segments(oracle).loc["running", "beats the rule"] == "yes"


def test_table_has_a_row_for_each_segment(found: Figures) -> None:
    """Running loans come first, intervals stand in brackets, and what can't be measured is blank."""
    table = segments.tabulate_segments(found)
    assert table.index.tolist() == list(found)
    assert table.index[0] == "running"
    assert "[" in str(table.loc["ended", "AUC"])
    assert table.loc["status Current", "AUC"] == ""
