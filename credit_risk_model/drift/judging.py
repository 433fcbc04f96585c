"""Whether counted loans are others than the reference's: by a statistic, and by how large chance makes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

from credit_risk_model.drift.counting import Counted, Counts
from credit_risk_model.drift.reference import MEAN, SCORE, ZONE, Reference

OF_SCORE = (SCORE, ZONE, MEAN)
"""What is judged of the probability; all else is a field."""
Z_OF_SCORE, Z_OF_FIELDS = 2.8, 4.0
"""A test finds drift beyond the normal distribution's quantile; docs/drift.md has the error rates that follow.

There are 14 or more tests of fields and three of the probability, whose reference has fewer loans: so each field needs
stronger evidence.
"""
MIN_LOANS_FOR_MEAN = 2000
"""Few of a book's loans are risky, and the mean of few loans hangs on how many of them are among these."""
MIN_EXPECTED = 20
"""Loans that the reference expects in the smallest bin; with fewer the statistic has another distribution."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a test found of one feature.

    Attributes:
        loans: Number of loans that were counted.
        statistic: The chi-square statistic of the bins, or the squared distance of the means in standard errors.
        threshold: The statistic from which on it is drift.
        psi: The population stability index, which says how much, not whether; None for the mean.
        judged: Whether there were loans enough.
    """

    feature: str
    loans: int
    statistic: float
    threshold: float
    psi: float | None
    judged: bool

    @property
    def drifted(self) -> bool:
        """Whether the loans are others than the reference's."""
        return self.judged and self.statistic > self.threshold

    def describe(self, age: str) -> dict[str, Any]:
        """Describe it as JSON and pages have it, with the age of the loans: `known` or `unknown`."""
        return {
            "feature": self.feature,
            "age": age,
            "loans": self.loans,
            "psi": self.psi,
            "statistic": self.statistic,
            "threshold": self.threshold,
            "drifted": self.drifted if self.judged else "too few loans",
        }


def compare(
    references: Sequence[Reference], counts: Counts, against: Counts | None = None
) -> list[tuple[Reference, list[Finding]]]:
    """Judge counts by the archive's references, or against others; only ages of which there are loans."""
    compared = []
    for reference in references:
        counted, others = counts.get(reference.age), None if against is None else against.get(reference.age)
        if counted and counted.loans and (against is None or (others and others.loans)):
            compared.append((reference, judge(reference, counted, others)))
    return compared


def judge(reference: Reference, counted: Counted, against: Counted | None = None) -> list[Finding]:
    """Compare counted loans with a reference, feature by feature.

    Args:
        reference: Whose bins they were counted into.
        counted: The loans.
        against: Other loans to compare with; None for those of the reference.
    """
    findings = []
    for place, (bins, counts) in enumerate(zip(reference.bins, counted.counts, strict=True)):
        if counts is None:
            continue
        loans, others = sum(counts), None if against is None else against.counts[place]
        expected = [share * bins.loans for share in bins.shares] if others is None else others
        fewest = loans if others is None else min(loans, sum(others))
        findings.append(
            Finding(
                feature=bins.feature,
                loans=loans,
                statistic=chi_square(counts, expected),
                threshold=chi_square_threshold(len(bins.shares), normal_quantile(bins.feature)),
                psi=stability_index(counts, bins.shares if others is None else smoothed_shares(others)),
                judged=fewest * min(bins.shares) >= MIN_EXPECTED,
            )
        )
    mean, others_number = (reference.mean, reference.scored) if against is None else (against.mean, against.loans)
    found = counted.loans and others_number
    distance = (counted.mean - mean) / reference.deviation if found else 0.0
    findings.append(
        Finding(
            feature=MEAN,
            loans=counted.loans,
            statistic=distance**2 / (1 / counted.loans + 1 / others_number) if found else 0.0,
            threshold=normal_quantile(MEAN) ** 2,
            psi=None,
            judged=(counted.loans if against is None else min(counted.loans, against.loans)) >= MIN_LOANS_FOR_MEAN,
        )
    )
    return findings


def chi_square(counts: Sequence[float], others: Sequence[float]) -> float:
    """Compute Pearson's chi-square statistic of homogeneity of two samples' counts by bin; 0 where one is empty."""
    loans, of_others = sum(counts), sum(others)
    if not loans or not of_others:
        return 0.0
    terms = (
        (count / loans - other / of_others) ** 2 / (count + other)
        for count, other in zip(counts, others, strict=True)
        if count + other
    )
    return loans * of_others * sum(terms)


def normal_quantile(feature: str) -> float:
    """Give the normal distribution's quantile beyond which a test of the feature finds drift."""
    return Z_OF_SCORE if feature in OF_SCORE else Z_OF_FIELDS


def chi_square_threshold(bins: int, z: float) -> float:
    """Approximate the chi-square quantile at the normal quantile `z`, as Wilson and Hilferty do (PNAS 17, 1931)."""
    spread = 2 / (9 * (bins - 1))
    return float((bins - 1) * (1 - spread + z * sqrt(spread)) ** 3)


def smoothed_shares(counts: Sequence[int]) -> list[float]:
    """Compute each bin's share; half a loan is added to each, so that none is empty."""
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]


def stability_index(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Compute the population stability index of counts, with half a loan added to each bin, against shares above 0."""
    pairs = zip(smoothed_shares(counts), shares, strict=True)
    return sum((share - expected) * log(share / expected) for share, expected in pairs)
