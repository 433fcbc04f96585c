"""Predicts with an archive's models, to compare them with freshly fitted ones."""

import numpy as np
import pandas as pd

from credit_risk_model.archive import Archive
from credit_risk_model.features import AGE
from credit_risk_model.training.fitting import Answers, Probabilities, make_feature_frame


class ArchivedModels:
    """An archive's models, which predict tables of loans."""

    def __init__(self, packaged: Archive) -> None:
        self._packaged = packaged

    def predict(self, loans: pd.DataFrame, *, withhold_age: bool = False) -> Probabilities:
        """Compute each loan's probability of being risky, as `Fitted.predict` does."""
        models = self._packaged.with_age, self._packaged.without_age
        known = loans[AGE].notna().to_numpy() & (models[0] is not None and not withhold_age)
        answers = np.empty(len(loans))
        for model, rows in zip(models, (known, ~known), strict=True):
            if model is not None and rows.any():
                frame = make_feature_frame(loans[rows], model.features)
                codes = {name: frame[name].cat.codes.where(frame[name].notna()) for name in model.features.categories}
                matrix = np.ascontiguousarray(frame.assign(**codes).to_numpy(dtype=float))
                answers[rows] = model.booster.predict_rows(matrix.data)
        return answers

    def answer(self, loans: pd.DataFrame) -> Answers:
        """Predict loans with and without their age."""
        return Answers(self.predict(loans), self.predict(loans, withhold_age=True))
