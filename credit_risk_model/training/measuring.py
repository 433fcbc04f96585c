"""Fits models, chooses their cut-off, and measures them on loans that they have not seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from credit_risk_model.training import fitting
from credit_risk_model.training.cut_off import choose_cut_off, choose_cut_off_by_cost, measure_costs
from credit_risk_model.training.evaluation import evaluate
from credit_risk_model.training.figures import (
    CutOffCost,
    Evaluation,
    OutOfFoldFigures,
    Ranking,
    SegmentFigures,
    select_main_segments,
)
from credit_risk_model.training.fitting import Answers, Fitted, Hyperparameters, Split, is_running, label
from credit_risk_model.training.ranking import can_rank, rank_by_rule, rank_out_of_fold
from credit_risk_model.training.segments import measure_segments


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted.

    Attributes:
        hyperparameters: Each feature set's hyper-parameters, by its name; `{}` means LightGBM's defaults.
        seed: Seed of folds, backdating and fit.
        backdated: Whether to add ended loans to the training set as they stood in earlier months.
        cost_ratio: Cost of a missed risky loan in false alarms; None to choose the cut-off with the best F1.
    """

    hyperparameters: Mapping[str, Hyperparameters]
    seed: int
    backdated: bool = True
    cost_ratio: float | None = None


@dataclass(frozen=True)
class Fit:
    """Fitted models with their cut-off and figures.

    Attributes:
        recipe: How they were fitted.
        answers: Their probabilities for the test set.
        segments, segments_withheld: The test set's figures by segment; the main ones with the age withheld.
        out_of_fold: Out-of-fold rankings of the training set.
        rule: The arrears rule's ranking of running loans; None if it can't be applied.
        costs: The cut-offs' costs on running loans of the training set.
    """

    recipe: Recipe
    fitted: Fitted
    cut_off: float
    answers: Answers
    segments: dict[str, SegmentFigures]
    segments_withheld: dict[str, SegmentFigures]
    out_of_fold: OutOfFoldFigures
    rule: Ranking | None
    costs: tuple[CutOffCost, ...]


def fit_and_measure(drawn: Split, recipe: Recipe) -> Fit:
    """Fit on the training set, choose the cut-off on its out-of-fold predictions, measure on the test set."""
    training, test = drawn.training, drawn.test
    unseen = fitting.predict_out_of_fold(training, recipe.hyperparameters, recipe.seed, backdated=recipe.backdated)
    fitted = fitting.fit(training, recipe.hyperparameters, recipe.seed, backdated=recipe.backdated)
    # The model is for running loans, so they decide the cut-off if both classes have enough of them.
    rows = is_running(training)
    if not can_rank(training[rows]):
        rows = np.ones(len(training), dtype=bool)
    risky, known = label(training).to_numpy()[rows], unseen.known[rows]
    if recipe.cost_ratio is None:
        cut_off = choose_cut_off(risky, known)
    else:
        cut_off = choose_cut_off_by_cost(risky, known, recipe.cost_ratio)
    answers = fitted.answer(test)
    return Fit(
        recipe=recipe,
        fitted=fitted,
        cut_off=cut_off,
        answers=answers,
        segments=measure_segments(test, answers.known, cut_off),
        segments_withheld=select_main_segments(measure_segments(test, answers.withheld, cut_off)),
        out_of_fold=rank_out_of_fold(training, unseen),
        rule=rank_by_rule(training),
        costs=measure_costs(risky, known, recipe.cost_ratio),
    )


@dataclass(frozen=True)
class TestFigures:
    """The evaluation of the test set: of all loans, and of running ones if they have both classes."""

    __test__ = False  # not a pytest class

    all: Evaluation
    running: Evaluation | None

    @property
    def main(self) -> Evaluation:
        """The evaluation of running loans, if there is one."""
        return self.all if self.running is None else self.running


def evaluate_test_set(test: pd.DataFrame, fit: Fit) -> TestFigures:
    """Evaluate a fit on its test set."""
    risky, running, probability = label(test), is_running(test), fit.answers.known
    of_running = None
    if risky[running].nunique() > 1:
        of_running = evaluate(risky[running], probability[running], fit.cut_off)
    return TestFigures(evaluate(risky, probability, fit.cut_off), of_running)
