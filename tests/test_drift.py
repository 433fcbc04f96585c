"""Loans are counted into an archive's bins, and judged by how likely their counts are."""

import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from credit_risk_model import archive
from credit_risk_model.drift.counting import Counted, LoanCount
from credit_risk_model.drift.judging import (
    MIN_LOANS_FOR_MEAN,
    Z_OF_FIELDS,
    Z_OF_SCORE,
    chi_square,
    chi_square_threshold,
    compare,
    judge,
    smoothed_shares,
    stability_index,
)
from credit_risk_model.drift.reference import MEAN, SCORE, Bins, Reference
from credit_risk_model.errors import ModelArchiveError
from credit_risk_model.examples import EXAMPLE_LOAN
from credit_risk_model.schemas import CreditRiskModelInput

AMOUNTS: dict[str, Any] = {
    "feature": "loan_amount",
    "edges": [5000.0, 12000.0],
    "levels": [],
    "missing": None,
    "shares": [0.25, 0.25, 0.5],
    "loans": 1000,
}
LENGTHS: dict[str, Any] = {
    "feature": "employment_length",
    "edges": [],
    "levels": [
        ["10+ years"],
        ["< 1 year", "1 year"],
        ["2 years", "3 years", "4 years", "5 years", "6 years", "7 years", "8 years", "9 years"],
    ],
    "missing": 2,
    "shares": [0.4, 0.3, 0.3],
    "loans": 1000,
}
RATIOS: dict[str, Any] = {
    "feature": "debt_to_income_ratio",
    "edges": [17.2],
    "levels": [],
    "missing": 2,
    "shares": [0.4, 0.5, 0.1],
    "loans": 1000,
}
SCORES: dict[str, Any] = {**AMOUNTS, "feature": SCORE, "edges": [0.1, 0.2]}
REFERENCE: dict[str, Any] = {
    "age": "known",
    "population": "running",
    "bins": [AMOUNTS, LENGTHS, RATIOS, SCORES],
    "mean": 0.15,
    "deviation": 0.1,
    "scored": 1000,
}


def make_reference(**changes: Any) -> Reference:
    """A reference of four features, changed."""
    return Reference.model_validate_json(json.dumps({**REFERENCE, **changes}))


def counts_of(count: LoanCount) -> list[list[int] | None]:
    """The counts as lists."""
    return [None if counts is None else list(counts) for counts in count.read().counts]


def test_loans_are_counted_into_the_bins_of_their_values() -> None:
    """A value at a bin's upper end belongs to it; levels and nulls have the bins that the reference names."""
    count = LoanCount(make_reference())
    loans: list[tuple[dict[str, Any], float]] = [
        ({}, 0.1),
        ({"loan_amount": 12001, "employment_length": "10+ years", "debt_to_income_ratio": 17.3}, 0.11),
        ({"loan_amount": 500, "employment_length": None, "debt_to_income_ratio": None}, 0.2),
        ({"loan_amount": 5000, "employment_length": "< 1 year", "debt_to_income_ratio": None}, 1.0),
    ]
    for changes, probability in loans:
        count.add(CreditRiskModelInput.model_validate(EXAMPLE_LOAN | changes), probability)
    assert counts_of(count) == [[2, 1, 1], [1, 1, 2], [1, 1, 2], [1, 2, 1]]
    counted = count.read()
    assert counted.loans == 4
    assert counted.total == pytest.approx(1.41)


def test_bins_are_named_by_what_they_hold() -> None:
    """A bin's name says its values, and whether nulls are among them."""
    amounts, lengths, ratios, _ = make_reference().bins
    assert amounts.names == ("up to 5000", "over 5000 to 12000", "over 12000")
    assert lengths.names == ("10+ years", "< 1 year or 1 year", "8 rare levels or missing")
    assert ratios.names == ("up to 17.2", "over 17.2", "missing")


def test_arrays_are_counted_as_loans_are(archive_path: Any) -> None:
    """Counting an array of values gives what counting loan by loan gives, nulls and ends of bins among them."""
    found = archive.read(archive_path)
    for reference in found.metadata.reference:
        count = LoanCount(reference)
        loans = [
            example.loan
            for example in found.golden
            if (example.loan.instalments_due is None) == (reference.age == "unknown")
        ]
        edges = np.array([edge for bins in reference.bins if bins.feature == SCORE for edge in bins.edges])
        scores = np.resize([*edges, 0.0, 1.0], len(loans))
        for loan, score in zip(loans, scores.tolist(), strict=True):
            count.add(loan, score)
        for bins, counts in zip(reference.bins, count.read().counts, strict=True):
            values = [getattr(loan, bins.feature, score) for loan, score in zip(loans, scores.tolist(), strict=True)]
            numbers = [np.nan if value is None else getattr(value, "code", value) for value in values]
            assert bins.count_values(np.array(numbers, dtype=float)) == counts, bins.feature


def test_statistic_is_that_of_scipy() -> None:
    """The statistic is Pearson's of a table of two samples; its threshold is the chi-square quantile, or just above."""
    rng = np.random.default_rng(0)
    for bins, z in itertools.product(range(2, 11), (Z_OF_SCORE, Z_OF_FIELDS)):
        found, others = rng.integers(20, 200, (2, bins)).tolist()
        expected = stats.chi2_contingency([found, others], correction=False).statistic
        assert chi_square(found, others) == pytest.approx(expected)
        quantile = stats.chi2.isf(stats.norm.sf(z), bins - 1)
        assert 1 <= chi_square_threshold(bins, z) / quantile < 1.1
    assert chi_square([10, 0, 0], [10, 0, 0]) == 0
    assert chi_square([10, 20], [10, 40]) == pytest.approx(
        stats.chi2_contingency([[10, 20], [10, 40]], correction=False).statistic
    )
    assert chi_square([0, 0], [1, 2]) == 0


def test_stability_index_is_the_usual_one() -> None:
    """PSI is the sum over bins of the shares' difference times the logarithm of their ratio, and always finite."""
    shares = [0.5, 0.3, 0.2]
    expected = sum((p - r) * np.log(p / r) for p, r in zip(smoothed_shares([60, 30, 10]), shares, strict=True))
    assert stability_index([60, 30, 10], shares) == pytest.approx(expected)
    assert stability_index([60, 30, 10], shares) == pytest.approx(0.0875, abs=0.01)
    assert np.isfinite(stability_index([100, 0, 0], shares))
    assert smoothed_shares([0, 3]) == [0.125, 0.875]


def test_same_loans_are_no_drift_and_others_are() -> None:
    """Counts in the reference's shares are silent at any size; a feature whose shares moved is found, and only it."""
    reference = make_reference()
    like = [[250, 250, 500], [400, 300, 300], [400, 500, 100], [250, 250, 500]]
    for factor in (1, 100):
        counts = [[number * factor for number in numbers] for numbers in like]
        assert not any(one.drifted for one in judge(reference, Counted(counts, 150 * factor, 1000 * factor)))
    moved = [like[0], [300, 400, 300], *like[2:]]
    found = judge(reference, Counted(moved, 150, 1000))
    assert [one.feature for one in found if one.drifted] == ["employment_length"]


def test_probability_needs_less_evidence_than_one_of_many_fields() -> None:
    """The same counts between both thresholds are drift of the probability, and none of a field."""
    reference = make_reference()
    counts = [322, 250, 428]
    statistic = chi_square(counts, [250, 250, 500])
    assert chi_square_threshold(3, Z_OF_SCORE) < statistic < chi_square_threshold(3, Z_OF_FIELDS)
    found = judge(reference, Counted([counts, None, None, counts], 150, 1000))
    assert [one.feature for one in found if one.drifted] == [SCORE]


def test_loans_are_compared_with_other_loans_where_these_are_given() -> None:
    """Statistic, PSI, mean and the number that must suffice are then those of both, not of the reference."""
    reference = make_reference()
    ours = Counted([[30, 30, 40], None, None, [1000, 1000, 2000]], 600.0, 4000)
    theirs = Counted([[300, 300, 400], None, None, [990, 1010, 2000]], 640.0, 4000)
    amounts, scores, mean = judge(reference, ours, theirs)
    assert (amounts.loans, scores.loans, mean.loans) == (100, 4000, 4000)
    assert amounts.statistic == 0
    assert scores.statistic == pytest.approx(chi_square([1000, 1000, 2000], [990, 1010, 2000]))
    assert amounts.psi == pytest.approx(stability_index([30, 30, 40], smoothed_shares([300, 300, 400])))
    assert mean.statistic == pytest.approx((0.01 / 0.1) ** 2 / (2 / 4000))
    assert (scores.judged, mean.judged, mean.drifted) == (True, True, True)
    few = Counted([[20, 20, 39], None, None, [20, 20, 39]], 12.0, 79)
    assert [one.judged for one in judge(reference, few, theirs)] == [False] * 3
    assert [one.judged for one in judge(reference, theirs, few)] == [False] * 3
    enough = Counted([[20, 20, 40], None, None, [20, 20, 40]], 12.0, 80)
    assert [one.judged for one in judge(reference, theirs, enough)] == [True, True, False]


def test_reference_is_the_other_side_where_no_loans_are_given() -> None:
    """The statistic is then of the loans and of the reference's own number of loans in each bin."""
    reference = make_reference()
    amounts, mean = judge(reference, Counted([[300, 250, 450], None, None, None], 170.0, 1000))
    assert amounts.statistic == pytest.approx(chi_square([300, 250, 450], [250, 250, 500]))
    assert amounts.psi == pytest.approx(stability_index([300, 250, 450], [0.25, 0.25, 0.5]))
    assert (amounts.loans, mean.loans, mean.psi) == (1000, 1000, None)
    assert mean.statistic == pytest.approx((0.02 / 0.1) ** 2 / (2 / 1000))
    *_, of_none = judge(reference, Counted([None] * 4, 0.0, 0))
    assert (of_none.statistic, of_none.loans) == (0, 0)


def test_only_ages_of_which_there_are_loans_are_compared() -> None:
    """An age without loans on a side that is compared is left out; else each reference comes with its findings."""
    known, unknown = make_reference(), make_reference(age="unknown")
    some, none = Counted([[1, 1, 2], None, None, None], 0.5, 4), Counted([[0, 0, 0], None, None, None], 0.0, 0)
    both = compare([known, unknown], {"known": some, "unknown": some})
    assert [(reference.age, findings) for reference, findings in both] == [
        ("known", judge(known, some)),
        ("unknown", judge(unknown, some)),
    ]
    assert [reference.age for reference, _ in compare([known, unknown], {"known": none, "unknown": some})] == [
        "unknown"
    ]
    assert compare([known, unknown], {}) == []
    ((reference, findings),) = compare([known, unknown], {"known": some, "unknown": some}, {"unknown": some})
    assert (reference.age, findings) == ("unknown", judge(unknown, some, some))
    assert compare([known], {"known": some}, {"known": none}) == []


def test_counts_add_up_where_both_have_them() -> None:
    """Loans, bins and probabilities of two counts are added; what one of them lacks, the sum lacks."""
    both = Counted([[1, 2], [3, 4], None], 0.5, 3) + Counted([[10, 20], None, [5, 5]], 1.25, 30)
    assert both == Counted([[11, 22], None, None], 1.75, 33)
    assert both.mean == 1.75 / 33


@pytest.mark.parametrize("others", [[[1, 2]], [[1, 2], [3]], [[1, 2], [3, 4], [5, 6]]])
def test_counts_of_other_bins_are_not_added(others: list[list[int]]) -> None:
    """Counts of another number of features or bins have another reference, and adding them is an error."""
    with pytest.raises(ValueError, match="zip"):
        Counted([[1, 2], [3, 4]], 0.5, 3) + Counted(others, 0.5, 3)


def test_counting_goes_on_after_reading() -> None:
    """What is read is a copy, and loans that come after it are added to those before."""
    count, loan = LoanCount(make_reference()), CreditRiskModelInput.model_validate(EXAMPLE_LOAN)
    count.add(loan, 0.25)
    before = count.read()
    count.add(loan, 0.5)
    count.add(loan, 0.05)
    assert (before.loans, before.total) == (1, 0.25)
    assert count.read().loans == 3
    assert count.read().total == pytest.approx(0.8)
    assert counts_of(count)[3] == [1, 0, 2]


@pytest.mark.parametrize(("loans", "drifted"), [(1000, True), (40, "too few loans")])
def test_finding_is_described_in_json(loans: int, drifted: bool | str) -> None:
    """Whoever reads the output finds the feature, the age, the figures, and whether it drifted or what keeps it."""
    finding, _ = judge(make_reference(), Counted([[loans, 0, 0], None, None, None], 0.0, loans))
    assert finding.describe("known") == {
        "feature": "loan_amount",
        "age": "known",
        "loans": loans,
        "psi": finding.psi,
        "statistic": finding.statistic,
        "threshold": finding.threshold,
        "drifted": drifted,
    }


def test_few_loans_are_not_judged() -> None:
    """Drift is not told of loans so few that the smallest bin expects less than twenty of them."""
    reference = make_reference()
    few = Counted([[0, 0, 199], [199, 0, 0], [0, 0, 199], [0, 0, 199]], 199, 199)
    judged = {one.feature: one.judged for one in judge(reference, few)}
    assert judged == {
        "loan_amount": True,
        "employment_length": True,
        "debt_to_income_ratio": False,
        SCORE: True,
        MEAN: False,
    }
    assert not any(one.drifted for one in judge(reference, few) if not one.judged)
    assert not any(one.judged for one in judge(reference, Counted([[0] * 3] * 4, 0, 0)))


def test_mean_probability_is_judged_by_its_standard_error() -> None:
    """A mean some standard errors away is drift, a nearer one is not; both samples' errors count."""
    reference, loans = make_reference(), MIN_LOANS_FOR_MEAN
    error = 0.1 * (1 / loans + 1 / 1000) ** 0.5
    for errors, drifted in ((Z_OF_SCORE - 0.1, False), (Z_OF_SCORE + 0.1, True), (-Z_OF_SCORE - 0.1, True)):
        total = (0.15 + errors * error) * loans
        *_, mean = judge(reference, Counted([None] * 4, total, loans))
        assert (mean.feature, mean.drifted) == (MEAN, drifted)


def test_undrifted_draws_alarm_as_rarely_as_is_said() -> None:
    """Of draws from the reference's own shares, both sides sampled, fewer than one in a thousand is called drift."""
    rng = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    alarms = 0
    for _ in range(3000):
        reference, loans = rng.multinomial(2200, shares), rng.multinomial(1000, shares)
        alarms += chi_square(loans.tolist(), reference.tolist()) > chi_square_threshold(10, Z_OF_FIELDS)
    assert alarms <= 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"feature": "nickname"}, "not a field of the contract"),
        ({"shares": [0.5, 0.5]}, "loan_amount has shares for a different number of bins"),
        ({"shares": [0.0, 0.5, 0.5]}, "not all above 0"),
        ({"shares": [0.5, 0.5, 0.5]}, "add up to 1"),
        ({"edges": [12000.0, 5000.0]}, "do not increase"),
        ({"missing": 0}, "no bin for null, or an invalid one"),
        ({"levels": [["36"], ["60"], ["9"]]}, "not the contract's"),
        ({"loans": 0}, "greater than or equal to 1"),
    ],
)
def test_bins_that_can_not_be_are_refused(changes: dict[str, Any], words: str) -> None:
    """An archive's bins are as many as their shares, rise, and are of the contract's fields and levels."""
    with pytest.raises(ValidationError, match=words):
        Bins.model_validate_json(json.dumps(AMOUNTS | changes))


def test_reference_without_fields_is_refused() -> None:
    """A reference is of two fields or more, with the probability after them, none of them twice."""
    for bins in ([AMOUNTS, SCORES], [SCORES, AMOUNTS, LENGTHS], [AMOUNTS, AMOUNTS, SCORES]):
        with pytest.raises(ValidationError, match="at least two fields"):
            make_reference(bins=bins)


def test_each_age_has_one_reference(archive_contents: Any, tmp_path: Any) -> None:
    """Two references of the same age are refused, and so is an archive that has them."""
    metadata, files = archive_contents
    ages = Counter(one["age"] for one in metadata["reference"])
    assert ages == {"known": 1, "unknown": 1}
    with pytest.raises(ModelArchiveError, match="two references have the same age"):
        archive.write(tmp_path / "1.zip", {**metadata, "reference": metadata["reference"][:1] * 2}, files)
