"""From a table of loans to a fitted model: the features' frame, the split, the search and the fit."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from flaml import AutoML, tune
from sklearn.metrics import precision_recall_curve
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from tqdm import tqdm

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import CONTRACT_FEATURES, derived_columns
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.training.loans import LABEL

Hyperparameters = dict[str, Any]

FIELDS = [feature.name for feature in CONTRACT_FEATURES]
TEST_SHARE = 0.2
FOLDS = 5
_THREADS = 2
# LightGBM's, as far as FLAML searches them and its ranges allow.
_DEFAULTS = {
    "min_child_samples": 20,
    "learning_rate": 0.1,
    "log_max_bin": 8,
    "colsample_bytree": 1.0,
    "reg_alpha": 1 / 1024,
    "reg_lambda": 1 / 1024,
}


@dataclass(frozen=True)
class Split:
    """Training and test set: features (categories as pandas categories) and labels (1 = risky).

    Attributes:
        training, test: Frames in the order of `features.FEATURES`.
        training_label, test_label: Series of 0 and 1 on the same index.
    """

    training: pd.DataFrame
    test: pd.DataFrame
    training_label: pd.Series
    test_label: pd.Series


def feature_frame(loans: pd.DataFrame) -> pd.DataFrame:
    """Give the model's columns of cleaned loans, in the order of `features.FEATURES`."""
    fields = loans[FIELDS]
    return fields.assign(**derived_columns(fields))


def label(loans: pd.DataFrame) -> pd.Series:
    """Give 1 where the loan is risky, else 0."""
    return (loans[LABEL] == CreditRisk.risky.value).astype(int)


def split(loans: pd.DataFrame, seed: int) -> Split:
    """Draw a stratified fifth of the loans as the test set.

    Raises:
        ConfigurationError: There are too few loans of a class to split and to cross-validate.
    """
    risky = label(loans)
    if min(risky.sum(), len(risky) - risky.sum()) < 2 * FOLDS:
        raise ConfigurationError(
            f"{int(risky.sum())} risky of {len(risky)} loans: at least {2 * FOLDS} of each class are needed. "
            "Use a file with more loans."
        )
    return Split(
        *train_test_split(feature_frame(loans), risky, test_size=TEST_SHARE, stratify=risky, random_state=seed)
    )


def make_estimator(hyperparameters: Hyperparameters, seed: int) -> lgb.LGBMClassifier:
    """Make an unfitted classifier that gives the same trees for the same seed and data, whatever the threads."""
    return lgb.LGBMClassifier(
        **hyperparameters,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        n_jobs=_THREADS,
        importance_type="gain",
        verbose=-1,
    )


def fit(training: pd.DataFrame, risky: pd.Series, hyperparameters: Hyperparameters, seed: int) -> lgb.LGBMClassifier:
    """Fit on the frame's columns; `{}` are LightGBM's defaults."""
    return make_estimator(hyperparameters, seed).fit(training, risky)


def probabilities(estimator: Any, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Give each row's probability of being risky, shape (rows,), by a fitted classifier of any kind."""
    return np.asarray(estimator.predict_proba(frame)[:, 1])


def out_of_fold_probabilities(
    training: pd.DataFrame, risky: pd.Series, hyperparameters: Hyperparameters, seed: int
) -> npt.NDArray[np.float64]:
    """Give each training row's probability of being risky, by a model that has not seen the row; shape (rows,)."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    estimator = make_estimator(hyperparameters, seed)
    return np.asarray(cross_val_predict(estimator, training, risky, cv=folds, method="predict_proba")[:, 1])


def choose_cut_off(risky: pd.Series, probability: npt.NDArray[np.float64]) -> float:
    """Choose the probability from which on a loan is called risky: the best F1 of the risky class.

    Args:
        risky: Labels, 1 = risky.
        probability: Out-of-fold probabilities of the same rows, so that neither the test set nor a model's memory of
            its own training rows decides.

    Returns:
        A cut-off between 0.0001 and 0.9999, to 4 decimals.
    """
    precision, recall, thresholds = precision_recall_curve(risky, probability)
    with np.errstate(invalid="ignore"):  # 0 / 0 where neither is above 0
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    return float(np.clip(np.round(thresholds[f1[:-1].argmax()], 4), 0.0001, 0.9999))


def check_bounds(time_budget: object, max_trees: object, max_leaves: object) -> None:
    """Refuse what can't bound a search.

    Raises:
        ConfigurationError: The budget is no number above 0, or a bound no whole number of at least 5.
    """
    bounded = all(isinstance(bound, int) and bound >= 5 for bound in (max_trees, max_leaves))
    if not bounded or not isinstance(time_budget, int | float) or not 0 < time_budget < inf:
        raise ConfigurationError(
            f"time_budget={time_budget!r}, max_trees={max_trees!r}, max_leaves={max_leaves!r}: "
            "the budget must be above 0 seconds and each bound a whole number of at least 5."
        )


def search(
    training: pd.DataFrame,
    risky: pd.Series,
    *,
    time_budget: float,
    max_trees: int,
    max_leaves: int,
    seed: int,
    log: Path,
) -> Hyperparameters:
    """Search LightGBM's hyper-parameters with FLAML, by cross-validated AUC on the training set.

    Args:
        training: Features of the training set.
        risky: Labels, 1 = risky.
        time_budget: Seconds; how many models fit into them depends on the machine, so two searches may differ.
        max_trees: Most trees a model may have, at least 5: trees are what a prediction costs.
        max_leaves: Most leaves a tree may have, at least 5.
        seed: Seed of the search and the folds.
        log: File that FLAML writes a JSON line for each model to.

    Returns:
        Arguments of `LGBMClassifier`.

    Raises:
        ConfigurationError: A bound or the budget is too small to search in, or no model was finished in time.
    """
    check_bounds(time_budget, max_trees, max_leaves)
    log.parent.mkdir(parents=True, exist_ok=True)
    automl = AutoML()
    with _progress(time_budget):
        automl.fit(
            X_train=training,
            y_train=risky,
            task="classification",
            metric="roc_auc",
            estimator_list=["lgbm"],
            custom_hp={
                "lgbm": {
                    "n_estimators": _bounded(max_trees),
                    "num_leaves": _bounded(max_leaves),
                }
            },
            time_budget=time_budget,
            eval_method="cv",
            n_splits=FOLDS,
            seed=seed,
            n_jobs=_THREADS,
            # Never worse than LightGBM's own defaults, which plain FLAML needs minutes to reach.
            starting_points={
                "lgbm": {"n_estimators": min(100, max_trees), "num_leaves": min(31, max_leaves), **_DEFAULTS}
            },
            retrain_full=False,  # the final fit is ours, deterministic
            log_file_name=str(log),
            log_type="all",
            verbose=0,
        )
    if not automl.best_config:
        raise ConfigurationError(f"No model was finished within {time_budget} seconds: raise the time budget.")
    return _to_hyperparameters(automl.best_config)


def _bounded(largest: int) -> dict[str, Any]:
    return {"domain": tune.lograndint(lower=4, upper=largest + 1), "init_value": 4, "low_cost_init_value": 4}


def _to_hyperparameters(configuration: dict[str, Any]) -> Hyperparameters:
    """Undo FLAML's own encoding of the bins and its sampling."""
    hyperparameters = {name: value for name, value in configuration.items() if name != "FLAML_sample_size"}
    hyperparameters["max_bin"] = (1 << int(hyperparameters.pop("log_max_bin"))) - 1
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in hyperparameters.items()}


@contextmanager
def _progress(seconds: float) -> Iterator[None]:
    """Show how much of a time budget is spent: FLAML itself only logs."""
    done = threading.Event()

    def show() -> None:
        # In a notebook each drawing is kept: one a minute will do.
        interval = 0.1 if sys.stderr.isatty() else 60.0
        with tqdm(total=round(seconds), desc="FLAML search", unit="s", mininterval=interval) as bar:
            while not done.wait(1):
                bar.update(1)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
