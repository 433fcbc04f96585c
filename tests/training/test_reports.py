import copy
import dataclasses
import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.model_selection import train_test_split

from credit_risk_model.errors import DataError
from credit_risk_model.training.exploration import profile_loans
from credit_risk_model.training.loans import LABEL
from credit_risk_model.training.reports import (
    NOT_KNOWN,
    CheckOutcome,
    SuiteReport,
    check_data_integrity,
    check_model,
    check_split,
)

MAX_POINTS = 500
CATEGORICAL = ["term", "home_ownership"]
DESCRIPTIONS = {
    "total_payments_to_date": "Payments received to date for the portion of the total amount funded by investors.",
    "term": "The number of payments on the loan, in months.",
}

# Whole parts of amounts that stand in planted rows only. None is the least or greatest of its column.
REPEATED, CONFLICTING, OUTLYING, LEAKED = 13579, 24683, 86420, 17931


def loan_book(seed: int, rows: int = 1500) -> pd.DataFrame:
    """A sound book: all rows differ, and the label is a noisy function of rate and payments."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(5, 29, rows)
    payments = rng.gamma(4, 2500, rows).clip(max=40000)
    risk = rate / 29 - payments / 20000 + rng.normal(0, 0.2, rows)
    return pd.DataFrame(
        {
            "annual_income": rng.lognormal(11, 0.4, rows),
            "interest_rate": rate,
            "total_payments_to_date": payments,
            "term": rng.choice([" 36 months", " 60 months"], rows, p=[0.7, 0.3]),
            "home_ownership": rng.choice(["RENT", "OWN", "MORTGAGE"], rows),
            LABEL: (risk > np.quantile(risk, 0.75)).astype(int),
        }
    )


def row(payments: float, label: int = 0, income: float = 61234.567) -> dict[str, object]:
    """A made-up loan that differs from others by its payments and its income."""
    return {
        "annual_income": income,
        "interest_rate": 11.5,
        "total_payments_to_date": payments,
        "term": " 36 months",
        "home_ownership": "RENT",
        LABEL: label,
    }


def with_planted_rows(loans: pd.DataFrame) -> pd.DataFrame:
    """The book after rows that deepchecks and the profiler would both print: repeated, contradictory, far off."""
    planted = [row(REPEATED + 0.246801)] * 4 + [row(CONFLICTING + 0.135791, label) for label in (0, 1)]
    planted += [row(OUTLYING + 0.123456 + shift / 100, income=950000 + shift) for shift in range(3)]
    planted += [row(99999.5, income=999999.5), row(LEAKED + 0.975311)]
    return pd.concat([pd.DataFrame(planted), loans], ignore_index=True)


def shown(html: str, amounts: tuple[int, ...] = (REPEATED, CONFLICTING, OUTLYING, LEAKED)) -> set[int]:
    """Which of the amounts a page shows, with or without a thousands separator."""
    return {amount for amount in amounts if re.search(rf"\b({amount}|{amount:,})\.\d", html)}


def as_categories(loans: pd.DataFrame) -> pd.DataFrame:
    """The table as a LightGBM model takes it."""
    return loans.astype(dict.fromkeys(CATEGORICAL, "category"))


def status(report: SuiteReport, check: str) -> set[str]:
    """The statuses of a check's conditions."""
    return {outcome.status for outcome in report.outcomes if outcome.check == check}


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    """A book with rows that must not be shown."""
    return with_planted_rows(loan_book(1))


@pytest.fixture(scope="module")
def integrity(planted: pd.DataFrame) -> SuiteReport:
    """The data integrity suite on the book with planted rows."""
    return check_data_integrity(planted, CATEGORICAL)


@pytest.fixture(scope="module")
def halves() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A training and a test table of which each holds the planted rows."""
    training, test = train_test_split(loan_book(2), test_size=0.4, stratify=loan_book(2)[LABEL], random_state=0)
    return as_categories(with_planted_rows(training)), as_categories(with_planted_rows(test))


@pytest.fixture(scope="module")
def split(halves: tuple[pd.DataFrame, pd.DataFrame]) -> SuiteReport:
    """The train-test validation suite on two tables that share the planted rows."""
    return check_split(*halves, CATEGORICAL)


@pytest.fixture(scope="module")
def model(halves: tuple[pd.DataFrame, pd.DataFrame]) -> LGBMClassifier:
    """A small model of the training table."""
    features, label = halves[0].drop(columns=LABEL), halves[0][LABEL]
    return LGBMClassifier(n_estimators=25, num_leaves=7, n_jobs=1, random_state=0, verbose=-1).fit(features, label)


@pytest.fixture(scope="module")
def evaluation(halves: tuple[pd.DataFrame, pd.DataFrame], model: LGBMClassifier) -> SuiteReport:
    """The model evaluation suite on the small model."""
    return check_model(*halves, CATEGORICAL, model)


@pytest.fixture(scope="module")
def unskilled() -> SuiteReport:
    """The model evaluation suite on a model of shuffled labels."""
    loans = as_categories(loan_book(9, rows=6000))
    loans[LABEL] = loans[LABEL].sample(frac=1, random_state=0).to_numpy()
    training, test = train_test_split(loans, test_size=0.5, random_state=0)
    model = LGBMClassifier(n_estimators=30, n_jobs=1, random_state=0, verbose=-1)
    return check_model(training, test, CATEGORICAL, model.fit(training.drop(columns=LABEL), training[LABEL]))


@pytest.fixture(scope="module")
def profile(planted: pd.DataFrame) -> str:
    """The data exploration report on the book with planted rows."""
    return profile_loans(planted, DESCRIPTIONS, "Loans on the book")


def test_no_report_shows_a_borrowers_row(profile: Any, integrity: Any, split: Any, evaluation: Any) -> None:
    """Amounts of repeated, contradictory, outlying and leaked rows are in none of the four pages."""
    assert [shown(page) for page in (profile, integrity.html, split.html, evaluation.html)] == [set()] * 4


@pytest.mark.filterwarnings("ignore")  # deepchecks warns of itself, and here it runs without this package
def test_the_planted_rows_are_what_deepchecks_would_show(planted: Any, halves: Any) -> None:
    """Deepchecks' own reports print the amounts, so that their absence from this package's tells something."""
    # Here, not above: deepchecks' telemetry is off once the package's module is imported.
    from deepchecks.tabular import Dataset, checks  # noqa: PLC0415

    book, training, test = (
        Dataset(table.astype(dict.fromkeys(CATEGORICAL, object)), label=LABEL, cat_features=CATEGORICAL)
        for table in (planted, *halves)
    )
    results = [check().run(book) for check in (checks.DataDuplicates, checks.ConflictingLabels)]
    results.append(checks.OutlierSampleDetection(timeout=0).run(book))
    results.append(checks.TrainTestSamplesMix(n_to_show=20).run(training, test))
    pages = [result.html_serializer.serialize() for result in results]
    assert set().union(*map(shown, pages)) == {REPEATED, CONFLICTING, OUTLYING, LEAKED}


def test_metadata_and_outcomes_hold_no_amount(integrity: Any, split: Any, evaluation: Any) -> None:
    """What goes into the archive's metadata names columns, levels and ratios, not amounts."""
    assert shown(json.dumps([report.store() for report in (integrity, split, evaluation)])) == set()


def test_the_profile_explains_each_field(profile: Any) -> None:
    """The meaning of each field that the table has is in the profile."""
    assert all(text in profile for text in DESCRIPTIONS.values())


def test_the_profile_keeps_statistics_and_levels(profile: Any) -> None:
    """A column's range, quantiles and histogram, and how many loans hold each level, are aggregates and stay."""
    assert all(text in profile for text in ("95-th percentile", "Maximum", "99999.5", "Histogram", "MORTGAGE"))


def test_the_profile_has_no_list_of_values(profile: Any) -> None:
    """Samples, duplicates, extreme values and a number's common values have no section."""
    assert not re.search(r"1st row|Extreme values|Common values|Duplicate rows|First rows", profile)


def test_reports_load_nothing_from_a_network(profile: Any, integrity: Any, split: Any, evaluation: Any) -> None:
    """Each page is whole: scripts, styles and pictures stand in it."""
    loads = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//", re.IGNORECASE)
    assert not [page for page in (profile, integrity.html, split.html, evaluation.html) if loads.search(page)]


def test_figures_of_aggregates_remain(split: Any, evaluation: Any) -> None:
    """Withholding rows leaves the figures that a risk officer reads."""
    assert "Drift Score" in split.html
    assert all(text in evaluation.html for text in ("Receiver Operating Characteristic", "brier", "Plotly.newPlot"))


def test_withheld_details_are_said_to_be_withheld(integrity: Any) -> None:
    """A reader learns that a check found rows which the report does not show."""
    assert "This report has aggregates only" in integrity.html


def test_sound_data_passes() -> None:
    """A book without repeated or contradictory rows passes those conditions."""
    report = check_data_integrity(loan_book(3).drop(columns="home_ownership"), ["term"])
    assert status(report, "Data Duplicates") == status(report, "Conflicting Labels") == {"passed"}


def test_conflicting_labels_fail(integrity: Any) -> None:
    """Equal loans with different labels fail their condition, with the ratio in its details."""
    assert status(integrity, "Conflicting Labels") == {"failed"}
    assert any("%" in outcome.details for outcome in integrity.failed if outcome.check == "Conflicting Labels")


def test_many_duplicates_are_reported() -> None:
    """A book of which a tenth is repeated does not pass the duplicates condition."""
    loans = loan_book(4, rows=600)
    report = check_data_integrity(pd.concat([loans, loans.head(60)], ignore_index=True), CATEGORICAL)
    assert "Data Duplicates" in {outcome.check for outcome in report.failed}


def test_a_leaky_split_fails() -> None:
    """Test loans that are in the training table too fail the split."""
    loans = loan_book(5, rows=600)
    report = check_split(loans, loans.tail(150), CATEGORICAL)
    assert status(report, "Train Test Samples Mix") == {"failed"}


def test_a_sound_split_passes() -> None:
    """Two tables drawn from one book without overlap pass every condition."""
    training, test = train_test_split(loan_book(6), test_size=0.4, random_state=0)
    assert check_split(training, test, CATEGORICAL).failed == ()


def test_a_model_without_skill_fails(unskilled: Any) -> None:
    """A model of shuffled labels fails the comparison with chance."""
    assert status(unskilled, "ROC Report - Test Dataset") == {"failed"}


def test_no_curve_has_a_point_for_each_loan(unskilled: Any) -> None:
    """Curves are thinned: the ROC curve would hold nearly as many points as there are scores."""
    lists = re.findall(r'"[xy]":\[([^\]]*)\]', unskilled.html)
    assert max(points.count(",") + 1 for points in lists) == MAX_POINTS


def test_a_check_that_breaks_is_an_error_without_its_text(halves: Any, model: Any) -> None:
    """An exception's text may quote a loan, so only its type is reported."""

    class Broken(LGBMClassifier):
        def predict_proba(self, *_: Any, **__: Any) -> Any:
            raise ValueError(f"cannot score {REPEATED}.246801")

    broken = copy.copy(model)
    broken.__class__ = Broken
    training, test = halves
    report = check_model(training, test, CATEGORICAL, broken)
    errors = [outcome.details for outcome in report.failed if outcome.status == "error"]
    assert errors
    assert all(re.fullmatch(r"The check stopped with \w+\.", text) for text in errors)
    assert shown(report.html + str(errors)) == set()


def test_outcomes_repeat(planted: Any, integrity: Any) -> None:
    """The same table gives the same outcomes, sampled checks included."""
    assert check_data_integrity(planted, CATEGORICAL).outcomes == integrity.outcomes


def test_metadata_is_json_with_counts_and_conditions(integrity: Any) -> None:
    """The metadata survives JSON, counts every outcome, and tells each condition."""
    metadata = integrity.store()
    assert json.loads(json.dumps(metadata)) == metadata
    assert metadata["suite"] == "Data Integrity Suite"
    assert metadata["passed"] == len(integrity.passed)
    assert metadata["failed"] + metadata["warning"] + metadata["error"] == len(integrity.failed)
    fields = {"check", "condition", "status", "details"}
    assert [set(entry) for entry in metadata["conditions"]] == [
        fields if outcome.status == "passed" else fields | {"reason"} for outcome in integrity.outcomes
    ]


def test_every_check_runs(integrity: Any, split: Any, evaluation: Any) -> None:
    """Checks that cannot apply to loans are left out, so that an error is one."""
    outcomes = [*integrity.outcomes, *split.outcomes, *evaluation.outcomes]
    assert [outcome for outcome in outcomes if outcome.status == "error"] == []


@pytest.mark.parametrize(
    "report",
    [
        lambda loans: profile_loans(loans, {}, "Loans"),
        lambda loans: check_data_integrity(loans, CATEGORICAL),
        lambda loans: check_split(loans, loans, CATEGORICAL),
        lambda loans: check_model(loans, loans, CATEGORICAL, None),
    ],
    ids=["profile", "integrity", "split", "model"],
)
def test_free_text_is_refused(report: Any) -> None:
    """A column of borrowers' own words would be quoted by the reports, so no report is made of it."""
    loans = loan_book(7, rows=100)
    loans["employer"] = [f"employer {number}" for number in range(len(loans))]
    with pytest.raises(DataError, match=r"column 'employer' has 100 different texts.*Drop the column"):
        report(loans)


def test_reports_are_quiet_and_leave_no_file(capfd: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """Nothing is printed, no progress bar drawn, no file left in the working directory, no table changed."""
    monkeypatch.chdir(tmp_path)
    loans = loan_book(8, rows=300)
    untouched = loans.copy()
    profile_loans(loans, {}, "Loans")
    check_data_integrity(loans, CATEGORICAL)
    check_split(loans.head(200), loans.tail(100), CATEGORICAL)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    pd.testing.assert_frame_equal(loans, untouched)


def test_failed_checks_are_explained(integrity: Any) -> None:
    """Every condition that did not pass is shown, with a reason why that is acceptable, or with a call to look."""
    shown_table = integrity.table()
    assert len(shown_table) == len(integrity.failed) > 0
    assert shown_table["why that is acceptable"].str.len().min() > 0
    failed = [outcome for outcome in integrity.failed if outcome.status == "failed" and outcome.reason == NOT_KNOWN]
    assert len(integrity.unexplained) == len(failed) > 0


def test_reason_is_given_for_the_known_outcome_only() -> None:
    """A reason holds for one check on one data set with one status; the same check elsewhere is not excused."""
    outcome = CheckOutcome("model_evaluation", "Weak Segments Performance - Train Dataset", "", "error", "")
    assert "too few errors" in outcome.reason
    changes: tuple[dict[str, Any], ...] = ({"check": "Weak Segments Performance - Test Dataset"}, {"status": "failed"})
    for change in changes:
        assert dataclasses.replace(outcome, **change).reason == NOT_KNOWN
