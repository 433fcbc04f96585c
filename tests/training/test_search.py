import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import AGE_KNOWN, AGE_UNKNOWN
from credit_risk_model.training import fitting
from credit_risk_model.training.search import Bounds, search, split_by_time


@pytest.fixture(scope="module")
def training(loans: pd.DataFrame) -> pd.DataFrame:
    """The training set of the small book."""
    return fitting.split(loans, seed=1).training


def bounds(**changes: Any) -> Bounds:
    """Small bounds, to be changed at will."""
    return Bounds(**{"time_budget": 60, "max_iter": 3, "max_trees": 12, "max_leaves": 6} | changes)


def test_search_stays_within_its_bounds(training: pd.DataFrame, tmp_path: Path) -> None:
    """What is tried has at most the allowed trees and leaves, fits as it is, and its log is kept."""
    found = search(training, bounds(), 1, tmp_path / "logs" / "search.log")
    fitted = fitting.fit(training, found, seed=1)
    for wanted, model in ((AGE_KNOWN, fitted.with_age), (AGE_UNKNOWN, fitted.without_age)):
        assert model is not None
        assert 4 <= found[wanted.name]["num_leaves"] <= 6
        assert model.booster_.num_trees() == found[wanted.name]["n_estimators"] <= 12
    tried = [json.loads(line) for line in (tmp_path / "logs" / "search.log").read_text().splitlines()]
    assert [entry["model"] for entry in tried] == ["age_known"] * 3 + ["age_unknown"] * 3
    assert all(entry["n_estimators"] <= 12 and entry["num_leaves"] <= 6 for entry in tried)
    best = min((entry for entry in tried if entry["model"] == "age_known"), key=lambda entry: entry["loss"])
    assert {name: best[name] for name in found["age_known"]} == found["age_known"]


def test_search_by_a_number_of_models_can_be_repeated(training: pd.DataFrame, tmp_path: Path) -> None:
    """The same number of models on the same loans finds the same hyper-parameters, to the last bit."""
    first, second = (search(training, bounds(max_iter=5), 1, tmp_path / "log") for _ in range(2))
    assert first == second


def test_loans_without_any_age_are_searched_for_the_one_model(training: pd.DataFrame, tmp_path: Path) -> None:
    """Without known ages, nothing is searched for the model that needs them."""
    ageless = training.assign(instalments_due=float("nan"))
    assert set(search(ageless, bounds(max_iter=1), 1, tmp_path / "log")) == {"age_unknown"}


@pytest.mark.parametrize(
    "wrong",
    [{"time_budget": 0}, {"time_budget": "abc"}, {"max_trees": 4}, {"max_leaves": 1.5}, {"max_iter": 0}],
)
def test_impossible_search_is_refused(wrong: dict[str, Any], training: pd.DataFrame, tmp_path: Path) -> None:
    """A search without time or room is refused."""
    with pytest.raises(ConfigurationError, match=r"above 0 seconds, max_iter None or .* at least 5"):
        search(training, bounds(**wrong), 1, tmp_path / "log")


def test_later_fifth_is_split_off_by_month(loans: pd.DataFrame) -> None:
    """All loans of the later part were issued after all of the earlier; without months or classes there is none."""
    parts = split_by_time(pd.concat([loans] * 8))  # the small book has few risky ones among the young
    assert parts is not None
    earlier, later = parts
    assert earlier["issue_month"].max() < later["issue_month"].min()
    assert 0.15 < len(later) / (len(earlier) + len(later)) < 0.3
    assert split_by_time(loans.drop(columns="issue_month")) is None
    assert split_by_time(loans.head(200)) is None
