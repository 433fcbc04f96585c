"""Searches hyper-parameters. A model is judged by how it ranks running loans that were issued later."""

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from flaml import CFO, tune
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import AGE, AGE_KNOWN, AGE_UNKNOWN, FeatureSet
from credit_risk_model.training.fitting import (
    TEST_SHARE,
    Hyperparameters,
    TrainingData,
    is_running,
    label,
    make_feature_frame,
    make_training_data,
    probabilities,
)
from credit_risk_model.training.loans import ISSUE_MONTH
from credit_risk_model.training.ranking import can_rank

# It warns about the costs of trials, which do not matter here.
logging.getLogger("flaml.tune.searcher.blendsearch").setLevel(logging.WARNING)

_LATER_SHARE = 0.2
_SHARE_OF_BUDGET = {AGE_KNOWN.name: 0.75, AGE_UNKNOWN.name: 0.25}
# Starting points: good on the shipped archive's 60,976 loans, and faster to predict with than the defaults.
_START: dict[str, Hyperparameters] = {
    AGE_KNOWN.name: {
        "n_estimators": 100,
        "num_leaves": 63,
        "learning_rate": 0.1,
        "min_child_samples": 50,
        "colsample_bytree": 0.5,
        "subsample": 0.7,
        "reg_alpha": 0.001,
        "reg_lambda": 0.001,
    },
    AGE_UNKNOWN.name: {
        "n_estimators": 50,
        "num_leaves": 127,
        "learning_rate": 0.12,
        "min_child_samples": 20,
        "colsample_bytree": 0.7,
        "subsample": 1.0,
        "reg_alpha": 0.001,
        "reg_lambda": 0.001,
    },
}


@dataclass(frozen=True)
class Bounds:
    """The bounds of a search.

    Attributes:
        time_budget: Seconds. The number of models that are fitted in it depends on the machine, so two searches may
            differ.
        max_iter: Number of models to fit for each feature set; None for as many as the budget allows. With it, two
            searches on the same file give identical results, unless the budget ends one earlier.
        max_trees, max_leaves: Maximum number of trees, and of leaves of a tree: they determine a prediction's cost.
    """

    time_budget: float
    max_iter: int | None
    max_trees: int
    max_leaves: int

    def check(self) -> None:
        """Refuse invalid bounds.

        Raises:
            ConfigurationError: The budget is not a number above 0, or a bound not a whole number of at least 5 (1 for
                `max_iter`).
        """
        bounded = all(isinstance(bound, int) and bound >= 5 for bound in (self.max_trees, self.max_leaves))
        counted = self.max_iter is None or (isinstance(self.max_iter, int) and self.max_iter >= 1)
        if not (bounded and counted) or not isinstance(self.time_budget, int | float) or not 0 < self.time_budget < inf:
            raise ConfigurationError(
                f"time_budget={self.time_budget!r}, max_iter={self.max_iter!r}, max_trees={self.max_trees!r}, "
                f"max_leaves={self.max_leaves!r}: the budget must be above 0 seconds, max_iter None or a whole number "
                "above 0, and each bound a whole number of at least 5."
            )


def search(
    training: pd.DataFrame, bounds: Bounds, seed: int, log: Path, *, backdated: bool = True
) -> dict[str, Hyperparameters]:
    """Search LightGBM's hyper-parameters with FLAML.

    The model for loans of known age is fitted on the training set's earlier loans, and judged on the later fifth by
    `1 - AUC of the running loans + Brier score of all`. It is also judged on a random fifth by the Brier score. If the
    file has no issue months or too few running loans, only the random fifth is used, with the former measure.

    Args:
        training: Cleaned loans of the training set.
        bounds: Bounds of the search.
        seed: Seed of the search, the folds and the fits.
        log: File that gets a JSON line for each model.
        backdated: Whether the models are also fitted on backdated loans.

    Returns:
        Arguments of `LGBMClassifier` for each feature set, by its name.

    Raises:
        ConfigurationError: A bound is invalid, or no model was finished in time.
    """
    bounds.check()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    known = training[training[AGE].notna()]
    found: dict[str, Hyperparameters] = {}
    for wanted, loans in ((AGE_KNOWN, known), (AGE_UNKNOWN, training)):
        if len(loans):
            folds = _folds(loans, wanted, seed, backdated=backdated)
            found[wanted.name] = _search_one(wanted, folds, bounds, seed, log)
    return found


_Judge = Callable[[Any], float]


@dataclass(frozen=True)
class _Fold:
    """The data that a candidate is fitted on, and the function that judges it."""

    data: TrainingData
    judge: _Judge


def _folds(loans: pd.DataFrame, wanted: FeatureSet, seed: int, *, backdated: bool) -> list[_Fold]:
    others, drawn = train_test_split(loans, test_size=TEST_SHARE, stratify=label(loans), random_state=seed)
    pairs = [(others, drawn, wanted is AGE_UNKNOWN)]
    later = split_by_time(loans)
    if wanted is AGE_KNOWN and later is not None and can_rank(later[1][is_running(later[1])]):
        pairs.append((*later, True))
    else:
        pairs[0] = (others, drawn, True)
    return [
        _Fold(make_training_data(fitted_on, wanted, seed, backdated=backdated), _judge(judged, wanted, ranked=ranked))
        for fitted_on, judged, ranked in pairs
    ]


def split_by_time(loans: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Split off the later fifth by issue month; return None if months are missing, or a class has too few loans."""
    if ISSUE_MONTH not in loans or loans[ISSUE_MONTH].isna().all():
        return None
    boundary = loans[ISSUE_MONTH].quantile(1 - _LATER_SHARE, interpolation="nearest")
    earlier, later = loans[loans[ISSUE_MONTH] < boundary], loans[loans[ISSUE_MONTH] >= boundary]
    return (earlier, later) if can_rank(earlier) and can_rank(later) else None


def _judge(loans: pd.DataFrame, wanted: FeatureSet, *, ranked: bool) -> _Judge:
    frame, risky = make_feature_frame(loans, wanted), label(loans).to_numpy()
    running = is_running(loans)
    if not can_rank(loans[running]):
        running = np.ones(len(loans), dtype=bool)

    def loss(estimator: Any) -> float:
        probability = probabilities(estimator, frame)
        ranking = 1 - roc_auc_score(risky[running], probability[running]) if ranked else 0.0
        return float(ranking + brier_score_loss(risky, probability))

    return loss


def _search_one(wanted: FeatureSet, folds: list[_Fold], bounds: Bounds, seed: int, log: Path) -> Hyperparameters:
    seconds = bounds.time_budget * _SHARE_OF_BUDGET[wanted.name]
    name = wanted.name.replace("_", " ")
    # A notebook stores every update of the bar, so one per minute is enough there.
    interval = 0.1 if sys.stderr.isatty() else 60.0
    with (
        log.open("a", encoding="utf-8") as lines,
        tqdm(desc=f"search, {name}", total=bounds.max_iter, unit="models", mininterval=interval) as bar,
    ):

        def evaluate(hyperparameters: Hyperparameters) -> dict[str, float]:
            losses = [fold.judge(fold.data.fit(wanted, hyperparameters, seed)) for fold in folds]
            bar.update(1)
            lines.write(json.dumps({"model": wanted.name, "loss": sum(losses), **_plain(hyperparameters)}) + "\n")
            return {"loss": sum(losses)}

        start = {
            **_START[wanted.name],
            "n_estimators": min(_START[wanted.name]["n_estimators"], bounds.max_trees),
            "num_leaves": min(_START[wanted.name]["num_leaves"], bounds.max_leaves),
        }
        found = tune.run(
            evaluate,
            config=_space(bounds),
            metric="loss",
            mode="min",
            # Without a cost attribute, which would be time, the search is the same on every machine.
            search_alg=CFO(
                metric="loss", mode="min", space=_space(bounds), points_to_evaluate=[start], seed=seed, cost_attr=None
            ),
            time_budget_s=seconds,
            num_samples=-1 if bounds.max_iter is None else bounds.max_iter,
            verbose=0,
        )
    if not found.trials or found.best_config is None:
        raise ConfigurationError(f"No model was finished within {seconds} seconds: raise the time budget.")
    return _plain(found.best_config)


def _plain(hyperparameters: Hyperparameters) -> Hyperparameters:
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in hyperparameters.items()}


def _space(bounds: Bounds) -> dict[str, Any]:
    return {
        "n_estimators": tune.lograndint(lower=4, upper=bounds.max_trees + 1),
        "num_leaves": tune.lograndint(lower=4, upper=bounds.max_leaves + 1),
        "learning_rate": tune.loguniform(0.02, 0.5),
        "min_child_samples": tune.lograndint(lower=10, upper=501),
        "colsample_bytree": tune.uniform(0.3, 1.0),
        "subsample": tune.uniform(0.5, 1.0),
        "reg_alpha": tune.loguniform(1e-3, 10),
        "reg_lambda": tune.loguniform(1e-3, 100),
    }
