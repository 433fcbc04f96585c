"""Runs deepchecks' three suites, and reports them as HTML that holds aggregates and never a borrower's row.

**What a report may show.** A number drawn from a whole column: minimum, maximum, mean and quantiles (the archive's
metadata records the same ranges), histograms, densities, how many loans hold a level of a category or a whole number of
a short range, correlations, rates and scores of groups. **What it may not:** rows, samples of values, lists of common
or extreme amounts, and the examples that deepchecks prints beside duplicates, outliers, leaks and odd strings. A check
that isn't known to display aggregates alone has its display withheld, so one that deepchecks adds later is hidden by
default; its conditions are kept either way.

**Which rows are checked.** Each check has deepchecks' own limit. Above it, the check draws a sample with the random
state 42, so the same table gives the same outcomes. Duplicates, conflicting labels, leaks and lengths: all rows up to
10,000,000. Performance, ROC, calibration and overfit: up to 1,000,000. Drift and predictive power: up to 100,000 of
each table. Correlations of features, weak segments, multivariate drift: up to 10,000. Outliers: 5,000.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

# Without this, deepchecks reports each use to its vendor. It reads the variable when it is imported.
os.environ["DISABLE_DEEPCHECKS_ANONYMOUS_TELEMETRY"] = "True"

# deepchecks disables a warning of pandas for the whole process; this restores the option.
with warnings.catch_warnings(), pd.option_context("mode.chained_assignment", "warn"):
    # deepchecks 0.19.1 imports pkg_resources, which setuptools 67 to 80 deprecates.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API")
    warnings.filterwarnings("ignore", message=r"Deprecated call to `pkg_resources\.declare_namespace")
    from deepchecks import set_verbosity
    from deepchecks.core import CheckFailure, CheckResult, ConditionCategory, SuiteResult
    from deepchecks.tabular import Dataset, Suite, checks, suites

from credit_risk_model.training.free_text import list_text_columns, refuse_free_text
from credit_risk_model.training.known_warnings import ignore_known_warnings
from credit_risk_model.training.loans import LABEL

# deepchecks logs progress bars as INFO messages.
set_verbosity(logging.WARNING)

Status = Literal["passed", "failed", "warning", "error"]

_STATUSES: dict[ConditionCategory, Status] = {
    ConditionCategory.PASS: "passed",
    ConditionCategory.FAIL: "failed",
    ConditionCategory.WARN: "warning",
    ConditionCategory.ERROR: "error",
}

_MAX_POINTS = 500

_AGGREGATE_DISPLAYS = (
    checks.BoostingOverfit,
    checks.CalibrationScore,
    checks.ConfusionMatrixReport,
    checks.DatasetsSizeComparison,
    checks.FeatureDrift,
    checks.FeatureFeatureCorrelation,
    checks.FeatureLabelCorrelation,
    checks.FeatureLabelCorrelationChange,
    checks.IsSingleValue,
    checks.LabelDrift,
    checks.MixedNulls,
    checks.MultivariateDrift,
    checks.NewCategoryTrainTest,
    checks.PredictionDrift,
    checks.RocReport,
    checks.SimpleModelComparison,
    checks.StringMismatch,
    checks.StringMismatchComparison,
    checks.TrainTestPerformance,
    checks.UnusedFeatures,
    checks.WeakSegmentsPerformance,
)
"""Checks that display only groups, rates, densities and levels of categories."""

_IRRELEVANT_CHECKS = (
    checks.DateTrainTestLeakageDuplicates,  # the loans have no date here
    checks.DateTrainTestLeakageOverlap,
    checks.IdentifierLabelCorrelation,  # nor an identifier
    checks.IndexTrainTestLeakage,
    checks.RegressionErrorDistribution,  # the label is a class
    checks.ModelInferenceTime,  # depends on the training machine, and varies between runs
)

_UNUSED = "Fields that derived features cover, or that hardly vary in this book. The contract requires all 16."
ACCEPTED_FAILURES = {
    ("Feature-Feature Correlation", "failed"): "Amounts and shares that are computed from the same fields are "
    "correlated, such as the loan amount and its instalment. Trees choose between them.",
    (
        "Feature Label Correlation Change",
        "failed",
    ): "The target is defined by arrears, so arrears predict it well. "
    "Features that apply only after the term have values for few loans, so their figures vary by chance.",
    (
        "Train Test Performance",
        "failed",
    ): "Boosted trees fit their training loans better than others. All figures, "
    "the cut-off and the gate use loans that the models had not seen.",
    ("String Mismatch", "warning"): "`1 year` and `< 1 year` look alike but are two levels. The contract's enum keeps "
    "them apart.",
    ("Outlier Sample Detection", "warning"): "Rare combinations of values that are each valid. The cleaning has "
    "bounded every column.",
    ("Unused Features - Train Dataset", "warning"): _UNUSED,
    ("Unused Features - Test Dataset", "warning"): _UNUSED,
    ("Weak Segments Performance - Train Dataset", "error"): "On the training set the check finds too few errors to fit "
    "its error model.",
}
"""Known outcomes on LendingClub's loans, by check and status, and why each is acceptable."""
NOT_KNOWN = "No reason is known. Investigate it."

_WITHHELD = "Not shown: the details are borrowers' rows or values. This report has aggregates only."


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of one condition of one check.

    Attributes:
        condition: Empty if the check itself could not run; `status` is then "error".
        status: "warning" means that the condition failed, but that deepchecks considers this minor.
        details: deepchecks' own sentence with the figures, on one line.
    """

    suite: str
    check: str
    condition: str
    status: Status
    details: str

    @property
    def reason(self) -> str:
        """Why the failure is acceptable, if that is known for this check and status."""
        return ACCEPTED_FAILURES.get((self.check, self.status), NOT_KNOWN)

    def store(self) -> dict[str, str]:
        """Return the outcome as a dict for JSON, with the reason if it did not pass."""
        entry = {"check": self.check, "condition": self.condition, "status": self.status, "details": self.details}
        return entry if self.status == "passed" else entry | {"reason": self.reason}


@dataclass(frozen=True)
class SuiteReport:
    """A suite's report and its conditions' outcomes.

    Attributes:
        html: A self-contained page of about 5 MB. Most of it is plotly.js, which compresses well; deepchecks' only
            smaller page loads that from a CDN.
        outcomes: The outcomes, failed ones first.
    """

    name: str
    html: str
    outcomes: tuple[CheckOutcome, ...]

    @property
    def passed(self) -> tuple[CheckOutcome, ...]:
        """The conditions that passed."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "passed")

    @property
    def failed(self) -> tuple[CheckOutcome, ...]:
        """All other conditions: failed, minor failures (warning), or not run (error)."""
        return tuple(outcome for outcome in self.outcomes if outcome.status != "passed")

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The failed conditions without a reason why the failure is acceptable."""
        return tuple(
            f"{outcome.check} ({outcome.status}: {outcome.details})"
            for outcome in self.failed
            if outcome.status == "failed" and outcome.reason == NOT_KNOWN
        )

    def table(self) -> pd.DataFrame:
        """Return the conditions that did not pass."""
        rows = [(each.check, each.condition, each.details, each.status, each.reason) for each in self.failed]
        return pd.DataFrame(rows, columns=["check", "condition", "found", "status", "why that is acceptable"])

    def store(self) -> dict[str, Any]:
        """Return the outcomes as a dict for JSON: counts by status, and an entry per condition."""
        statuses = [outcome.status for outcome in self.outcomes]
        counts: dict[str, int] = {status: statuses.count(status) for status in _STATUSES.values()}
        return {"suite": self.name, **counts, "conditions": [outcome.store() for outcome in self.outcomes]}


def check_data_integrity(loans: pd.DataFrame, categorical: Sequence[str]) -> SuiteReport:
    """Run deepchecks' data integrity suite, plus a condition on its outlier check, on one table.

    Args:
        loans: Features and the column `LABEL`.
        categorical: The features that are categories.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    # By default the outlier check has a timeout, so its outcome would depend on the machine.
    suite = suites.data_integrity(timeout=0)
    for check in suite.checks.values():
        if isinstance(check, checks.OutlierSampleDetection):
            check.add_condition_outlier_ratio_less_or_equal()
    return _run(suite, _make_dataset(_convert_to_text(loans), categorical))


def check_split(training: pd.DataFrame, test: pd.DataFrame, categorical: Sequence[str]) -> SuiteReport:
    """Run deepchecks' train-test validation suite: sizes, new levels, leaks and drift between the two tables.

    Args:
        training: Features and the column `LABEL`.
        test: The same columns.
        categorical: The features that are categories.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    tables = (_make_dataset(_convert_to_text(table), categorical) for table in (training, test))
    return _run(suites.train_test_validation(), *tables)


def check_model(training: pd.DataFrame, test: pd.DataFrame, categorical: Sequence[str], model: Any) -> SuiteReport:
    """Run deepchecks' model evaluation suite: performance, weak segments, calibration, overfit, a simple model's gain.

    Args:
        training: The features in the order and types that the model was fitted on, and the column `LABEL`, 1 for risky.
        test: The same columns.
        categorical: The features that are categories.
        model: A fitted scikit-learn classifier whose classes are those of `LABEL`.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    return _run(
        suites.model_evaluation(), _make_dataset(training, categorical), _make_dataset(test, categorical), model
    )


def _convert_to_text(table: pd.DataFrame) -> pd.DataFrame:
    # Grouping by categorical columns builds every combination of levels, even those that no loan has.
    return table.astype(dict.fromkeys(list_text_columns(table), object))


def _make_dataset(table: pd.DataFrame, categorical: Sequence[str]) -> Dataset:
    refuse_free_text(table)
    return Dataset(table, label=LABEL, cat_features=list(categorical), label_type="binary")


def _run(suite: Suite, *tables_and_model: Any) -> SuiteReport:
    for index, check in list(suite.checks.items()):
        if isinstance(check, _IRRELEVANT_CHECKS):
            suite.remove(index)
    # deepchecks' own code triggers the pandas warning that it disables, and disables it again.
    with ignore_known_warnings(), pd.option_context("mode.chained_assignment", None):
        result = suite.run(*tables_and_model)
        for check_result in result.results:
            _withhold_rows(check_result)
            _thin_curves(check_result)
        # deepchecks' other page is larger, and made of Jupyter widgets.
        html = result.html_serializer.serialize(full_html=True, output_id="report")
    return SuiteReport(name=suite.name, html=html, outcomes=_outcomes(result))


def _withhold_rows(result: CheckResult | CheckFailure) -> None:
    if isinstance(result, CheckFailure):
        # An error's text may quote the value that caused it.
        result.exception = RuntimeError(f"The check stopped with {type(result.exception).__name__}.")
    elif result.display and not isinstance(result.check, _AGGREGATE_DISPLAYS):
        result.display = [_WITHHELD]


def _thin_curves(result: CheckResult | CheckFailure) -> None:
    """Thin out curves, so that no point represents a single loan. A ROC curve has a point for nearly every score."""
    for figure in getattr(result, "display", []):
        for trace in figure.data if isinstance(figure, Figure) else ():
            if trace.type == "scatter" and len(trace.x) > _MAX_POINTS:
                kept = np.linspace(0, len(trace.x) - 1, _MAX_POINTS).astype(int)
                trace.x, trace.y = np.asarray(trace.x)[kept], np.asarray(trace.y)[kept]


def _outcomes(result: SuiteResult) -> tuple[CheckOutcome, ...]:
    outcomes = []
    for check_result in result.results:
        check = check_result.get_header()
        if isinstance(check_result, CheckFailure):
            outcomes.append(CheckOutcome(result.name, check, "", "error", _join_lines(str(check_result.exception))))
            continue
        for condition in check_result.conditions_results:
            status = _STATUSES[condition.category]
            outcomes.append(CheckOutcome(result.name, check, condition.name, status, _join_lines(condition.details)))
    return tuple(sorted(outcomes, key=lambda outcome: outcome.status == "passed"))


def _join_lines(text: str) -> str:
    return " ".join(text.split())
