import numpy as np
import pandas as pd
import pytest

from credit_risk_model.training import evaluation
from credit_risk_model.training.fitting import Fitted

RISKY = pd.Series([0, 0, 0, 1, 0, 1, 1, 0, 1, 1])
PROBABILITY = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.6, 0.7, 0.8, 0.9])


def test_figures_of_a_hand_counted_example() -> None:
    """Each figure is what counting by hand gives."""
    found = evaluation.evaluate(RISKY, PROBABILITY, cut_off=0.25)
    # Of the 25 pairs of a risky and a safe loan, 0.3 loses to 0.4 and 0.7, and 0.55 and 0.6 lose to 0.7.
    assert found.auc == pytest.approx(21 / 25)
    assert found.gini == pytest.approx(2 * 21 / 25 - 1)
    # At 0.55 four of five risky and one of five safe loans are above.
    assert found.ks == pytest.approx(4 / 5 - 1 / 5)
    assert found.brier == pytest.approx(((PROBABILITY - RISKY) ** 2).mean())
    assert found.average_precision == pytest.approx((1 + 1 + 3 / 4 + 4 / 5 + 5 / 7) / 5)
    assert (found.rows, found.risky_share) == (10, 0.5)
    at_half, at_cut_off = found.at_half, found.at_cut_off
    assert at_half.confusion_matrix == ((4, 1), (1, 4))
    assert at_half.accuracy == pytest.approx(0.8)
    assert at_cut_off.confusion_matrix == ((3, 2), (0, 5))
    assert at_cut_off.precision.safe == 1.0
    assert at_cut_off.precision.risky == pytest.approx(5 / 7)
    assert at_cut_off.recall.safe == pytest.approx(3 / 5)
    assert at_cut_off.recall.risky == 1.0
    assert at_cut_off.f1.risky == pytest.approx(10 / 12)
    assert at_cut_off.macro_f1 == pytest.approx((10 / 12 + 6 / 8) / 2)


def test_loan_at_the_threshold_is_risky() -> None:
    """A probability equal to the threshold counts as risky, as in the service."""
    found = evaluation.evaluate(RISKY, PROBABILITY, cut_off=0.3)
    assert found.at_cut_off.recall.risky == 1.0


def test_calibration_is_the_mean_of_each_tenth() -> None:
    """Each tenth, ordered by probability, shows its mean probability beside the share that was risky."""
    rng = np.random.default_rng(1)
    probability = rng.random(2000)
    risky = pd.Series((rng.random(2000) < probability).astype(int))
    table = evaluation.tabulate_calibration(risky, probability)
    assert table["loans"].tolist() == [200] * 10
    assert table["mean_probability"].is_monotonic_increasing
    assert (table["mean_probability"] - table["risky_share"]).abs().max() < 0.1
    assert evaluation.evaluate(risky, probability, 0.5).calibration_error < 0.05
    assert evaluation.evaluate(risky, probability / 3, 0.5).calibration_error > 0.2


def test_importance_shares_add_up(fitted: Fitted) -> None:
    """Shares of the gain add up to 1, the greatest first."""
    shares = evaluation.tabulate_importance(fitted.without_age)["share_of_gain"]
    assert shares.sum() == pytest.approx(1)
    assert shares.is_monotonic_decreasing


def test_figures_are_titled_and_labelled(fitted: Fitted) -> None:
    """Every plot has a title and both its axes named."""
    found = evaluation.evaluate(RISKY, PROBABILITY, 0.5)
    figures = (
        evaluation.plot_curves(RISKY, PROBABILITY, 0.5),
        evaluation.plot_calibration(RISKY, PROBABILITY),
        evaluation.plot_confusion(found),
        evaluation.plot_importance(fitted.without_age),
    )
    axes = [axes for figure in figures for axes in figure.axes]
    assert len(axes) == 7
    assert all(part.get_title() and part.get_xlabel() and part.get_ylabel() for part in axes)


def test_table_shows_both_thresholds() -> None:
    """The decisions have a row for each threshold."""
    found = evaluation.evaluate(RISKY, PROBABILITY, cut_off=0.25)
    assert evaluation.tabulate_decisions(found).index.tolist() == ["0.5000", "0.2500"]


def test_evaluation_is_stored_as_the_metadata_has_it() -> None:
    """The stored record has the archive's names, and the shares of its decisions by class."""
    stored = evaluation.evaluate(RISKY, PROBABILITY, cut_off=0.25).store()
    assert list(stored)[-2:] == ["at_0.5", "at_cut_off"]
    assert stored["at_0.5"]["precision"] == {"safe": pytest.approx(0.8), "risky": pytest.approx(0.8)}
    assert stored["auc"] == pytest.approx(21 / 25)
