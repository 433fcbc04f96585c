"""Harder tests of a fit: later loans, an unseen source, and other splits of the same loans."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from credit_risk_model.training import fitting
from credit_risk_model.training.figures import (
    OutOfTimeFigures,
    SegmentFigures,
    SourceLeftOutFigures,
    SplitFigures,
    select_main_segments,
)
from credit_risk_model.training.fitting import is_running
from credit_risk_model.training.loans import ISSUE_MONTH, SOURCE
from credit_risk_model.training.measuring import Fit, Recipe, fit_and_measure
from credit_risk_model.training.ranking import can_rank
from credit_risk_model.training.search import split_by_time
from credit_risk_model.training.segments import measure_segments

SPLIT_SEEDS = (42, 1, 2)


def measure_out_of_time(loans: pd.DataFrame, fit: Fit) -> OutOfTimeFigures | None:
    """Fit on the earlier loans and measure on the later fifth; return None without issue dates."""
    parts = split_by_time(loans)
    if parts is None:
        return None
    segments, withheld = _measure_apart(*parts, fit)
    return OutOfTimeFigures(
        segments=segments,
        age_withheld=withheld,
        trained_until=f"{parts[0][ISSUE_MONTH].max():%Y-%m}",
        tested_from=f"{parts[1][ISSUE_MONTH].min():%Y-%m}",
    )


def measure_source_left_out(loans: pd.DataFrame, fit: Fit) -> SourceLeftOutFigures | None:
    """Fit without one source, or without the newest year, and measure on it; return None if impossible."""
    chosen = _choose_source(loans)
    if chosen is None:
        return None
    name, left_out = chosen
    segments, withheld = _measure_apart(loans[~left_out], loans[left_out], fit)
    return SourceLeftOutFigures(segments=segments, age_withheld=withheld, left_out=name)


def repeat_splits(loans: pd.DataFrame, recipe: Recipe) -> dict[str, SplitFigures]:
    """Repeat split, fit and cut-off with other seeds.

    Returns:
        The figures by seed, and their means as `mean`.
    """
    rows = {}
    for seed in SPLIT_SEEDS:
        found = fit_and_measure(fitting.split(loans, seed), replace(recipe, seed=seed))
        every, withheld = found.segments["all"], found.segments_withheld["all"]
        running = found.segments.get("running")
        rows[str(seed)] = SplitFigures(
            auc=every.auc,
            brier=every.brier,
            f1=every.f1,
            running_auc=running and running.auc,
            running_brier=running and running.brier,
            running_f1=running and running.f1,
            age_withheld_auc=withheld.auc,
            age_withheld_brier=withheld.brier,
        )
    mean = pd.DataFrame([row.store() for row in rows.values()], dtype=float).mean()
    rows["mean"] = SplitFigures.model_validate(
        {name: None if np.isnan(value) else value for name, value in mean.to_dict().items()}
    )
    return rows


def tabulate_splits(splits: dict[str, SplitFigures]) -> pd.DataFrame:
    """Make a table of each split seed's figures, and their means."""
    rows = {seed: figures.store() for seed, figures in splits.items()}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=float).rename_axis("split seed")


def _measure_apart(
    training: pd.DataFrame, test: pd.DataFrame, fit: Fit
) -> tuple[dict[str, SegmentFigures], dict[str, SegmentFigures]]:
    """Fit by an earlier fit's recipe, and measure with its cut-off; returns figures with and without the age."""
    recipe = fit.recipe
    fitted = fitting.fit(training, recipe.hyperparameters, recipe.seed, backdated=recipe.backdated)
    answers = fitted.answer(test)
    known, withheld = (measure_segments(test, each, fit.cut_off) for each in (answers.known, answers.withheld))
    return select_main_segments(known), select_main_segments(withheld)


def _choose_source(loans: pd.DataFrame) -> tuple[str, npt.NDArray[Any]] | None:
    """Choose what to leave out: the source whose running loans have the most issue months, else the newest year."""
    if ISSUE_MONTH not in loans:
        return None
    if SOURCE in loans and loans[SOURCE].nunique() > 1:
        running = loans[is_running(loans)]
        months = running.groupby(SOURCE, observed=True)[ISSUE_MONTH].nunique().sort_values(ascending=False)
        candidates = [(f"source {name}", loans[SOURCE] == name) for name in months.index]
    else:
        years = loans[ISSUE_MONTH].dt.year
        candidates = [(f"issued in {years.max():.0f}", years == years.max())]
    for name, left_out in candidates:
        if can_rank(loans[left_out]) and can_rank(loans[~left_out]):
            return name, left_out.to_numpy(dtype=bool)
    return None
