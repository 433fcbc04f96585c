"""From cleaned loans to fitted models: the features' frames, the split, the replay and the fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import precision_recall_curve
from sklearn.model_selection import StratifiedKFold, train_test_split

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import AGE, AGE_KNOWN, AGE_UNKNOWN, CONTRACT_FEATURES, FeatureSet, derive_columns
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.training.loans import ENDED_STATUSES, LABEL, STATUS
from credit_risk_model.training.replay import TIMES, replay

Hyperparameters = dict[str, Any]
Probabilities = npt.NDArray[np.float64]

FIELDS = [feature.name for feature in CONTRACT_FEATURES]
TEST_SHARE = 0.2
FOLDS = 5
_THREADS = 2
_WITHHELD = 0.02
"""Share of the training loans of which a value that may be null is withheld, so that a null has its own meaning."""


@dataclass(frozen=True)
class Split:
    """Training and test set: cleaned loans."""

    training: pd.DataFrame
    test: pd.DataFrame


@dataclass(frozen=True)
class Fitted:
    """The two models of an archive.

    Attributes:
        with_age: For loans whose age is known; None where the loans of the training had none.
        without_age: For all others.
    """

    with_age: lgb.LGBMClassifier | None
    without_age: lgb.LGBMClassifier

    def predict(self, loans: pd.DataFrame, *, withhold_age: bool = False) -> Probabilities:
        """Compute each loan's probability of being risky, shape (loans,), by the model that answers it."""
        known = loans[AGE].notna().to_numpy() & (self.with_age is not None and not withhold_age)
        answers = np.empty(len(loans))
        for model, wanted, rows in ((self.with_age, AGE_KNOWN, known), (self.without_age, AGE_UNKNOWN, ~known)):
            if rows.any():
                answers[rows] = probabilities(model, feature_frame(loans[rows], wanted))
        return answers


def feature_frame(loans: pd.DataFrame, wanted: FeatureSet) -> pd.DataFrame:
    """Make a model's columns of cleaned loans, in the order of the set's features."""
    columns = loans[[feature.name for feature in wanted.contract]]
    return columns.assign(**derive_columns(loans, wanted))


def label(loans: pd.DataFrame) -> pd.Series:
    """Make a column of 1 where the loan is risky, else 0."""
    return (loans[LABEL] == CreditRisk.risky.value).astype(int)


def is_running(loans: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Say of each loan whether payments are still expected."""
    return ~loans[STATUS].isin(ENDED_STATUSES).to_numpy()


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
    return Split(*train_test_split(loans, test_size=TEST_SHARE, stratify=risky, random_state=seed))


def make_estimator(wanted: FeatureSet, hyperparameters: Hyperparameters, seed: int) -> lgb.LGBMClassifier:
    """Make an unfitted classifier that gives the same trees for the same seed and data, whatever the threads.

    The model of loans whose age is known keeps to the directions of its features. That of the others does not: without
    the age, few payments may mean a young loan.
    """
    directions = [feature.direction for feature in wanted.features] if wanted is AGE_KNOWN else None
    return lgb.LGBMClassifier(
        **{"subsample_freq": 1, "n_jobs": _THREADS, **hyperparameters},
        monotone_constraints=directions,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        importance_type="gain",
        verbose=-1,
    )


@dataclass(frozen=True)
class TrainingData:
    """What a model is fitted on: columns, labels (1 = risky) and weights of the same rows."""

    frame: pd.DataFrame
    risky: pd.Series
    weight: npt.NDArray[np.float64]

    def fit(self, wanted: FeatureSet, hyperparameters: Hyperparameters, seed: int) -> lgb.LGBMClassifier:
        """Fit a model; `{}` are LightGBM's defaults."""
        return make_estimator(wanted, hyperparameters, seed).fit(self.frame, self.risky, sample_weight=self.weight)


def training_data(loans: pd.DataFrame, wanted: FeatureSet, seed: int, *, replayed: bool) -> TrainingData:
    """Make what a model is fitted on.

    Args:
        loans: Cleaned loans; for `AGE_KNOWN` those of unknown age are passed over.
        wanted: The model's features.
        seed: Seed of the replay and of the values that are withheld.
        replayed: Whether ended loans are added as they stood at earlier months; for `AGE_KNOWN` only, since without the
            age they would contradict each other.
    """
    weight = np.ones(len(loans))
    if wanted is AGE_KNOWN:
        loans = loans[loans[AGE].notna()]
        weight = np.ones(len(loans))
        if replayed:
            again = replay(loans, seed)
            loans = pd.concat([loans, again], ignore_index=True)
            # All replays of a loan count as much as the loan itself.
            weight = np.concatenate([weight, np.full(len(again), 1 / TIMES)])
    frame = feature_frame(loans, wanted)
    rng = np.random.default_rng(seed)
    for feature in wanted.contract:
        if feature.nullable:
            frame[feature.name] = frame[feature.name].where(rng.random(len(frame)) >= _WITHHELD)
    return TrainingData(frame, label(loans), weight)


def fit(
    loans: pd.DataFrame, hyperparameters: dict[str, Hyperparameters], seed: int, *, replayed: bool = True
) -> Fitted:
    """Fit both models; that of the known age is left out where no loan's age is known.

    Args:
        loans: Cleaned loans.
        hyperparameters: Those of each feature set, by its name.
        seed: Seed of the fits, and of the replay.
        replayed: Whether ended loans are added as they stood at earlier months.
    """
    models = {
        wanted: training_data(loans, wanted, seed, replayed=replayed).fit(wanted, hyperparameters[wanted.name], seed)
        for wanted in (AGE_KNOWN, AGE_UNKNOWN)
        if wanted is AGE_UNKNOWN or loans[AGE].notna().any()
    }
    return Fitted(models.get(AGE_KNOWN), models[AGE_UNKNOWN])


def probabilities(estimator: Any, frame: pd.DataFrame) -> Probabilities:
    """Compute each row's probability of being risky, shape (rows,), by a fitted classifier of any kind."""
    return np.asarray(estimator.predict_proba(frame)[:, 1])


@dataclass(frozen=True)
class OutOfFold:
    """Each training loan's probability by models that have not seen the loan, shape (loans,).

    Attributes:
        known: By what is known of the loan.
        withheld: With its age withheld.
    """

    known: Probabilities
    withheld: Probabilities


def predict_out_of_fold(
    training: pd.DataFrame, hyperparameters: dict[str, Hyperparameters], seed: int, *, replayed: bool = True
) -> OutOfFold:
    """Predict each training loan by models that have seen neither it nor its replays."""
    known, withheld = np.empty(len(training)), np.empty(len(training))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for others, fold in folds.split(training, label(training)):
        fitted = fit(training.iloc[others], hyperparameters, seed, replayed=replayed)
        known[fold] = fitted.predict(training.iloc[fold])
        withheld[fold] = fitted.predict(training.iloc[fold], withhold_age=True)
    return OutOfFold(known, withheld)


def choose_cut_off(risky: pd.Series | npt.NDArray[Any], probability: Probabilities) -> float:
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


COST_CUT_OFFS: Sequence[float] = tuple(step / 100 for step in range(1, 100))


def choose_cut_off_by_cost(risky: npt.NDArray[Any], probability: Probabilities, cost_ratio: float) -> float:
    """Choose the cut-off of the least cost, where missing a risky loan costs `cost_ratio` false alarms.

    Returns:
        One of `COST_CUT_OFFS`; the middle one where several cost the same.
    """
    missed = np.array([np.sum(risky[probability < cut_off]) for cut_off in COST_CUT_OFFS])
    alarms = np.array([np.sum(1 - risky[probability >= cut_off]) for cut_off in COST_CUT_OFFS])
    cost = missed * cost_ratio + alarms
    return COST_CUT_OFFS[int(np.median(np.flatnonzero(cost == cost.min())))]
