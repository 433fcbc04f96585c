"""Makes the notebook's tables and plots of the final fit."""

import pandas as pd
from matplotlib.figure import Figure

from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import cut_off, evaluation, packaging
from credit_risk_model.training.cleaning import CleanLoans
from credit_risk_model.training.figures import Evaluation
from credit_risk_model.training.fitting import Probabilities, Split, label
from credit_risk_model.training.kept import Kept
from credit_risk_model.training.measuring import Fit, evaluate_test_set
from credit_risk_model.training.segments import tabulate_segments


class FinalFitViews:
    """Tables and plots of the final fit on the test set."""

    def __init__(self) -> None:
        self._clean = Kept[CleanLoans]("clean")
        self._split = Kept[Split]("draw_test_set")
        self._fit = Kept[Fit]("fit")

    @property
    def split(self) -> Split:
        """Training and test set."""
        return self._split.get()

    def segment_calibration(self) -> Figure:
        """Plot mean probability and risky share by segment."""
        return evaluation.plot_segments(self._fit.get().segments)

    def without_age(self) -> pd.DataFrame:
        """Return the test set's figures with every loan's age withheld."""
        return tabulate_segments(self._fit.get().segments_withheld)

    def cut_offs(self) -> pd.DataFrame:
        """Return every fifth cut-off's costs on running loans."""
        return cut_off.tabulate_costs(self._fit.get().costs).iloc[4::5]

    def plot_cut_offs(self) -> Figure:
        """Plot the cut-offs' costs on running loans."""
        return cut_off.plot_costs(self._fit.get().costs, self._fit.get().cut_off)

    def decisions(self) -> pd.DataFrame:
        """Return both classes' precision, recall and F1 at 0.5 and the cut-off, on running loans if possible."""
        return evaluation.tabulate_decisions(self._evaluation())

    def confusion(self) -> Figure:
        """Plot the confusion matrices, of running loans if possible."""
        return evaluation.plot_confusion(self._evaluation())

    def curves(self) -> Figure:
        """Plot the test set's ROC, precision-recall and cumulative curves."""
        return evaluation.plot_curves(*self._labels_and_probabilities(), self._fit.get().cut_off)

    def calibration(self) -> pd.DataFrame:
        """Return mean probability and risky share by tenths of the test set."""
        return evaluation.tabulate_calibration(*self._labels_and_probabilities())

    def calibration_curve(self) -> Figure:
        """Plot the calibration."""
        return evaluation.plot_calibration(*self._labels_and_probabilities())

    def importance(self) -> Figure:
        """Plot the features' importance."""
        return evaluation.plot_importance(self._fit.get().fitted.main)

    def test_loans(self) -> list[CreditRiskModelInput]:
        """Convert the test set's loans to requests, without those outside the contract's bounds."""
        return packaging.to_requests(self.split.test, self._clean.get().contract)

    def predict_loans(self, loans: list[CreditRiskModelInput]) -> Probabilities:
        """Predict requests with the fitted models, by pandas and scikit-learn; shape (loans,)."""
        return packaging.predict_requests(self._fit.get().fitted, loans)

    def _evaluation(self) -> Evaluation:
        return evaluate_test_set(self.split.test, self._fit.get()).main

    def _labels_and_probabilities(self) -> tuple[pd.Series, Probabilities]:
        return label(self.split.test), self._fit.get().answers.known
