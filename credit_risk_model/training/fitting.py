"""Splits cleaned loans, computes the models' columns, and fits the models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedKFold, train_test_split

from credit_risk_model.archive import FeatureRecord
from credit_risk_model.cores import count_cores
from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import AGE, AGE_KNOWN, AGE_UNKNOWN, CONTRACT_FEATURES, FeatureSet, derive_columns
from credit_risk_model.schemas import CreditRisk
from credit_risk_model.tables.columns import STATUS
from credit_risk_model.training.backdating import TIMES, backdate
from credit_risk_model.training.loans import ENDED_STATUSES, LABEL

Hyperparameters = dict[str, Any]
Probabilities = npt.NDArray[np.float64]

FIELDS = [feature.name for feature in CONTRACT_FEATURES]
TEST_SHARE = 0.2
FOLDS = 5
_WITHHELD = 0.02
"""Share of nullable values that are withheld in training, so that the model learns what a null means."""


@dataclass(frozen=True)
class Split:
    """Training and test set: cleaned loans."""

    training: pd.DataFrame
    test: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """Return the sizes and the shares of risky loans."""
        rows = {}
        for name, part in (("training", self.training), ("test", self.test)):
            running = is_running(part)
            rows[name] = {
                "loans": len(part),
                "risky share": label(part).mean(),
                "running": int(running.sum()),
                "risky share of the running": label(part[running]).mean(),
            }
        return pd.DataFrame(rows).T


@dataclass(frozen=True)
class Fitted:
    """The two models of an archive.

    Attributes:
        with_age: The model for loans of known age; None if no training loan has one.
        without_age: The model for all other loans.
        seen: The levels and ranges of each model's features in training, by feature set.
    """

    with_age: lgb.LGBMClassifier | None
    without_age: lgb.LGBMClassifier
    seen: Mapping[str, tuple[FeatureRecord, ...]] = field(default_factory=dict)

    @property
    def main(self) -> lgb.LGBMClassifier:
        """The main model: the one for loans of known age, if there is one."""
        return self.without_age if self.with_age is None else self.with_age

    def predict(self, loans: pd.DataFrame, *, withhold_age: bool = False) -> Probabilities:
        """Compute each loan's probability of being risky, shape (loans,), with the model for its age."""
        known = loans[AGE].notna().to_numpy() & (self.with_age is not None and not withhold_age)
        answers = np.empty(len(loans))
        for model, wanted, rows in ((self.with_age, AGE_KNOWN, known), (self.without_age, AGE_UNKNOWN, ~known)):
            if rows.any():
                answers[rows] = probabilities(model, make_feature_frame(loans[rows], wanted))
        return answers

    def answer(self, loans: pd.DataFrame) -> "Answers":
        """Predict loans with and without their age; computes each model's columns once."""
        withheld = self.predict(loans, withhold_age=True)
        rows = loans[AGE].notna().to_numpy()
        if self.with_age is None or not rows.any():
            return Answers(withheld, withheld)
        known = withheld.copy()
        known[rows] = probabilities(self.with_age, make_feature_frame(loans[rows], AGE_KNOWN))
        return Answers(known, withheld)


@dataclass(frozen=True)
class Answers:
    """Each loan's probability of being risky, shape (loans,).

    Attributes:
        known: With the loan's age, if it is known.
        withheld: With its age withheld.
    """

    known: Probabilities
    withheld: Probabilities


def make_feature_frame(loans: pd.DataFrame, wanted: FeatureSet) -> pd.DataFrame:
    """Compute a model's columns from cleaned loans, in the order of the set's features."""
    columns = loans[[feature.name for feature in wanted.contract]]
    return columns.assign(**derive_columns(loans, wanted))


def label(loans: pd.DataFrame) -> pd.Series:
    """Return a column of labels: 1 if the loan is risky, else 0."""
    return (loans[LABEL] == CreditRisk.RISKY.value).astype(int)


def is_running(loans: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return a mask of the loans that still expect payments."""
    return ~loans[STATUS].isin(ENDED_STATUSES).to_numpy()


def make_labelled_frame(loans: pd.DataFrame, wanted: FeatureSet) -> pd.DataFrame:
    """Compute a model's columns and labels for the loans that it predicts, by the loans' index."""
    if wanted is AGE_KNOWN:
        loans = loans[loans[AGE].notna()]
    return make_feature_frame(loans, wanted).assign(**{LABEL: label(loans)})


def split(loans: pd.DataFrame, seed: int) -> Split:
    """Split off a stratified fifth of the loans as the test set.

    Raises:
        ConfigurationError: A class has too few loans to split and cross-validate.
    """
    risky = label(loans)
    if min(risky.sum(), len(risky) - risky.sum()) < 2 * FOLDS:
        raise ConfigurationError(
            f"{int(risky.sum())} risky of {len(risky)} loans: at least {2 * FOLDS} of each class are needed. "
            "Use a file with more loans."
        )
    return Split(*train_test_split(loans, test_size=TEST_SHARE, stratify=risky, random_state=seed))


def make_estimator(wanted: FeatureSet, hyperparameters: Hyperparameters, seed: int) -> lgb.LGBMClassifier:
    """Make an unfitted classifier. The same seed and data give the same trees for any number of threads.

    The model for loans of known age has monotone constraints. The other has none: without the age, few payments may
    mean a young loan.
    """
    directions = [feature.direction for feature in wanted.features] if wanted is AGE_KNOWN else None
    return lgb.LGBMClassifier(
        **{"subsample_freq": 1, "n_jobs": count_cores(), **hyperparameters},
        monotone_constraints=directions,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        importance_type="gain",
        verbose=-1,
    )


@dataclass(frozen=True)
class TrainingData:
    """The data that a model is fitted on: columns, labels (1 = risky) and weights of the same rows."""

    frame: pd.DataFrame
    risky: pd.Series
    weight: npt.NDArray[np.float64]

    def fit(self, wanted: FeatureSet, hyperparameters: Hyperparameters, seed: int) -> lgb.LGBMClassifier:
        """Fit a model; `{}` means LightGBM's defaults."""
        return make_estimator(wanted, hyperparameters, seed).fit(self.frame, self.risky, sample_weight=self.weight)

    def describe_features(self, wanted: FeatureSet) -> tuple[FeatureRecord, ...]:
        """Record the features' levels and ranges."""
        records = []
        for feature in wanted.features:
            column = self.frame[feature.name]
            no_range = bool(feature.levels) or column.isna().all()
            records.append(
                FeatureRecord(
                    name=feature.name,
                    levels=feature.levels,
                    minimum=None if no_range else float(column.min()),
                    maximum=None if no_range else float(column.max()),
                )
            )
        return tuple(records)


def make_training_data(loans: pd.DataFrame, wanted: FeatureSet, seed: int, *, backdated: bool) -> TrainingData:
    """Make the data that a model is fitted on.

    Args:
        loans: Cleaned loans; for `AGE_KNOWN` those of unknown age are skipped.
        wanted: The model's features.
        seed: Seed of the backdating and of the withheld values.
        backdated: Whether to add ended loans as they stood in earlier months; for `AGE_KNOWN` only, since without the
            age they would contradict each other.
    """
    weight = np.ones(len(loans))
    if wanted is AGE_KNOWN:
        loans = loans[loans[AGE].notna()]
        weight = np.ones(len(loans))
        if backdated:
            again = backdate(loans, seed)
            loans = pd.concat([loans, again], ignore_index=True)
            # All backdated copies of a loan together weigh as much as the loan itself.
            weight = np.concatenate([weight, np.full(len(again), 1 / TIMES)])
    frame = make_feature_frame(loans, wanted)
    rng = np.random.default_rng(seed)
    for feature in wanted.contract:
        if feature.nullable:
            frame[feature.name] = frame[feature.name].where(rng.random(len(frame)) >= _WITHHELD)
    return TrainingData(frame, label(loans), weight)


def fit(
    loans: pd.DataFrame, hyperparameters: Mapping[str, Hyperparameters], seed: int, *, backdated: bool = True
) -> Fitted:
    """Fit both models; skip the one for known ages if no loan's age is known.

    Args:
        loans: Cleaned loans.
        hyperparameters: Each feature set's hyper-parameters, by its name.
        seed: Seed of the fits and the backdating.
        backdated: Whether to add ended loans as they stood in earlier months.
    """
    models, seen = {}, {}
    for wanted in (AGE_KNOWN, AGE_UNKNOWN):
        if wanted is AGE_UNKNOWN or loans[AGE].notna().any():
            data = make_training_data(loans, wanted, seed, backdated=backdated)
            models[wanted] = data.fit(wanted, hyperparameters[wanted.name], seed)
            seen[wanted.name] = data.describe_features(wanted)
    return Fitted(models.get(AGE_KNOWN), models[AGE_UNKNOWN], seen)


def probabilities(estimator: Any, frame: pd.DataFrame) -> Probabilities:
    """Compute each row's probability of being risky, shape (rows,), with any fitted classifier."""
    return np.asarray(estimator.predict_proba(frame)[:, 1])


def predict_out_of_fold(
    training: pd.DataFrame, hyperparameters: Mapping[str, Hyperparameters], seed: int, *, backdated: bool = True
) -> Answers:
    """Predict each training loan with models that were fitted on neither it nor its backdated copies."""
    known, withheld = np.empty(len(training)), np.empty(len(training))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for others, fold in folds.split(training, label(training)):
        fitted = fit(training.iloc[others], hyperparameters, seed, backdated=backdated)
        answers = fitted.answer(training.iloc[fold])
        known[fold], withheld[fold] = answers.known, answers.withheld
    return Answers(known, withheld)
