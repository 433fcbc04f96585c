"""Training's steps in their order: what the notebook and the command line call.

Run it without the notebook as `python -m credit_risk_model.training.pipeline --help`.
"""

import argparse
import importlib.metadata
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import brier_score_loss, roc_auc_score

from credit_risk_model import archive, features
from credit_risk_model.errors import ConfigurationError, CreditRiskError, ModelArchiveError
from credit_risk_model.loan_age import parse_as_of
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import cleaning, evaluation, fitting, gate, packaging, segments, stability, validation
from credit_risk_model.training.card import write_card
from credit_risk_model.training.fitting import Probabilities, is_running, label
from credit_risk_model.training.loans import (
    ENDED_STATUSES,
    ISSUE_MONTH,
    LABEL,
    SOURCE,
    STATUS,
    file_sha256,
    is_synthetic,
    read_loans,
)
from credit_risk_model.training.reference import make_references, reference_table
from credit_risk_model.training.replay import plot_replay, replay, replay_table
from credit_risk_model.training.search import FEWEST_OF_A_CLASS, Bounds, search, split_by_time
from credit_risk_model.training.synthetic import write_synthetic_loan_book

logger = logging.getLogger(__name__)

DEFAULT_DATA = Path("data/loan/loan.csv")
SYNTHETIC_DATA = Path("data/synthetic/training_loan.csv")  # apart from what `make synthetic-data` writes
SYNTHETIC_OUTPUT = Path("build")
SPLIT_SEEDS = (42, 1, 2)
BASELINE = "LightGBM's defaults, with derived features"

_UNUSED = "Fields for which the derived features speak, or nearly constant in this book; the contract asks for all 16."
ACCEPTED_FAILURES = {
    ("Feature-Feature Correlation", "failed"): "Amounts and shares that are computed from the same fields, as the loan "
    "amount and its instalment, follow each other; trees choose between them.",
    (
        "Feature Label Correlation Change",
        "failed",
    ): "Arrears decide the target by its definition, so that they predict it "
    "well; features that apply past the term only rest on few loans, whose draw decides.",
    (
        "Train Test Performance",
        "failed",
    ): "Boosted trees decide their own training loans better than others; all figures, "
    "the cut-off and the gate rest on loans that the models had not seen.",
    ("String Mismatch", "warning"): "`1 year` and `< 1 year` look alike and are two levels; the contract's enum keeps "
    "them apart.",
    ("Outlier Sample Detection", "warning"): "Rare mixes of values that are each allowed; the cleaning has bounded "
    "every column.",
    ("Unused Features - Train Dataset", "warning"): _UNUSED,
    ("Unused Features - Test Dataset", "warning"): _UNUSED,
    ("Weak Segments Performance - Train Dataset", "error"): "On the training set the check finds too few errors to fit "
    "its own error model to.",
}
"""Checks with the status that they are known to have on LendingClub's loans, and why that is acceptable."""

_NOT_KNOWN = "Not known: look into it."
_LIBRARIES = ("lightgbm", "scikit-learn", "flaml", "pandas", "numpy", "joblib", "pydantic", "deepchecks")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Settings:
    """What a training may be told.

    Attributes:
        data: A loan.csv, plain, `.gz` or `.zip`; None: the environment's LOAN_DATA, else `data/loan/loan.csv`, else a
            synthetic loan book, which is made.
        output: Archive to write; None: the next free number in the package's folder, or in `build/` where the data is
            synthetic.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        replayed: Whether ended loans are added to the training set as they stood at earlier months.
        cost_ratio: Cost of a missed risky loan in false alarms, by which the cut-off is chosen; None: by the best F1.
        time_budget: Seconds for the search.
        max_iter: Models that the search fits for each feature set; None: as many as the budget allows.
        max_trees, max_leaves: The search's bounds: trees are what a prediction costs.
        seed: Seed of the split, the replay, the search, the folds, the fit and the golden loans.
        synthetic_rows: Loans to make up where there is no data.
        search_log: File for the search's log.
        owner, approved_by: Who owns the model and who approved its use, for the card.
    """

    data: Path | None = None
    output: Path | None = None
    as_of: str | None = None
    replayed: bool = True
    cost_ratio: float | None = None
    time_budget: float = 1200
    max_iter: int | None = None
    max_trees: int = 100
    max_leaves: int = 63
    seed: int = 42
    synthetic_rows: int = 100_000
    search_log: Path = Path("build/search.log")
    owner: str | None = None
    approved_by: str | None = None

    @property
    def bounds(self) -> Bounds:
        """What bounds the search."""
        return Bounds(self.time_budget, self.max_iter, self.max_trees, self.max_leaves)

    def check(self) -> None:
        """Refuse what can't be, before the work.

        Raises:
            ConfigurationError: A setting is impossible.
        """
        self.bounds.check()
        parse_as_of(self.as_of)
        if self.cost_ratio is not None and not (isinstance(self.cost_ratio, int | float) and self.cost_ratio > 0):
            raise ConfigurationError(f"cost_ratio is {self.cost_ratio!r}: set a number above 0, or leave it out.")


def _step(method: Callable[..., _Result]) -> Callable[..., _Result]:
    """Note that a step was taken: the gate refuses a model of which one was left out."""

    @wraps(method)
    def noted(self: "Training", *arguments: Any) -> _Result:
        result = method(self, *arguments)
        self.done.add(method.__name__)
        return result

    return noted


class Training:
    """One training. Its methods are the steps, to be called in the order in which they stand here.

    Each returns what there is to show of it. Attributes hold what later steps need: `loans`, `split`,
    `hyperparameters`, `fitted`, `cut_off`, `metrics`, `files` (the archive's files by name), `done` (steps taken).
    """

    def __init__(self, settings: Settings) -> None:
        """Find the data, and make it where there is none; impossible settings are refused before the work."""
        settings.check()
        self.settings = settings
        self.data = _find_data(settings)
        self.files: dict[str, bytes] = {}
        self.metrics: dict[str, Any] = {}
        self.checks: dict[str, Any] = {}
        self.done: set[str] = set()
        self._unexplained: list[str] = []

    @_step
    def read(self) -> pd.DataFrame:
        """Read the loans; returns how many there are by status and label."""
        book = read_loans(self.data, self.settings.as_of)
        self.loans, self.age = book.loans, book.age
        self._data_sha256 = file_sha256(self.data)  # now, since the file may be replaced while the training runs
        self.synthetic = is_synthetic(self.data)
        self._rows_read = len(self.loans)
        self.metrics["ended_share"] = float(self.loans[STATUS].isin(ENDED_STATUSES).mean())
        logger.info("The loans' age: %s.", self.age)
        by_status = self.loans.groupby([LABEL, STATUS], observed=True).size().rename("loans").to_frame()
        return by_status.assign(share=(by_status["loans"] / self._rows_read).round(4))

    @_step
    def clean(self) -> pd.DataFrame:
        """Filter the loans; returns the rows left after each step."""
        self.loans, self.steps = cleaning.clean(self.loans)
        known = self.loans[features.AGE].notna().any()
        self.main = features.AGE_KNOWN if known else features.AGE_UNKNOWN
        return self.steps

    @_step
    def profile(self) -> pd.DataFrame:
        """Make the data exploration report; returns the numeric fields' summary."""
        fields = self.loans[[*fitting.FIELDS, LABEL]]
        descriptions = {feature.name: feature.description for feature in features.CONTRACT_FEATURES}
        title = "Synthetic loan book" if self.synthetic else "Loans"
        self._keep(archive.EXPLORATION_REPORT, validation.profile_loans(fields, descriptions, title))
        return fields.describe().T.drop(columns="count").round(2)

    @_step
    def check_data(self) -> pd.DataFrame:
        """Run deepchecks' data integrity suite; returns the conditions that did not pass."""
        report = validation.check_data_integrity(self._labelled(self.loans), self.main.categories)
        return self._keep_checks("data_integrity", archive.INTEGRITY_REPORT, report)

    @_step
    def draw_test_set(self) -> pd.DataFrame:
        """Split the loans; returns the sizes and the shares of risky loans."""
        self.split = fitting.split(self.loans, self.settings.seed)
        parts = {"training": self.split.training, "test": self.split.test}
        return pd.DataFrame(
            {
                name: {
                    "loans": len(part),
                    "risky share": label(part).mean(),
                    "running": int(is_running(part).sum()),
                    "risky share of the running": label(part[is_running(part)]).mean(),
                }
                for name, part in parts.items()
            }
        ).T

    def replayed(self) -> pd.DataFrame:
        """Count the loans that replaying adds to the training set, by the status that they had."""
        return replay_table(self._replay())

    def plot_replayed(self) -> Figure:
        """Draw the age of the training loans, with those that are replayed."""
        return plot_replay(self.split.training, self._replay())

    def _replay(self) -> pd.DataFrame:
        again = replay(self.split.training, self.settings.seed)
        return again if self.settings.replayed else again.iloc[:0]

    @_step
    def check_split(self) -> pd.DataFrame:
        """Run deepchecks' train-test validation suite; returns the conditions that did not pass."""
        training, test = self._parts()
        report = validation.check_split(training, test, self.main.categories)
        return self._keep_checks("train_test_validation", archive.SPLIT_REPORT, report)

    @_step
    def fit_baselines(self) -> pd.DataFrame:
        """Fit LightGBM's defaults with the derived features; returns their figures beside those of the arrears rule."""
        defaults: dict[str, fitting.Hyperparameters] = {wanted.name: {} for wanted in features.FEATURE_SETS}
        baseline = self._fit_and_measure(self.split, defaults, self.settings.seed)
        self.metrics["baseline"] = {
            "name": BASELINE,
            "out_of_fold": baseline.out_of_fold,
            "test": _main_segments(baseline.segments),
        }
        return segments.segment_table(_main_segments(baseline.segments))

    @_step
    def search(self) -> pd.DataFrame:
        """Search hyper-parameters within the bounds; returns the best found."""
        self.hyperparameters = search(
            self.split.training,
            self.settings.bounds,
            self.settings.seed,
            self.settings.search_log,
            replayed=self.settings.replayed,
        )
        return pd.DataFrame(self.hyperparameters)

    @_step
    def fit(self) -> pd.DataFrame:
        """Fit the final models and choose the cut-off; returns the figures by kind of loan, beside the arrears rule."""
        final = self._fit_and_measure(self.split, self.hyperparameters, self.settings.seed)
        self.fitted, self.cut_off, self.probability = final.fitted, final.cut_off, final.probability
        risky = label(self.split.test)
        running = is_running(self.split.test)
        self.metrics["test"] = evaluation.evaluate(risky, self.probability, self.cut_off)
        if risky[running].nunique() > 1:
            self.metrics["test_running"] = evaluation.evaluate(risky[running], self.probability[running], self.cut_off)
        self.metrics["segments"] = final.segments
        self.metrics["age_withheld"] = final.segments_withheld
        self.metrics["out_of_fold"] = final.out_of_fold
        self.metrics["rule"] = final.rule
        self.metrics["cut_offs"] = final.costs.reset_index().to_dict("records")
        self.metrics["cost_ratio"] = self.settings.cost_ratio
        self._costs = final.costs
        return segments.segment_table(self.metrics["segments"])

    def segment_calibration(self) -> Figure:
        """Draw mean probability and share that was risky by kind of loan."""
        return evaluation.plot_segments(self.metrics["segments"])

    def without_age(self) -> pd.DataFrame:
        """Show the test set's figures with every loan's age withheld."""
        return segments.segment_table(self.metrics["age_withheld"])

    def cut_offs(self) -> pd.DataFrame:
        """Show what the cut-offs cost on running loans, every fifth of those that were tried."""
        return self._costs.iloc[4::5]

    def plot_cut_offs(self) -> Figure:
        """Draw what the cut-offs cost on running loans."""
        return evaluation.plot_costs(self._costs, self.cut_off)

    def decisions(self) -> pd.DataFrame:
        """Show precision, recall and F1 of both classes at 0.5 and at the cut-off, on running loans if possible."""
        return evaluation.decisions_table(self.metrics.get("test_running", self.metrics["test"]))

    def curves(self) -> Figure:
        """Draw the test set's ROC, precision-recall and cumulative curves."""
        return evaluation.plot_curves(label(self.split.test), self.probability, self.cut_off)

    def calibration(self) -> pd.DataFrame:
        """Show mean probability and share of risky loans by tenths of the test set."""
        return evaluation.calibration_table(label(self.split.test), self.probability)

    def calibration_curve(self) -> Figure:
        """Draw the calibration."""
        return evaluation.plot_calibration(label(self.split.test), self.probability)

    def confusion(self) -> Figure:
        """Draw the confusion matrices."""
        return evaluation.plot_confusion(self.metrics.get("test_running", self.metrics["test"]))

    def importance(self) -> Figure:
        """Draw the features' importance."""
        return evaluation.plot_importance(self.estimator)

    @property
    def estimator(self) -> Any:
        """The model that answers most: that of the known age, where there is one."""
        return self.fitted.with_age if self.fitted.with_age is not None else self.fitted.without_age

    @_step
    def stability(self) -> pd.DataFrame:
        """Measure what a dollar changes, and what is said of loans that paid in time."""
        if self.fitted.with_age is None:
            return pd.DataFrame()
        self.metrics["dollar"] = stability.measure_dollar(self.fitted, self.split.test, self.cut_off)
        self.metrics["perfect_payers"] = stability.measure_perfect_payers(self.fitted, self.cut_off)
        rows = {"a dollar more or less": self.metrics["dollar"], "paid in time": self.metrics["perfect_payers"]}
        return pd.DataFrame.from_dict(rows, orient="index").T

    @_step
    def out_of_time(self) -> pd.DataFrame:
        """Train on the earlier loans and test on the later fifth; returns the figures, none without issue dates."""
        parts = split_by_time(self.loans)
        self.metrics["out_of_time"] = found = None if parts is None else self._test_apart(*parts)
        if found is None or parts is None:
            return pd.DataFrame()
        found["trained_until"] = f"{parts[0][ISSUE_MONTH].max():%Y-%m}"
        found["tested_from"] = f"{parts[1][ISSUE_MONTH].min():%Y-%m}"
        return segments.segment_table(found["segments"])

    @_step
    def source_left_out(self) -> pd.DataFrame:
        """Train without one source and test on it, or without the newest year; returns the figures, if possible."""
        chosen = _choose_source(self.loans)
        self.metrics["source_left_out"] = None
        if chosen is None:
            return pd.DataFrame()
        name, left_out = chosen
        found = self._test_apart(self.loans[~left_out], self.loans[left_out])
        found["left_out"] = name
        self.metrics["source_left_out"] = found
        return segments.segment_table(found["segments"])

    @_step
    def other_splits(self) -> pd.DataFrame:
        """Repeat split, fit and cut-off with other seeds; returns each one's figures and their mean."""
        rows = {}
        for seed in SPLIT_SEEDS:
            found = self._fit_and_measure(fitting.split(self.loans, seed), self.hyperparameters, seed)
            running = found.segments.get("running", {})
            rows[str(seed)] = {
                "auc": found.segments["all"]["auc"],
                "brier": found.segments["all"]["brier"],
                "f1": found.segments["all"]["f1"],
                "running_auc": running.get("auc"),
                "running_brier": running.get("brier"),
                "running_f1": running.get("f1"),
                "age_withheld_auc": found.segments_withheld["all"]["auc"],
                "age_withheld_brier": found.segments_withheld["all"]["brier"],
            }
        table = pd.DataFrame.from_dict(rows, orient="index", dtype=float)
        table.loc["mean"] = table.mean()
        self.metrics["split_seeds"] = {
            seed: {name: None if np.isnan(value) else value for name, value in row.items()}
            for seed, row in table.to_dict("index").items()
        }
        return table.rename_axis("split seed").round(4)

    @_step
    def check_model(self) -> pd.DataFrame:
        """Run deepchecks' model evaluation suite; returns the conditions that did not pass."""
        report = validation.check_model(*self._parts(), self.main.categories, self.estimator)
        return self._keep_checks("model_evaluation", archive.MODEL_REPORT, report)

    def reference(self) -> pd.DataFrame:
        """Show what later loans are compared with: the bins of the fields and of the probability, and their shares."""
        return reference_table(self._references())

    def _references(self) -> list[dict[str, Any]]:
        return make_references(self.fitted.predict, self.split.training, self.split.test, self.cut_off)

    def package(self) -> Path:
        """Write the archive, unless the gate refuses the model.

        Returns:
            The archive's path.

        Raises:
            ModelRefusedError: A step was left out, or the model falls short; nothing is written.
            ModelArchiveError: What was written doesn't reproduce the fitted models; nothing is left.
        """
        # A model of made-up loans must not become the newest of the package's own.
        output = self.settings.output or archive.next_free(SYNTHETIC_OUTPUT if self.synthetic else archive.MODEL_FILES)
        gate.judge(self._evidence(output))
        self.files |= packaging.model_files(self.fitted, self.settings.seed)
        metadata = self._metadata(output)
        self.files[archive.CARD] = self._card(metadata).encode()
        archive.write(output, metadata, self.files)
        self.output = output
        return output

    def summary(self) -> pd.DataFrame:
        """Show the packaged model's figures beside those of the arrears rule, the defaults and the former archive."""
        former = {} if self._former is None else self._former.metadata.metrics.get("segments", {})
        columns = {
            self.output.name: {name: self.metrics["segments"].get(name, {}) for name in ("running", "all")},
            "arrears rule": {
                name: {key.removeprefix("rule_"): value for key, value in figures.items() if key.startswith("rule_")}
                for name, figures in _main_segments(self.metrics["segments"]).items()
            },
            BASELINE: self.metrics["baseline"]["test"],
            f"former, {self._former_name}" if self._former_name else "former": former,
        }
        rows = {
            f"{title}, {loans} loans": {name: found.get(loans, {}).get(figure) for name, found in columns.items()}
            for loans in ("running", "all")
            for figure, title in (("auc", "AUC"), ("brier", "Brier score"), ("f1", "F1"))
        }
        return pd.DataFrame.from_dict(rows, orient="index", dtype=float).dropna(axis="columns", how="all").round(4)

    def next_steps(self) -> str:
        """Say where the archive is, and what to do with it: the YAML's two lines are ready to paste."""
        path = self.output.resolve()
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return (
            f"Packaged: {shown}\n\nTo serve it, put these two lines into configuration/rest_configuration.yaml and "
            f"start the service again:\n\n      archive: {shown}\n      sha256: "
            f"{archive.sha256(self.output.read_bytes())}\n"
        )

    def test_loans(self) -> list[CreditRiskModelInput]:
        """Turn the test set's loans into requests, without those that the contract's bounds don't allow."""
        test = self.split.test[fitting.FIELDS]
        allowed = pd.Series(True, index=test.index)
        for feature in features.CONTRACT_FEATURES:
            if feature.bounds is not None:
                allowed &= test[feature.name].isna() | test[feature.name].between(*feature.bounds)
        kept = test[allowed].astype(object)
        return [CreditRiskModelInput.model_validate(loan) for loan in kept.where(kept.notna(), None).to_dict("records")]

    def predict_loans(self, loans: list[CreditRiskModelInput]) -> Probabilities:
        """Compute the fitted models' own probabilities of such loans, by pandas and scikit-learn; shape (loans,)."""
        return packaging.predict_requests(self.fitted, loans)

    def run(self) -> Path:
        """Call all the steps in order; returns the archive's path."""
        steps: tuple[Callable[[], pd.DataFrame], ...] = (
            self.read,
            self.clean,
            self.profile,
            self.check_data,
            self.draw_test_set,
            self.check_split,
            self.fit_baselines,
            self.search,
            self.fit,
            self.stability,
            self.out_of_time,
            self.source_left_out,
            self.other_splits,
            self.check_model,
        )
        for step in steps:
            logger.info("%s", step.__name__.replace("_", " "))
            logger.info("\n%s", step().to_string())
        path = self.package()
        logger.info("\n%s\n\n%s", self.summary().to_string(), self.next_steps())
        return path

    def _keep(self, name: str, html: str) -> None:
        self.files[name] = html.encode()

    def _keep_checks(self, suite: str, name: str, report: validation.SuiteReport) -> pd.DataFrame:
        self._keep(name, report.html)
        self.checks[suite] = report.to_metadata()
        for entry, outcome in zip(self.checks[suite]["conditions"], report.outcomes, strict=True):
            if outcome.status != "passed":
                entry["reason"] = why_acceptable(outcome)
        self._unexplained += [
            f"{outcome.check} ({outcome.status}: {outcome.details})"
            for outcome in report.failed
            if outcome.status == "failed" and why_acceptable(outcome) == _NOT_KNOWN
        ]
        rows = [
            {
                "check": outcome.check,
                "condition": outcome.condition,
                "found": outcome.details,
                "status": outcome.status,
                "why that is acceptable": why_acceptable(outcome),
            }
            for outcome in report.failed
        ]
        return pd.DataFrame(rows, columns=["check", "condition", "found", "status", "why that is acceptable"])

    def _labelled(self, loans: pd.DataFrame) -> pd.DataFrame:
        if self.main is features.AGE_KNOWN:
            loans = loans[loans[features.AGE].notna()]
        return fitting.feature_frame(loans, self.main).assign(**{LABEL: label(loans)})

    def _parts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return self._labelled(self.split.training), self._labelled(self.split.test)

    def _fit_and_measure(
        self, drawn: fitting.Split, hyperparameters: dict[str, fitting.Hyperparameters], seed: int
    ) -> "_Measured":
        """Fit on the training set, choose the cut-off on its out-of-fold predictions, measure on the test set."""
        replayed, cost_ratio = self.settings.replayed, self.settings.cost_ratio
        out_of_fold = fitting.predict_out_of_fold(drawn.training, hyperparameters, seed, replayed=replayed)
        fitted = fitting.fit(drawn.training, hyperparameters, seed, replayed=replayed)
        # What the model is for decides the cut-off: running loans, where there are enough of both classes.
        rows = is_running(drawn.training)
        if not _can_rank(drawn.training[rows]):
            rows = np.ones(len(drawn.training), dtype=bool)
        risky = label(drawn.training).to_numpy()[rows]
        known = out_of_fold.known[rows]
        cut_off = (
            fitting.choose_cut_off(risky, known)
            if cost_ratio is None
            else fitting.choose_cut_off_by_cost(risky, known, cost_ratio)
        )
        probability = fitted.predict(drawn.test)
        return _Measured(
            fitted=fitted,
            cut_off=cut_off,
            probability=probability,
            segments=segments.segment_figures(drawn.test, probability, cut_off),
            segments_withheld=_main_segments(
                segments.segment_figures(drawn.test, fitted.predict(drawn.test, withhold_age=True), cut_off)
            ),
            out_of_fold=_rank_out_of_fold(drawn.training, out_of_fold),
            rule=_rank_rule(drawn.training),
            costs=evaluation.cost_table(risky, known, cost_ratio),
        )

    def _test_apart(self, training: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
        """Fit on some loans and measure on others, with the cut-off of the final model."""
        fitted = fitting.fit(training, self.hyperparameters, self.settings.seed, replayed=self.settings.replayed)
        found = segments.segment_figures(test, fitted.predict(test), self.cut_off)
        withheld = segments.segment_figures(test, fitted.predict(test, withhold_age=True), self.cut_off)
        return {"segments": _main_segments(found), "age_withheld": _main_segments(withheld)}

    def _evidence(self, output: Path) -> gate.Evidence:
        self._former, self._former_name = self._find_former(output)
        apart = self.metrics.get("out_of_time")
        of_all = None if apart is None else apart["segments"]["all"]
        return gate.Evidence(
            done=frozenset(self.done),
            rows=len(self.split.training),
            out_of_fold=self.metrics.get("out_of_fold", {}),
            baseline=self.metrics.get("baseline", {}).get("out_of_fold", {}),
            rule=self.metrics.get("rule"),
            former=self._figures_of_former(),
            former_name=self._former_name,
            dollar=self.metrics.get("dollar"),
            perfect_payers=self.metrics.get("perfect_payers"),
            calibration=None if of_all is None else of_all["mean_probability"] / of_all["risky_share"],
            unexplained=tuple(self._unexplained),
        )

    def _find_former(self, output: Path) -> tuple[archive.Archive | None, str]:
        path = _last_archive(output)
        if path is None:
            return None, ""
        try:
            former = archive.read(path)
        except ModelArchiveError as error:
            logger.warning("The model can't be compared with %s, which it follows: %s", path.name, error)
            return None, ""
        return (None, "") if (former.metadata.data.kind == "synthetic") != self.synthetic else (former, path.name)

    def _figures_of_former(self) -> Any:
        """Look up or measure the former model's figures on loans that it has not seen.

        Of the same file it has recorded them out of fold. The loans of another file are new to it, so that it is
        measured on them.
        """
        if self._former is None or "out_of_fold" not in self.metrics:
            return None
        if self._former.metadata.data.sha256 == self._data_sha256:
            return self._former.metadata.metrics.get("out_of_fold")
        former = packaging.ArchivedModels(self._former)
        training = self.split.training
        try:
            answers = fitting.OutOfFold(former.predict(training), former.predict(training, withhold_age=True))
        except ModelArchiveError as error:
            logger.warning("The model can't be compared with %s, which it follows: %s", self._former_name, error)
            return None
        return _rank_out_of_fold(training, answers)

    def _card(self, metadata: dict[str, Any]) -> str:
        return write_card(
            metadata,
            evaluation.importance_table(self.estimator),
            owner=self.settings.owner,
            approved_by=self.settings.approved_by,
            former=self._former_name,
            former_metrics={} if self._former is None else self._former.metadata.metrics,
        )

    def _metadata(self, output: Path) -> dict[str, Any]:
        return {
            "model_version": output.stem,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
            "seed": self.settings.seed,
            "cut_off": self.cut_off,
            "models": packaging.model_records(
                self.fitted,
                self.split.training,
                self.hyperparameters,
                self.settings.seed,
                replayed=self.settings.replayed,
            ),
            "metrics": self.metrics,
            "cleaning": self.steps[["step", "rows"]].to_dict("records"),
            "checks": self.checks,
            "data": {
                "kind": "synthetic" if self.synthetic else "loans",
                "file": self.data.name,
                "sha256": self._data_sha256,
                "rows": self._rows_read,
                "age": self.age,
            },
            "reference": self._references(),
        }


def why_acceptable(outcome: validation.CheckOutcome) -> str:
    """Say why a condition may not pass, where that is known of this check with this status."""
    return ACCEPTED_FAILURES.get((outcome.check, outcome.status), _NOT_KNOWN)


@dataclass(frozen=True)
class _Measured:
    """Fitted models with their cut-off, and what was found of them.

    Attributes:
        probability: Of the test set.
        segments, segments_withheld: The test set's figures by kind of loan, also with the age withheld.
        out_of_fold: AUC and Brier score on the training set, each loan by models that have not seen it.
        rule: The same of the arrears rule on running loans; None where it can't be applied.
        costs: What the cut-offs cost.
    """

    fitted: fitting.Fitted
    cut_off: float
    probability: Probabilities
    segments: dict[str, dict[str, Any]]
    segments_withheld: dict[str, dict[str, Any]]
    out_of_fold: dict[str, dict[str, dict[str, float]]]
    rule: dict[str, float] | None
    costs: pd.DataFrame


def _main_segments(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: found[name] for name in ("running", "ended", "all") if name in found}


def _can_rank(loans: pd.DataFrame) -> bool:
    risky = int(label(loans).sum())
    return min(risky, len(loans) - risky) >= FEWEST_OF_A_CLASS


def _rank(loans: pd.DataFrame, probability: Any) -> dict[str, float]:
    risky = label(loans)
    return {
        "auc": float(roc_auc_score(risky, probability)),
        "brier": float(brier_score_loss(risky, probability)),
    }


def _rank_out_of_fold(training: pd.DataFrame, predicted: fitting.OutOfFold) -> dict[str, dict[str, dict[str, float]]]:
    """Measure predictions on all and on running loans, by what is known of them and with the age withheld."""
    answers = {"age_withheld": predicted.withheld}
    if training[features.AGE].notna().any():
        answers = {"age_known": predicted.known} | answers
    rows = {"running": is_running(training), "all": np.ones(len(training), dtype=bool)}
    return {
        answer: {
            name: _rank(training[chosen], probability[chosen])
            for name, chosen in rows.items()
            if _can_rank(training[chosen])
        }
        for answer, probability in answers.items()
    }


def _rank_rule(training: pd.DataFrame) -> dict[str, float] | None:
    running = training[is_running(training)]
    if not _can_rank(running) or running[features.AGE].isna().all():
        return None
    return _rank(running, segments.apply_rule(running).astype(float))


def _choose_source(loans: pd.DataFrame) -> tuple[str, Any] | None:
    """Choose what to leave out: the source whose running loans are of most months of issue, or else the newest year."""
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
        if _can_rank(loans[left_out]) and _can_rank(loans[~left_out]):
            return name, left_out
    return None


def _find_data(settings: Settings) -> Path:
    if settings.data is not None:
        return settings.data
    if os.environ.get("LOAN_DATA"):
        return Path(os.environ["LOAN_DATA"])
    if DEFAULT_DATA.exists():
        return DEFAULT_DATA
    logger.warning(
        "There is no %s, and LOAN_DATA is not set: training on a SYNTHETIC loan book of %s loans. `make data` fetches "
        "the real ones.",
        DEFAULT_DATA,
        f"{settings.synthetic_rows:,}",
    )
    if settings.synthetic_rows < 1:
        raise ConfigurationError(f"synthetic_rows is {settings.synthetic_rows}: at least 1 loan is needed.")
    write_synthetic_loan_book(SYNTHETIC_DATA, settings.synthetic_rows, settings.seed)
    return SYNTHETIC_DATA


def _last_archive(output: Path) -> Path | None:
    """Find the archive that a new one would follow: the one it replaces, or the last of its folder."""
    if output.exists():
        return output
    following = archive.next_free(output.parent)
    last = following.with_name(f"{int(following.stem) - 1}.zip")
    return last if last.exists() else None


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line; the settings' names are the options'."""
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m credit_risk_model.training.pipeline", description="Train, validate and package the model."
    )
    parser.add_argument("--data", type=Path, help="a loan.csv, plain, .gz or .zip (default: LOAN_DATA, or data/loan)")
    parser.add_argument("--output", type=Path, help="archive to write (default: the next free number)")
    parser.add_argument(
        "--as-of", help="month in which the loans were recorded, as 2016-01, if the file does not say it"
    )
    parser.add_argument("--cost-ratio", type=float, help="cost of a missed risky loan in false alarms")
    parser.add_argument(
        "--max-iter", type=int, help="models to fit for each feature set, so that a search can be repeated"
    )
    parser.add_argument("--no-replay", dest="replayed", action="store_false", help="train without replayed loans")
    parser.add_argument("--owner", help="who owns the model, for the card")
    parser.add_argument("--approved-by", help="who approved its use, for the card")
    for name in ("time_budget", "max_trees", "max_leaves", "seed", "synthetic_rows", "search_log"):
        value = getattr(defaults, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value, help="default: %(default)s")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        Training(Settings(**vars(parser.parse_args(arguments)))).run()
    except CreditRiskError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
