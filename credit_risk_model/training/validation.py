"""The data exploration report and deepchecks' three suites, as HTML that holds aggregates and never a borrower's row.

**What a report may show.** A number drawn from a whole column: minimum, maximum, mean and quantiles (the archive's
metadata records the same ranges), histograms, densities, how many loans hold a level of a category or a whole number of
a short range, correlations, rates and scores of groups. **What it may not:** rows, samples of values, lists of common
or extreme amounts, and the examples that deepchecks prints beside duplicates, outliers, leaks and odd strings. A check
that isn't known to display aggregates alone has its display withheld, so one that deepchecks adds later is hidden by
default; its conditions are kept either way.

**Which rows are looked at.** The profile reads all of them. Each check keeps deepchecks' own limit, above which it
draws a sample with the random state 42, so the same table gives the same outcomes. Duplicates, conflicting labels,
leaks and lengths: all rows up to 10,000,000. Performance, ROC, calibration and overfit: up to 1,000,000. Drift and
predictive power: up to 100,000 of each table. Correlations of features, weak segments, multivariate drift: up to
10,000. Outliers: 5,000.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

# Both libraries report each use to their makers unless told not to; deepchecks reads its switch when it is imported.
os.environ["DISABLE_DEEPCHECKS_ANONYMOUS_TELEMETRY"] = "True"
os.environ["YDATA_PROFILING_NO_ANALYTICS"] = "True"

# deepchecks switches a warning of pandas off for the whole process; the option is put back.
with warnings.catch_warnings(), pd.option_context("mode.chained_assignment", "warn"):
    # deepchecks 0.19.1 imports pkg_resources, which setuptools 67 to 80 announces the end of.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated as an API")
    warnings.filterwarnings("ignore", message=r"Deprecated call to `pkg_resources\.declare_namespace")
    from data_profiling import ProfileReport
    from data_profiling.report.presentation.core import Container
    from data_profiling.report.presentation.core.renderable import Renderable
    from deepchecks import set_verbosity
    from deepchecks.core import CheckFailure, CheckResult, ConditionCategory, SuiteResult
    from deepchecks.tabular import Dataset, Suite, checks, suites

from credit_risk_model.errors import DataError
from credit_risk_model.training.loans import LABEL

# Progress bars are deepchecks' INFO messages.
set_verbosity(logging.WARNING)

Status = Literal["passed", "failed", "warning", "error"]

_STATUSES: dict[ConditionCategory, Status] = {
    ConditionCategory.PASS: "passed",
    ConditionCategory.FAIL: "failed",
    ConditionCategory.WARN: "warning",
    ConditionCategory.ERROR: "error",
}

# Reports name the levels of categories. The contract's longest enum has 14; what has far more is text about a borrower.
_MOST_LEVELS = 50

_MOST_POINTS = 500

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
"""Checks whose tables and figures hold groups, rates and densities; their only texts are levels of categories."""

_IRRELEVANT_CHECKS = (
    checks.DateTrainTestLeakageDuplicates,  # loans carry no date here
    checks.DateTrainTestLeakageOverlap,
    checks.IdentifierLabelCorrelation,  # nor an identifier
    checks.IndexTrainTestLeakage,
    checks.RegressionErrorDistribution,  # the label is a class
    checks.ModelInferenceTime,  # a stopwatch on the training machine: another figure in each run
)

_WITHHELD = "Not displayed: the details are borrowers' rows or values, and this report holds aggregates only."


@dataclass(frozen=True)
class CheckOutcome:
    """What one condition of one check came to.

    Attributes:
        condition: Empty where the check itself could not run; `status` is then "error".
        status: "warning" is a condition that failed but that deepchecks takes lightly.
        details: deepchecks' own sentence with the figures found, on one line.
    """

    suite: str
    check: str
    condition: str
    status: Status
    details: str


@dataclass(frozen=True)
class SuiteReport:
    """A suite's report and what its conditions came to.

    Attributes:
        html: A whole page of about 5 MB that loads nothing from a network. Most of it is plotly.js, which packs well;
            deepchecks' only smaller page loads that from a CDN whenever it is read.
        outcomes: The failed ones first.
    """

    name: str
    html: str
    outcomes: tuple[CheckOutcome, ...]

    @property
    def passed(self) -> tuple[CheckOutcome, ...]:
        """The conditions that hold."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "passed")

    @property
    def failed(self) -> tuple[CheckOutcome, ...]:
        """All others: failed, failed lightly (warning), or not run (error)."""
        return tuple(outcome for outcome in self.outcomes if outcome.status != "passed")

    def to_metadata(self) -> dict[str, Any]:
        """The outcomes as JSON takes them: counts by status, and an entry per condition."""
        statuses = [outcome.status for outcome in self.outcomes]
        entries = [asdict(outcome) for outcome in self.outcomes]
        for entry in entries:
            del entry["suite"]
        counts: dict[str, int] = {status: statuses.count(status) for status in _STATUSES.values()}
        return {"suite": self.name, **counts, "conditions": entries}


def profile_loans(loans: pd.DataFrame, descriptions: Mapping[str, str], title: str) -> str:
    """The data exploration report: each column's statistics, histogram or levels, with the meaning of each field.

    Correlations, interactions, samples and duplicates are left out: they cost most, or show rows.

    Args:
        loans: Any columns; those that are not numbers are taken for categories.
        descriptions: Meaning by column name; names that are not in the table are passed over.
        title: The page's heading.

    Returns:
        One HTML page, 1 to 2 MB, that loads nothing from a network.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    _refuse_free_text(loans)
    report = ProfileReport(
        loans.astype(dict.fromkeys(_text_columns(loans), "category")),
        title=title,
        minimal=True,
        progress_bar=False,
        samples=None,
        duplicates=None,
        n_freq_table_max=_MOST_LEVELS,
        vars={"num": {"low_categorical_threshold": 0}},
        variables={"descriptions": {name: text for name, text in descriptions.items() if name in loans.columns}},
    )
    # One bar of the profiler ignores `progress_bar`.
    with contextlib.redirect_stderr(io.StringIO()):
        description = report.get_description()
    for statistics in description.variables.values():
        _forget_values(statistics)
    _drop_items(report.report.content["body"], {"Common values", "Extreme values", "Sample"})
    with _known_warnings_ignored():
        html: str = report.to_html()
    return html


def check_data_integrity(loans: pd.DataFrame, categorical: Sequence[str]) -> SuiteReport:
    """Runs deepchecks' data integrity suite, plus a condition on its outlier check, on one table.

    Args:
        loans: Features and the column `LABEL`.
        categorical: The features that are categories.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    # The outlier check otherwise gives up on a slow machine, by the clock.
    suite = suites.data_integrity(timeout=0)
    for check in suite.checks.values():
        if isinstance(check, checks.OutlierSampleDetection):
            check.add_condition_outlier_ratio_less_or_equal()
    return _run(suite, _dataset(_with_plain_text(loans), categorical))


def check_split(training: pd.DataFrame, test: pd.DataFrame, categorical: Sequence[str]) -> SuiteReport:
    """Runs deepchecks' train-test validation suite: sizes, new levels, leaks and drift between the two tables.

    Args:
        training: Features and the column `LABEL`.
        test: The same columns.
        categorical: The features that are categories.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    tables = (_dataset(_with_plain_text(table), categorical) for table in (training, test))
    return _run(suites.train_test_validation(), *tables)


def check_model(training: pd.DataFrame, test: pd.DataFrame, categorical: Sequence[str], model: Any) -> SuiteReport:
    """Runs deepchecks' model evaluation suite: performance, weak segments, calibration, overfit, a simple model's gain.

    Args:
        training: The features in the order and types that the model was fitted on, and the column `LABEL`, 1 for risky.
        test: The same columns.
        categorical: The features that are categories.
        model: A fitted scikit-learn classifier whose classes are those of `LABEL`.

    Raises:
        DataError: A column that is not a number has more levels than a category has.
    """
    return _run(suites.model_evaluation(), _dataset(training, categorical), _dataset(test, categorical), model)


def _text_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in table.columns if not pd.api.types.is_numeric_dtype(table[column])]


def _refuse_free_text(table: pd.DataFrame) -> None:
    for column in _text_columns(table):
        levels = table[column].nunique()
        if levels > _MOST_LEVELS:
            raise DataError(
                f"The column '{column}' has {levels} different texts, and a category may have {_MOST_LEVELS}: the "
                "reports would show borrowers' own words. Drop the column before making them."
            )


def _forget_values(statistics: dict[str, Any]) -> None:
    """Takes from a column's statistics the values that stand for single borrowers, so that nothing can render them."""
    if "first_rows" in statistics:
        statistics["first_rows"] = {}
    statistics["value_counts_index_sorted"] = pd.Series(dtype="int64")
    if statistics["type"] != "Categorical":
        statistics["value_counts_without_nan"] = pd.Series(dtype="int64")


def _drop_items(section: Renderable, names: set[str]) -> None:
    """Takes the now empty tables out of a section of the profile, at any depth."""
    if isinstance(section, Container):
        section.content["items"] = [item for item in section.content["items"] if item.content.get("name") not in names]
    for part in section.content.values():
        for child in part if isinstance(part, list) else [part]:
            if isinstance(child, Renderable):
                _drop_items(child, names)


def _with_plain_text(table: pd.DataFrame) -> pd.DataFrame:
    # Grouping by columns of pandas' category type builds every combination of levels, whether a loan has it or not.
    return table.astype(dict.fromkeys(_text_columns(table), object))


def _dataset(table: pd.DataFrame, categorical: Sequence[str]) -> Dataset:
    _refuse_free_text(table)
    return Dataset(table, label=LABEL, cat_features=list(categorical), label_type="binary")


def _run(suite: Suite, *tables_and_model: Any) -> SuiteReport:
    for index, check in list(suite.checks.items()):
        if isinstance(check, _IRRELEVANT_CHECKS):
            suite.remove(index)
    # deepchecks' own code runs into the warning of pandas that it switches off, and switches it off again.
    with _known_warnings_ignored(), pd.option_context("mode.chained_assignment", None):
        result = suite.run(*tables_and_model)
        for check_result in result.results:
            _withhold_rows(check_result)
            _thin_curves(check_result)
        # deepchecks' other, bigger page is made of Jupyter widgets.
        html = result.html_serializer.serialize(full_html=True, output_id="report")
    return SuiteReport(name=suite.name, html=html, outcomes=_outcomes(result))


def _withhold_rows(result: CheckResult | CheckFailure) -> None:
    if isinstance(result, CheckFailure):
        # The text of an error, say of a conversion, may quote the value that caused it.
        result.exception = RuntimeError(f"The check stopped with {type(result.exception).__name__}.")
    elif result.display and not isinstance(result.check, _AGGREGATE_DISPLAYS):
        result.display = [_WITHHELD]


def _thin_curves(result: CheckResult | CheckFailure) -> None:
    """Leaves few enough points of a curve that none stands for a loan: the ROC curve has one for nearly each score."""
    for figure in getattr(result, "display", []):
        for trace in figure.data if isinstance(figure, Figure) else ():
            if trace.type == "scatter" and len(trace.x) > _MOST_POINTS:
                kept = np.linspace(0, len(trace.x) - 1, _MOST_POINTS).astype(int)
                trace.x, trace.y = np.asarray(trace.x)[kept], np.asarray(trace.y)[kept]


def _outcomes(result: SuiteResult) -> tuple[CheckOutcome, ...]:
    outcomes = []
    for check_result in result.results:
        check = check_result.get_header()
        if isinstance(check_result, CheckFailure):
            outcomes.append(CheckOutcome(result.name, check, "", "error", _one_line(str(check_result.exception))))
            continue
        for condition in check_result.conditions_results:
            status = _STATUSES[condition.category]
            outcomes.append(CheckOutcome(result.name, check, condition.name, status, _one_line(condition.details)))
    return tuple(sorted(outcomes, key=lambda outcome: outcome.status == "passed"))


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextlib.contextmanager
def _known_warnings_ignored() -> Iterator[None]:
    """Ignores what deepchecks 0.19.1 is known to warn of with numpy 1.26, pandas 2.3 and scikit-learn 1.7."""
    with warnings.catch_warnings():
        for message in (
            r"the `interpolation=` argument to quantile was renamed",  # outlier check, numpy's old name
            r"DataFrame\.applymap has been deprecated",  # leak check, pandas' old name
            r"(?s).*'MyModelWrapper' object has no attribute '__sklearn_tags__'",  # its model wrapper
            r"ChainedAssignmentError: behaviour will change in pandas 3\.0",  # weak segments, with categories
            r"Downcasting object dtype arrays on \.fillna",  # weak segments, pandas' coming default
            r"Mean of empty slice",  # outlier check, of features that apply to ended loans only
            r"invalid value encountered in scalar divide",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
