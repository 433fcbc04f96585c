"""The usual wrapper: joblib, a one-row DataFrame, scikit-learn's predict."""

import io
import zipfile
from pathlib import Path

import joblib
import pandas as pd
from ml_base import MLModel

from credit_risk_model.archive import ESTIMATOR
from credit_risk_model.features import CONTRACT_FEATURES, derived_columns
from credit_risk_model.schemas import CreditRisk, CreditRiskModelInput, CreditRiskModelOutput


class UsualWrapper(MLModel):
    """The shipped archive's estimator behind the framework, by the book."""

    display_name = "Usual wrapper"
    qualified_name = "credit_risk_model"
    description = "joblib, DataFrame, LGBMClassifier.predict_proba"
    version = "0"
    input_schema = CreditRiskModelInput
    output_schema = CreditRiskModelOutput

    def __init__(self, archive: str, cut_off: float) -> None:
        """Unpickle the estimator."""
        with zipfile.ZipFile(Path(archive)) as contents:
            self._estimator = joblib.load(io.BytesIO(contents.read(ESTIMATOR)))
        self._cut_off = cut_off

    def predict(self, data: CreditRiskModelInput) -> CreditRiskModelOutput:
        """Predict one loan as a table of one row."""
        frame = pd.DataFrame([data.model_dump(mode="json")])
        for feature in CONTRACT_FEATURES:
            if feature.levels:
                frame[feature.name] = pd.Categorical(frame[feature.name], categories=feature.levels)
        probability = float(self._estimator.predict_proba(frame.assign(**derived_columns(frame)))[0, 1])
        decision = CreditRisk.risky if probability >= self._cut_off else CreditRisk.safe
        return CreditRiskModelOutput(credit_risk=decision, risk_probability=probability)
