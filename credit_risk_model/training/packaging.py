"""A fitted model as the files and records of an archive."""

import io
from typing import Any

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd

from credit_risk_model import archive
from credit_risk_model.features import AGE, AGE_KNOWN, AGE_UNKNOWN, CONTRACT_FEATURES, FeatureSet
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training.fitting import (
    Fitted,
    Hyperparameters,
    Probabilities,
    feature_frame,
    training_data,
)
from credit_risk_model.training.golden import golden_loans


def model_files(fitted: Fitted, seed: int) -> dict[str, bytes]:
    """Write the models, and made-up loans with the models' own probabilities; by the archive's file names."""
    golden = golden_loans(seed)
    buffer = io.BytesIO()
    joblib.dump({AGE_KNOWN.name: fitted.with_age, AGE_UNKNOWN.name: fitted.without_age}, buffer)
    return {
        archive.MODEL: _to_text(fitted.with_age),
        archive.MODEL_WITHOUT_AGE: _to_text(fitted.without_age),
        archive.ESTIMATOR: buffer.getvalue(),
        archive.GOLDEN: archive.golden_json(golden, predict_requests(fitted, golden).tolist()),
    }


class ArchivedModels:
    """The models of an archive, to be compared with freshly fitted ones."""

    def __init__(self, packaged: archive.Archive) -> None:
        self._packaged = packaged

    def predict(self, loans: pd.DataFrame, *, withhold_age: bool = False) -> Probabilities:
        """Compute each loan's probability of being risky, as `Fitted.predict` does."""
        models = self._packaged.with_age, self._packaged.without_age
        known = loans[AGE].notna().to_numpy() & (models[0] is not None and not withhold_age)
        answers = np.empty(len(loans))
        for model, rows in zip(models, (known, ~known), strict=True):
            if model is not None and rows.any():
                frame = feature_frame(loans[rows], model.features)
                codes = {name: frame[name].cat.codes.where(frame[name].notna()) for name in model.features.categories}
                matrix = np.ascontiguousarray(frame.assign(**codes).to_numpy(dtype=float))
                answers[rows] = model.booster.predict_rows(matrix.data)
        return answers


def _to_text(estimator: lgb.LGBMClassifier | None) -> bytes:
    return b"" if estimator is None else estimator.booster_.model_to_string().encode()


def predict_requests(fitted: Fitted, loans: list[CreditRiskModelInput]) -> Probabilities:
    """Compute the fitted models' own probabilities of requests, by pandas and scikit-learn; shape (loans,)."""
    return fitted.predict(to_frame(loans))


def to_frame(loans: list[CreditRiskModelInput]) -> pd.DataFrame:
    """Turn requests into a frame like that of cleaned loans."""
    frame = pd.DataFrame([loan.model_dump(mode="json") for loan in loans])
    for feature in CONTRACT_FEATURES:
        if feature.levels:
            frame[feature.name] = pd.Categorical(frame[feature.name], categories=feature.levels)
        elif feature.nullable:
            frame[feature.name] = frame[feature.name].astype(float)
    return frame


def model_records(
    fitted: Fitted,
    training: pd.DataFrame,
    hyperparameters: dict[str, Hyperparameters],
    seed: int,
    *,
    replayed: bool,
) -> dict[str, Any]:
    """Record each model's hyper-parameters, its features and what it saw of them, as `archive.ModelRecord` has it."""
    models = {AGE_KNOWN: fitted.with_age, AGE_UNKNOWN: fitted.without_age}
    return {
        wanted.name: {
            "hyperparameters": hyperparameters[wanted.name],
            "features": _feature_records(wanted, training_data(training, wanted, seed, replayed=replayed).frame),
        }
        for wanted, estimator in models.items()
        if estimator is not None
    }


def _feature_records(wanted: FeatureSet, frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "name": feature.name,
            "levels": feature.levels,
            "minimum": None if feature.levels or frame[feature.name].isna().all() else float(frame[feature.name].min()),
            "maximum": None if feature.levels or frame[feature.name].isna().all() else float(frame[feature.name].max()),
        }
        for feature in wanted.features
    ]
