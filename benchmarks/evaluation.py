"""What one loan costs, evaluated and encoded; and how good a model of so many trees and leaves is for its microseconds.

Times are processor time of the calling thread: the calls never wait, so what else runs on the machine counts little.
"""

import argparse
import ctypes
import io
import itertools
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from benchmarks import report
from credit_risk_model import archive, features
from credit_risk_model.booster import Booster
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import fitting
from credit_risk_model.training.cleaning import clean
from credit_risk_model.training.loans import read_loans
from credit_risk_model.training.settings import Settings
from credit_risk_model.training.synthetic import write_synthetic_loan_book

logger = logging.getLogger(__name__)

MAX_TIMES_OF_C_CALL = 1.5
MAX_MICROSECONDS = 30.0
"""What evaluating an encoded loan may take of LightGBM's own call, and encoding and evaluating it together."""

DEFAULT_BOUND = (Settings.max_trees, Settings.max_leaves)
"""Most trees and leaves that the search has by default."""
SEEDS = (42, 1, 2)
LOANS = 2000
"""Loans in rotation: each takes other ways through the trees, so that the processor can't learn them by heart."""
ROUNDS, QUICK_ROUNDS = 9, 3
SAME_AUC = 0.0001
"""Differences below it say nothing: another split's draw changes the AUC by ten times as much."""
EXPLAINED_LOANS = 30
EXPLAINED_ROUNDS = 3
"""An explanation (exact TreeSHAP) takes hundreds of times as long as a probability."""
SYNTHETIC_ROWS = 50_000

Row = dict[str, Any]
Timed = Callable[[Any], object]


@dataclass(frozen=True)
class Grid:
    """Bounds to compare, and the learning rates among which each bound gets its best.

    Attributes:
        most_leaves: Trees times leaves stay within it; what is larger takes longest to fit and is least wanted.
    """

    trees: tuple[int, ...] = (50, 100, 200, 300, 500, 1000, 2000)
    leaves: tuple[int, ...] = (7, 15, 31, 63, 127)
    rates: tuple[float, ...] = (0.04, 0.08, 0.16, 0.3)
    seeds: tuple[int, ...] = SEEDS
    most_leaves: int = 31_500

    def trees_of(self, leaves: int) -> tuple[int, ...]:
        """Give the numbers of trees to compare with so many leaves."""
        return tuple(trees for trees in self.trees if trees * leaves <= self.most_leaves)


QUICK = Grid(trees=(50, 100), leaves=(7, 63), rates=(0.08,), seeds=(42,))


@dataclass(frozen=True)
class Fitted:
    """The model of one bound and split: its learning rate, test AUC and text format."""

    leaves: int
    trees: int
    rate: float
    auc: float
    text: str


class CCall:
    """LightGBM's single-row call with all that can be prepared beforehand: nothing is left but the call.

    It is bound to the library as LightGBM's own Python package loads it.
    """

    def __init__(self, text: str, rows: Sequence[Sequence[float]]) -> None:
        library = lightgbm.basic._LIB  # type: ignore[attr-defined]  # what its own package calls
        self._booster = ctypes.c_void_p()
        self._config = ctypes.c_void_p()
        library.LGBM_BoosterLoadModelFromString(
            text.encode(), ctypes.byref(ctypes.c_int()), ctypes.byref(self._booster)
        )
        # Probabilities, all trees, of float64 numbers.
        library.LGBM_BoosterPredictForMatSingleRowFastInit(
            self._booster, 0, 0, -1, 1, ctypes.c_int32(len(rows[0])), b"num_threads=1", ctypes.byref(self._config)
        )
        self._call = library.LGBM_BoosterPredictForMatSingleRowFast
        self._answer = ctypes.c_double()
        self._outputs = ctypes.byref(ctypes.c_int64()), ctypes.byref(self._answer)
        self.prepared = [(ctypes.c_double * len(row))(*row) for row in rows]

    def __call__(self, prepared: object) -> None:  # noqa: D102  # the class says it
        self._call(self._config, prepared, *self._outputs)

    def answers(self) -> list[float]:
        """Give the probabilities of the prepared rows."""
        found = []
        for row in self.prepared:
            self(row)
            found.append(self._answer.value)
        return found


def microseconds(timed: Mapping[str, tuple[Timed, Sequence[Any]]], rounds: int) -> dict[str, list[float]]:
    """Time each call on each of its items, taking turns.

    Returns:
        By name, microseconds of processor time a call in each round, after one round that only warms up.
    """
    found: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, (call, items) in timed.items():
            start = time.thread_time_ns()
            for item in items:
                call(item)
            if number:
                found[name].append((time.thread_time_ns() - start) / len(items) / 1000)
    return found


def measure_shipped(loans: Sequence[CreditRiskModelInput], rounds: int) -> tuple[list[Row], list[Row]]:
    """Time what the service does with a loan, step by step, with the archive that ships.

    Returns:
        Microseconds by step, and the two targets.
    """
    shipped = archive.read(archive.newest())
    booster, encode = shipped.model_for(loans[0]).booster, features.AGE_KNOWN.encode_loan
    text = _model_text(archive.newest())
    usual = lightgbm.Booster(model_str=text)
    rows = [encode(loan) for loan in loans]
    arrays = [np.array([row]) for row in rows]
    call = CCall(text, rows)
    _refuse_differences(usual.predict(np.array(rows)), call.answers(), [booster.predict_row(row) for row in rows])
    evaluate = booster.predict_row
    found = microseconds(
        {
            "LightGBM's C call, arguments prepared": (call, call.prepared),
            "evaluate: Booster.predict_row of an encoded loan": (evaluate, rows),
            "encode: a validated loan": (encode, loans),
            "encode and evaluate": (lambda loan: evaluate(encode(loan)), loans),
            "lightgbm.Booster.predict of an array, one thread": (lambda row: usual.predict(row, num_threads=1), arrays),
        },
        rounds,
    )
    bare, evaluated, _, both, _ = found.values()
    ratio = statistics.median(ours / floor for ours, floor in zip(evaluated, bare, strict=True))
    targets = [
        {"what": "evaluate, to LightGBM's C call", "found": ratio, "target": f"at most {MAX_TIMES_OF_C_CALL}"},
        {
            "what": "encode and evaluate, microseconds",
            "found": statistics.median(both),
            "target": f"at most {MAX_MICROSECONDS:g}",
        },
    ]
    return [{"what": name, **_summary(times)} for name, times in found.items()], targets


def _model_text(path: Path) -> str:
    with zipfile.ZipFile(path) as contents:
        return contents.read(archive.MODEL).decode()


def _refuse_differences(*answers: Sequence[float] | npt.NDArray[np.float64]) -> None:
    """Speed can't come from wrong answers."""
    if any(list(found) != list(answers[0]) for found in answers[1:]):
        raise RuntimeError("The contenders do not give the same probabilities: nothing is measured.")


def _summary(times: Sequence[float]) -> Row:
    return {"microseconds": statistics.median(times), "from-to": f"{min(times):.3g}-{max(times):.3g}"}


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
    evaluated = microseconds({bound: (model.predict_row, rows) for bound, model in boosters.items()}, rounds)
    explained = microseconds(
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
        **_summary(evaluated),
        "explanation ms": statistics.median(explained) / 1000,
        "model.txt MB": len(first.text) / 1e6,
        "learning rate": ", ".join(f"{rate:g}" for rate in sorted({model.rate for model in fitted})),
        "default": "default" if (first.trees, first.leaves) == DEFAULT_BOUND else "",
    }


def fit_bounds(loans: pd.DataFrame, grid: Grid, seed: int, leaves: int) -> list[Fitted]:
    """Fit the models of so many leaves, on one split.

    Hyper-parameters are those of the shipped model, but for the learning rate: each number of trees has the one that is
    best on a fifth of the training set, and is then fitted on all of it. A model of fewer trees is the beginning of
    the longer one of the same rate.
    """
    drawn = fitting.split(loans, seed)
    counts = grid.trees_of(leaves)
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
    """Give the best learning rate for each number of trees, by AUC on a fifth of the training set."""
    if len(rates) == 1:
        return dict.fromkeys(counts, rates[0])
    inner = fitting.split(drawn.training, seed)
    aucs = {rate: _aucs(_fit(inner, max(counts), leaves, rate, seed), inner, counts) for rate in rates}
    return {trees: max(rates, key=lambda rate: aucs[rate][trees]) for trees in counts}


def _fit(drawn: fitting.Split, trees: int, leaves: int, rate: float, seed: int) -> lightgbm.Booster:
    shipped = archive.read_shared(archive.newest()).metadata.models[features.AGE_KNOWN.name].hyperparameters
    chosen = {**shipped, "n_estimators": trees, "num_leaves": leaves, "learning_rate": rate}
    # The same trees with any number of threads; there is a process for each core already.
    chosen["n_jobs"] = 1
    data = fitting.make_training_data(drawn.training, features.AGE_KNOWN, seed, replayed=True)
    return data.fit(features.AGE_KNOWN, chosen, seed).booster_


def _aucs(model: lightgbm.Booster, drawn: fitting.Split, counts: Sequence[int]) -> dict[int, float]:
    """Give the test AUC of the model's first trees, for each number of them; every tree is walked once."""
    frame, risky = fitting.make_feature_frame(drawn.test, features.AGE_KNOWN), fitting.label(drawn.test)
    score = np.zeros(len(drawn.test))
    found = {}
    for start, end in itertools.pairwise((0, *counts)):
        score += model.predict(frame, raw_score=True, start_iteration=start, num_iteration=end - start, num_threads=1)
        found[end] = float(roc_auc_score(risky, score))
    return found


def plot_bounds(rows: Sequence[Row]) -> bytes:
    """Draw test AUC against microseconds, a line for each number of leaves; gives an SVG."""
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


def verdict(rows: Sequence[Row]) -> str:
    """Say what the default bound is worth: the best AUC for its microseconds, and what its AUC costs at least."""
    default = next(row for row in rows if row["default"])
    best = max((row for row in rows if row["microseconds"] <= default["microseconds"]), key=lambda row: row["test AUC"])
    close = [row for row in rows if row["test AUC"] >= default["test AUC"] - SAME_AUC]
    cheapest = min(close, key=lambda row: row["microseconds"])
    return (
        f"The default bound: {_named(default)}. The best that takes no longer: {_named(best)}. The fastest whose AUC "
        f"is no more than {SAME_AUC:g} lower: {_named(cheapest)}."
    )


def _named(row: Row) -> str:
    return f"{row['trees']} x {row['leaves']} leaves, AUC {row['test AUC']:.5f}, {row['microseconds']:.1f} microseconds"


@contextmanager
def _loans(data: Path | None) -> Iterator[tuple[pd.DataFrame, str]]:
    """Read and clean the loans that there are, and say which; made-up ones where there are none."""
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            data = Path(folder) / "loan.csv"
            write_synthetic_loan_book(data, SYNTHETIC_ROWS)
        book = read_loans(data)
        kind = "synthetic" if book.synthetic else "real"
        loans = clean(book.loans).loans
        yield loans, f"{len(loans):,} {kind} loans after cleaning"


def _requests(loans: pd.DataFrame) -> list[CreditRiskModelInput]:
    """Give the first loans that the contract allows, as validated requests."""
    requests = []
    fields = loans[fitting.FIELDS].dropna().head(LOANS)
    for loan in fields.to_dict("records"):
        try:
            requests.append(CreditRiskModelInput.model_validate(loan))
        except ValidationError:
            logger.debug("a loan out of the contract's bounds")
    return requests


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="few bounds, one learning rate, one split")
    parser.add_argument("--data", type=Path, help="a loan.csv (default: LOAN_DATA, else made-up loans)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    data = options.data or (Path(os.environ["LOAN_DATA"]) if os.environ.get("LOAN_DATA") else None)
    name = "evaluation_quick" if options.quick else "evaluation"
    with _loans(data) as (loans, described):
        requests = _requests(loans)
        rounds = QUICK_ROUNDS if options.quick else ROUNDS
        steps, targets = measure_shipped(requests, rounds)
        bounds = compare_bounds(loans, requests, QUICK if options.quick else Grid(), rounds)
    report.replace(report.RESULTS / f"{name}.svg", plot_bounds(bounds))
    tables = {"One loan, the shipped model": steps, "Targets": targets, "Bounds of trees and leaves": bounds}
    command = f"python -m benchmarks.evaluation{' --quick' * options.quick}"
    _, page = report.write(
        name, "What evaluating a loan costs", command, tables, _notes(name, described, bounds, rounds)
    )
    sys.stdout.write(page.read_text())


def _notes(name: str, described: str, bounds: Sequence[Row], rounds: int) -> list[str]:
    return [
        f"![Test AUC against microseconds]({name}.svg)",
        verdict(bounds),
        f"On {described}; {LOANS:,} of them in rotation, all contenders' answers equal to the last bit. "
        f"Medians of {rounds} rounds that alternate the contenders; processor time of the calling thread, "
        "the interpreter's share included.",
        "Each bound's model has the shipped model's hyper-parameters, but a learning rate of its own, the best on a "
        "fifth of the training set; its test AUC is the mean over the split seeds.",
    ]


if __name__ == "__main__":
    main()
