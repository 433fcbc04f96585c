"""The usual wrapper: joblib, a one-row DataFrame, scikit-learn's predict."""

import io
import zipfile
from pathlib import Path

import joblib
import pandas as pd
from ml_base import MLModel

from credit_risk_model.archive import ESTIMATOR
from credit_risk_model.features import AGE_KNOWN, AGE_UNKNOWN, CONTRACT_FEATURES
from credit_risk_model.schemas import CreditRisk, CreditRiskModelInput, CreditRiskModelOutput
from credit_risk_model.training.fitting import Fitted


class UsualWrapper(MLModel):
    """The shipped archive's estimator behind the framework, as usually written."""

    display_name = "Usual wrapper"
    qualified_name = "credit_risk_model"
    description = "joblib, DataFrame, LGBMClassifier.predict_proba"
    version = "0"
    input_schema = CreditRiskModelInput
    output_schema = CreditRiskModelOutput

    def __init__(self, archive: str, cut_off: float) -> None:
        """Unpickle the estimators."""
        with zipfile.ZipFile(Path(archive)) as contents:
            estimators = joblib.load(io.BytesIO(contents.read(ESTIMATOR)))
        self._fitted = Fitted(estimators[AGE_KNOWN.name], estimators[AGE_UNKNOWN.name])
        self._cut_off = cut_off

    def predict(self, data: CreditRiskModelInput) -> CreditRiskModelOutput:
        """Predict one loan as a table of one row."""
        frame = pd.DataFrame([data.model_dump(mode="json")])
        for feature in CONTRACT_FEATURES:
            values = frame[feature.name]
            frame[feature.name] = (
                pd.Categorical(values, categories=feature.levels) if feature.levels else pd.to_numeric(values)
            )
        probability = float(self._fitted.predict(frame)[0])
        decision = CreditRisk.RISKY if probability >= self._cut_off else CreditRisk.SAFE
        return CreditRiskModelOutput(credit_risk=decision, risk_probability=probability, cautions=())
