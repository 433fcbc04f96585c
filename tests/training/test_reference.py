"""The training's loans are put into bins that hold enough of them each."""

import numpy as np
import pandas as pd
import pytest

from credit_risk_model.drift.reference import SCORE, ZONE, Bins
from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.training import fitting
from credit_risk_model.training.reference import (
    MAX_BINS,
    MIN_SHARE,
    cut_levels,
    cut_numbers,
    make_references,
    tabulate_references,
)

PURPOSE = next(feature for feature in CONTRACT_FEATURES if feature.name == "loan_purpose")
LENGTH = next(feature for feature in CONTRACT_FEATURES if feature.name == "employment_length")


def shares_of(bins: Bins | None) -> list[float]:
    """The shares of bins that there are."""
    assert bins is not None
    return list(bins.shares)


@pytest.mark.parametrize("seed", range(20))
def test_no_bin_of_numbers_is_too_small(seed: int) -> None:
    """For any distribution, there are at most ten bins, and each holds at least a twentieth."""
    rng = np.random.default_rng(seed)
    values = np.concatenate(
        [
            rng.normal(size=int(rng.integers(1, 500))).round(int(rng.integers(0, 4))),
            rng.choice(rng.normal(size=3), size=int(rng.integers(0, 500))),
            np.full(int(rng.integers(0, 100)), np.nan),
        ]
    )
    found = cut_numbers("debt_to_income_ratio", values, nullable=True)
    if found is not None:
        assert len(found.shares) <= MAX_BINS
        assert min(found.shares) >= MIN_SHARE


def test_frequent_value_has_a_bin_of_its_own() -> None:
    """A value that most loans have is kept apart from what lies below it, so that a shift to there is seen."""
    found = cut_numbers("instalments_due", np.array([10.0] * 6 + [24.0] * 80 + [30.0] * 14))
    assert found is not None
    assert (found.edges, found.shares) == ((10.0, 24.0), (0.06, 0.8, 0.14))


def test_nulls_have_a_bin_of_their_own_where_they_are_many() -> None:
    """Nulls belong to the lowest bin, or form the last one if they are a twentieth or more."""
    values = np.arange(100.0)
    few, many = (np.concatenate([values, np.full(number, np.nan)]) for number in (3, 20))
    lowest, last = (cut_numbers("debt_to_income_ratio", one, nullable=True) for one in (few, many))
    assert lowest is not None
    assert last is not None
    assert lowest.missing == 0
    assert (last.missing, last.shares[-1]) == (len(last.shares) - 1, 20 / 120)


def test_constant_has_no_bins() -> None:
    """If all values fall into one bin, nothing can be compared."""
    assert cut_numbers("loan_amount", np.array([1.0] * 99 + [2.0])) is None


def test_rare_levels_share_a_bin() -> None:
    """A level that a twentieth of the loans have gets its bin; the others share one, with nulls."""
    values = pd.Series(["car"] * 60 + ["house"] * 30 + ["moving"] * 4 + ["medical"] * 6)
    found = cut_levels(PURPOSE, pd.Series(pd.Categorical(values, categories=PURPOSE.levels)))
    assert found is not None
    assert [levels[0] for levels in found.levels] == ["car", "house", "medical"]
    assert "moving" in found.levels[2]
    assert shares_of(found) == pytest.approx([0.6, 0.3, 0.1])
    with_nulls = pd.Series(pd.Categorical(["1 year"] * 50 + ["2 years"] * 48 + [None] * 2, categories=LENGTH.levels))
    found = cut_levels(LENGTH, with_nulls)
    assert found is not None
    assert (len(found.levels), found.missing, shares_of(found)) == (2, 1, [0.5, 0.5])


def test_reference_is_of_what_the_model_has_not_seen(fitted: fitting.Fitted, loans: pd.DataFrame) -> None:
    """Fields are the training set's; probabilities are the model's own of the test set, with and without the age."""
    training, test = loans.iloc[:3000], loans.iloc[3000:]
    known, unknown = make_references(training, test, fitted.answer(test), 0.3)
    assert (known.age, unknown.age) == ("known", "unknown")
    for reference, has_age in ((known, True), (unknown, False)):
        features = [bins.feature for bins in reference.bins]
        assert (AGE in features) == has_age
        assert SCORE in features
    chosen = test if known.population == "all" else test[fitting.is_running(test)]
    assert known.mean == pytest.approx(fitted.predict(chosen).mean())
    assert unknown.mean == pytest.approx(fitted.predict(chosen, withhold_age=True).mean())
    assert known.scored == len(chosen)


def test_running_loans_are_taken_where_there_are_enough(fitted: fitting.Fitted, loans: pd.DataFrame) -> None:
    """A thousand running loans or more are the reference; with fewer it is of all loans."""
    running = loans[fitting.is_running(loans)]
    many = pd.concat([running] * (1 + 1000 // len(running)), ignore_index=True)
    for part, population in ((many, "running"), (loans.iloc[:900], "all")):
        assert {one.population for one in make_references(part, part, fitted.answer(part), 0.3)} == {population}


def test_table_shows_every_bin(fitted: fitting.Fitted, loans: pd.DataFrame) -> None:
    """The notebook's table has a row for each bin, whose shares add up to 1 for each feature."""
    references = make_references(loans, loans, fitted.answer(loans), 0.3)
    table = tabulate_references(references)
    assert len(table) >= sum(len(bins.shares) for bins in references[0].bins)
    sums = table["share, age known"].groupby(level="feature").sum()
    assert sums.to_numpy() == pytest.approx(np.ones(len(sums)), abs=0.01)


def test_zone_is_around_the_cut_off(fitted: fitting.Fitted, loans: pd.DataFrame) -> None:
    """Probabilities whose odds are within a factor of eight of the cut-off's are near it."""
    found = make_references(loans, loans, fitted.answer(loans), 0.5)[0]
    (zone,) = (bins for bins in found.bins if bins.feature == ZONE)
    assert zone.edges == pytest.approx([1 / 9, 8 / 9])
