import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from credit_risk_model import features
from credit_risk_model.errors import ConfigurationError
from credit_risk_model.training import fitting

SMALL = {"n_estimators": 10, "num_leaves": 5}


@pytest.fixture(scope="module")
def drawn(loans: pd.DataFrame) -> fitting.Split:
    """A split of the small book."""
    return fitting.split(loans, seed=1)


def test_split_is_a_stratified_fifth_by_seed(loans: pd.DataFrame, drawn: fitting.Split) -> None:
    """The test set holds a fifth of the loans with the same share of risky ones; another seed draws others."""
    assert len(drawn.test) == pytest.approx(len(loans) / 5, abs=1)
    assert drawn.test_label.mean() == pytest.approx(drawn.training_label.mean(), abs=0.002)
    assert not set(drawn.test.index) & set(drawn.training.index)
    assert drawn.test.index.equals(fitting.split(loans, seed=1).test.index)
    assert not drawn.test.index.equals(fitting.split(loans, seed=2).test.index)


def test_frame_has_the_features_in_order(drawn: fitting.Split) -> None:
    """The model's columns are the features, categories as pandas categories."""
    assert drawn.training.columns.tolist() == list(features.NAMES)
    categories = drawn.training.select_dtypes("category").columns
    assert categories.tolist() == list(features.CATEGORIES)


def test_label_is_1_for_risky(loans: pd.DataFrame) -> None:
    """Risky is the positive class."""
    assert fitting.label(loans).tolist() == [int(risk == "risky") for risk in loans["loan_risk"]]


def test_too_few_loans_of_a_class_are_refused(loans: pd.DataFrame) -> None:
    """With fewer than ten loans of a class there is nothing to cross-validate."""
    few = pd.concat([loans[loans["loan_risk"] == "risky"].head(9), loans[loans["loan_risk"] == "safe"]])
    with pytest.raises(ConfigurationError, match=r"9 risky of .* at least 10 of each class"):
        fitting.split(few, seed=1)


def test_fit_is_deterministic(drawn: fitting.Split) -> None:
    """The same seed, data and hyper-parameters give the same trees; another seed gives others."""
    hyperparameters = {**SMALL, "subsample": 0.5, "subsample_freq": 1}
    models = [
        fitting.fit(drawn.training, drawn.training_label, hyperparameters, seed).booster_.model_to_string()
        for seed in (1, 1, 2)
    ]
    assert models[0] == models[1]
    assert models[0] != models[2]


def test_out_of_fold_probabilities_are_honest(drawn: fitting.Split) -> None:
    """On labels that are pure noise a model remembers its training rows, but not the rows of other folds."""
    noise = pd.Series(np.random.default_rng(1).integers(0, 2, len(drawn.training)), index=drawn.training.index)
    hyperparameters = {"n_estimators": 100, "num_leaves": 31}
    seen = fitting.probabilities(fitting.fit(drawn.training, noise, hyperparameters, 1), drawn.training)
    unseen = fitting.out_of_fold_probabilities(drawn.training, noise, hyperparameters, seed=1)
    assert ((seen >= 0.5) == noise).mean() > 0.9
    assert 0.4 < ((unseen >= 0.5) == noise).mean() < 0.6


def test_cut_off_gives_the_best_f1() -> None:
    """Of all thresholds, the chosen one has the best F1 of the risky class."""
    rng = np.random.default_rng(2)
    risky = pd.Series(rng.integers(0, 2, 500))
    probability = np.clip(risky * 0.2 + rng.random(500) * 0.8, 0, 1).round(3)

    def f1(threshold: float) -> float:
        called = probability >= threshold
        return 2 * float((called & (risky == 1)).sum()) / float(called.sum() + risky.sum())

    assert f1(fitting.choose_cut_off(risky, probability)) == max(f1(threshold) for threshold in probability)


def test_cut_off_of_a_perfect_model_is_allowed() -> None:
    """Probabilities of exactly 0 and 1 still give a cut-off that a model may have."""
    assert fitting.choose_cut_off(pd.Series([0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 1.0])) == 0.9999


def test_search_stays_within_its_bounds(drawn: fitting.Split, tmp_path: Path) -> None:
    """What FLAML finds has at most the allowed trees and leaves, fits as it is, and its log is kept."""
    found = fitting.search(
        drawn.training,
        drawn.training_label,
        time_budget=4,
        max_trees=12,
        max_leaves=6,
        seed=1,
        log=tmp_path / "logs" / "search.log",
    )
    assert 4 <= found["n_estimators"] <= 12
    assert 4 <= found["num_leaves"] <= 6
    fitted = fitting.fit(drawn.training, drawn.training_label, found, seed=1)
    assert fitted.booster_.num_trees() == found["n_estimators"]
    log = [json.loads(line) for line in (tmp_path / "logs" / "search.log").read_text().splitlines()]
    tried = [entry["config"] for entry in log if "config" in entry]
    assert tried
    assert all(entry["n_estimators"] <= 12 and entry["num_leaves"] <= 6 for entry in tried)


@pytest.mark.parametrize("wrong", [{"time_budget": 0}, {"time_budget": "abc"}, {"max_trees": 4}, {"max_leaves": 1.5}])
def test_impossible_search_is_refused(wrong: dict[str, int], drawn: fitting.Split, tmp_path: Path) -> None:
    """A search needs time and room, and says so."""
    settings = {"time_budget": 1, "max_trees": 10, "max_leaves": 10} | wrong
    with pytest.raises(ConfigurationError, match="above 0 seconds and each bound a whole number of at least 5"):
        fitting.search(drawn.training, drawn.training_label, **settings, seed=1, log=tmp_path / "log")
