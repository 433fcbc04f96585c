import dataclasses

import numpy as np
import pandas as pd
import pytest
from conftest import HYPERPARAMETERS

from credit_risk_model.training import fitting, held_out
from credit_risk_model.training.fitting import is_running
from credit_risk_model.training.loans import ISSUE_MONTH, SOURCE
from credit_risk_model.training.measuring import Fit, Recipe, fit_and_measure


@pytest.fixture(scope="module")
def fit(loans: pd.DataFrame) -> Fit:
    """A small fit on a split of the small book."""
    return fit_and_measure(fitting.split(loans, seed=1), Recipe(HYPERPARAMETERS, seed=1))


def test_later_loans_are_predicted_by_a_model_of_earlier_ones(loans: pd.DataFrame, fit: Fit) -> None:
    """The later fifth by month of issue is what the figures are of, and the months are recorded."""
    # The book's latest loans are too young to be risky, so the months change hands.
    mixed = loans.assign(**{ISSUE_MONTH: loans[ISSUE_MONTH].sample(frac=1, random_state=1).to_numpy()})
    found = held_out.measure_out_of_time(mixed, fit)
    assert found is not None
    assert found.trained_until < found.tested_from
    later = mixed[ISSUE_MONTH] >= pd.Timestamp(found.tested_from)
    assert found.segments["all"].rows == found.age_withheld["all"].rows == later.sum()
    assert found.segments["all"] != found.age_withheld["all"]


def test_newest_year_is_left_out_where_there_are_no_sources(loans: pd.DataFrame, fit: Fit) -> None:
    """A file without sources is tested on its newest year."""
    found = held_out.measure_source_left_out(loans, fit)
    assert found is not None
    assert found.left_out == "issued in 2015"
    assert found.segments["all"].rows == (loans[ISSUE_MONTH].dt.year == 2015).sum()


def test_source_of_most_months_is_left_out(loans: pd.DataFrame, fit: Fit) -> None:
    """Of several sources, the one whose running loans are of most months of issue is left out."""
    months = loans[ISSUE_MONTH].dt.month
    named = loans.assign(**{SOURCE: np.where(months <= 3, "few months", "many months")})
    found = held_out.measure_source_left_out(named, fit)
    assert found is not None
    assert found.left_out == "source many months"
    assert found.segments["running"].rows == (is_running(named) & (months > 3)).sum()


def test_without_issue_months_nothing_can_be_held_out(loans: pd.DataFrame, fit: Fit) -> None:
    """Without issue dates, neither test is possible."""
    dateless = loans.drop(columns=ISSUE_MONTH)
    assert held_out.measure_out_of_time(dateless, fit) is None
    assert held_out.measure_source_left_out(dateless, fit) is None


def test_mean_of_the_splits_is_that_of_their_figures(loans: pd.DataFrame, fit: Fit) -> None:
    """Each seed has its own figures, and `mean` is their mean."""
    found = held_out.repeat_splits(loans, dataclasses.replace(fit.recipe, seed=5))
    assert list(found) == ["42", "1", "2", "mean"]
    briers = [found[seed].brier for seed in ("42", "1", "2")]
    assert len(set(briers)) == 3
    assert found["mean"].brier == pytest.approx(np.mean([brier for brier in briers if brier is not None]))
    # The recipe's seed is replaced: a fit of the same split and seed has the same figures.
    assert found["1"].brier == fit.segments["all"].brier
    assert held_out.tabulate_splits(found).index.tolist() == list(found)
