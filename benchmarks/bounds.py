"""Compares models by their trees and leaves: test AUC and cost."""

import io
import itertools
import logging
import multiprocessing
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import lightgbm
import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from benchmarks.timing import Row, measure_microseconds, summarize
from credit_risk_model import archive, features
from credit_risk_model.booster import Booster
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import fitting
from credit_risk_model.training.settings import Settings

DEFAULT_BOUND = (Settings.max_trees, Settings.max_leaves)
"""Maximum trees and leaves of the search by default."""


SEEDS = (42, 1, 2)


SAME_AUC = 0.0001
"""Smaller differences are noise: another split changes the AUC ten times as much."""


EXPLAINED_LOANS = 30


EXPLAINED_ROUNDS = 3
"""An explanation (exact TreeSHAP) takes hundreds of times as long as a probability."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grid:
    """Bounds to compare, and the learning rates to choose each bound's best from.

    Attributes:
        max_leaves: Maximum of trees times leaves; larger models take longest to fit and are least useful.
    """

    trees: tuple[int, ...] = (50, 100, 200, 300, 500, 1000, 2000)
    leaves: tuple[int, ...] = (7, 15, 31, 63, 127)
    rates: tuple[float, ...] = (0.04, 0.08, 0.16, 0.3)
    seeds: tuple[int, ...] = SEEDS
    max_leaves: int = 31_500

    def list_trees(self, leaves: int) -> tuple[int, ...]:
        """List the numbers of trees to compare for a number of leaves."""
        return tuple(trees for trees in self.trees if trees * leaves <= self.max_leaves)


QUICK = Grid(trees=(50, 100), leaves=(7, 63), rates=(0.08,), seeds=(42,))


@dataclass(frozen=True)
class Fitted:
    """The model of one bound and split: its learning rate, test AUC and text format."""

    leaves: int
    trees: int
    rate: float
    auc: float
    text: str


def compare_bounds(loans: pd.DataFrame, requests: Sequence[CreditRiskModelInput], grid: Grid, rounds: int) -> list[Row]:
    """Fit a model to each bound and time it.

    Returns:
        A row for each bound: test AUC, the mean over the grid's seeds and each one; and, with the first seed's model,
        microseconds of a probability and milliseconds of an explanation.
    """
    logger.info("fitting models of %s leaves", ", ".join(map(str, grid.leaves)))
    tasks = list(itertools.product(grid.seeds, sorted(grid.leaves, reverse=True)))
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(fit_bounds, itertools.repeat(loans), itertools.repeat(grid), *zip(*tasks, strict=True))
        found: dict[tuple[int, int], list[Fitted]] = {}
        for fitted in itertools.chain.from_iterable(parts):
            found.setdefault((fitted.leaves, fitted.trees), []).append(fitted)
    logger.info("timing %d models", len(found))
    rows = [features.AGE_KNOWN.encode_loan(loan) for loan in requests]
    boosters = {str(bound): Booster(fitted[0].text) for bound, fitted in found.items()}
    evaluated = measure_microseconds({bound: (model.predict_row, rows) for bound, model in boosters.items()}, rounds)
    explained = measure_microseconds(
        {bound: (model.contributions, rows[:EXPLAINED_LOANS]) for bound, model in boosters.items()}, EXPLAINED_ROUNDS
    )
    return [_bound_row(found[bound], evaluated[str(bound)], explained[str(bound)]) for bound in sorted(found)]


def _bound_row(fitted: Sequence[Fitted], evaluated: Sequence[float], explained: Sequence[float]) -> Row:
    first = fitted[0]
    return {
        "leaves": first.leaves,
        "trees": first.trees,
        "test AUC": round(statistics.mean(model.auc for model in fitted), 5),
        "AUC by split seed": ", ".join(f"{model.auc:.4f}" for model in fitted),
        **summarize(evaluated),
        "explanation ms": statistics.median(explained) / 1000,
        "model.txt MB": len(first.text) / 1e6,
        "learning rate": ", ".join(f"{rate:g}" for rate in sorted({model.rate for model in fitted})),
        "default": "default" if (first.trees, first.leaves) == DEFAULT_BOUND else "",
    }


def fit_bounds(loans: pd.DataFrame, grid: Grid, seed: int, leaves: int) -> list[Fitted]:
    """Fit the models with a number of leaves on one split.

    The hyper-parameters are the shipped model's, except for the learning rate: each number of trees gets the best one
    on a fifth of the training set, and is then fitted on all of it. A model with fewer trees is the beginning of the
    longer one with the same rate.
    """
    drawn = fitting.split(loans, seed)
    counts = grid.list_trees(leaves)
    chosen = _choose_rates(drawn, grid.rates, counts, leaves, seed)
    models = {rate: _fit(drawn, max(counts), leaves, rate, seed) for rate in set(chosen.values())}
    aucs = {rate: _aucs(model, drawn, counts) for rate, model in models.items()}
    return [
        Fitted(leaves, trees, rate, aucs[rate][trees], models[rate].model_to_string(num_iteration=trees))
        for trees, rate in chosen.items()
    ]


def _choose_rates(
    drawn: fitting.Split, rates: Sequence[float], counts: Sequence[int], leaves: int, seed: int
) -> dict[int, float]:
    """Choose the best learning rate for each number of trees, by AUC on a fifth of the training set."""
    if len(rates) == 1:
        return dict.fromkeys(counts, rates[0])
    inner = fitting.split(drawn.training, seed)
    aucs = {rate: _aucs(_fit(inner, max(counts), leaves, rate, seed), inner, counts) for rate in rates}
    return {trees: max(rates, key=lambda rate: aucs[rate][trees]) for trees in counts}


def _fit(drawn: fitting.Split, trees: int, leaves: int, rate: float, seed: int) -> lightgbm.Booster:
    shipped = archive.read_shared(archive.newest()).metadata.models[features.AGE_KNOWN.name].hyperparameters
    chosen = {**shipped, "n_estimators": trees, "num_leaves": leaves, "learning_rate": rate}
    # Any number of threads gives the same trees, and there is already a process for each core.
    chosen["n_jobs"] = 1
    data = fitting.make_training_data(drawn.training, features.AGE_KNOWN, seed, backdated=True)
    return data.fit(features.AGE_KNOWN, chosen, seed).booster_


def _aucs(model: lightgbm.Booster, drawn: fitting.Split, counts: Sequence[int]) -> dict[int, float]:
    """Return the test AUC by number of the model's first trees; evaluates every tree once."""
    frame, risky = fitting.make_feature_frame(drawn.test, features.AGE_KNOWN), fitting.label(drawn.test)
    score = np.zeros(len(drawn.test))
    found = {}
    for start, end in itertools.pairwise((0, *counts)):
        score += model.predict(frame, raw_score=True, start_iteration=start, num_iteration=end - start, num_threads=1)
        found[end] = float(roc_auc_score(risky, score))
    return found


def plot_bounds(rows: Sequence[Row]) -> bytes:
    """Plot test AUC against microseconds, a line for each number of leaves; returns an SVG."""
    figure = Figure(figsize=(8.5, 5.5), layout="constrained")
    axes = figure.subplots()
    for leaves in sorted({row["leaves"] for row in rows}):
        line = [row for row in rows if row["leaves"] == leaves]
        axes.semilogx(
            [row["microseconds"] for row in line],
            [row["test AUC"] for row in line],
            marker="o",
            label=f"{leaves} leaves",
        )
        for row in line:
            axes.annotate(
                row["trees"], (row["microseconds"], row["test AUC"]), (3, -9), textcoords="offset points", fontsize=7
            )
    for row in rows:
        if row["default"]:
            axes.plot(row["microseconds"], row["test AUC"], "o", markersize=14, fillstyle="none", color="black")
    axes.set(
        title="Models by their bound on trees (at the points) and leaves; the default is ringed",
        xlabel="Microseconds to evaluate an encoded loan",
        ylabel="Test AUC",
    )
    ticks = (2, 5, 10, 20, 50, 100, 200)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.legend()
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "evaluation", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def describe_verdict(rows: Sequence[Row]) -> str:
    """Compare the default bound with the best AUC at its cost, and with the lowest cost of its AUC."""
    default = next(row for row in rows if row["default"])
    best = max((row for row in rows if row["microseconds"] <= default["microseconds"]), key=lambda row: row["test AUC"])
    close = [row for row in rows if row["test AUC"] >= default["test AUC"] - SAME_AUC]
    cheapest = min(close, key=lambda row: row["microseconds"])
    return (
        f"The default bound: {_describe_bound(default)}. The best that takes no longer: {_describe_bound(best)}. "
        f"The fastest whose AUC is no more than {SAME_AUC:g} lower: {_describe_bound(cheapest)}."
    )


def _describe_bound(row: Row) -> str:
    return f"{row['trees']} x {row['leaves']} leaves, AUC {row['test AUC']:.5f}, {row['microseconds']:.1f} microseconds"
