"""Drift tests: whether counted loans differ from the reference by more than chance explains."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

from credit_risk_model.drift.counting import Counted, Counts
from credit_risk_model.drift.reference import MEAN, SCORE, ZONE, Reference

OF_SCORE = (SCORE, ZONE, MEAN)
"""Tests of the probability; all others are of fields."""
Z_OF_SCORE, Z_OF_FIELDS = 2.8, 4.0
"""Normal quantile beyond which a test finds drift; docs/drift.md has the resulting error rates.

There are 14 or more tests of fields, and three of the probability, whose reference has fewer loans. So each field needs
stronger evidence.
"""
MIN_LOANS_FOR_MEAN = 2000
"""Few loans of a book are risky, so the mean of a small sample depends on how many of these it has."""
MIN_EXPECTED = 20
"""Loans that the reference expects in the smallest bin; with fewer the statistic has a different distribution."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one feature's test.

    Attributes:
        loans: Number of counted loans.
        statistic: The chi-square statistic of the bins, or the squared distance of the means in standard errors.
        threshold: The statistic above which there is drift.
        psi: The population stability index: the size of a shift, not its significance; None for the mean.
        judged: Whether there were enough loans.
    """

    feature: str
    loans: int
    statistic: float
    threshold: float
    psi: float | None
    judged: bool

    @property
    def drifted(self) -> bool:
        """Whether the loans differ from the reference."""
        return self.judged and self.statistic > self.threshold

    def describe(self, age: str) -> dict[str, Any]:
        """Return the finding for JSON and pages, with the age of the loans: `known` or `unknown`."""
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
    """Compare counts with the archive's references, or with other counts; skip ages without loans."""
    compared = []
    for reference in references:
        counted, others = counts.get(reference.age), None if against is None else against.get(reference.age)
        if counted and counted.loans and (against is None or (others and others.loans)):
            compared.append((reference, judge(reference, counted, others)))
    return compared


def judge(reference: Reference, counted: Counted, against: Counted | None = None) -> list[Finding]:
    """Compare counted loans with a reference, feature by feature.

    Args:
        reference: The reference with the bins of the counts.
        counted: The counted loans.
        against: Other loans to compare with; None for the reference's.
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
    """Compute Pearson's chi-square statistic of homogeneity of two samples' counts by bin; 0 if one is empty."""
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
    """Return the normal quantile beyond which a test of the feature finds drift."""
    return Z_OF_SCORE if feature in OF_SCORE else Z_OF_FIELDS


def chi_square_threshold(bins: int, z: float) -> float:
    """Approximate the chi-square quantile at the normal quantile `z`, as Wilson and Hilferty do (PNAS 17, 1931)."""
    spread = 2 / (9 * (bins - 1))
    return float((bins - 1) * (1 - spread + z * sqrt(spread)) ** 3)


def smoothed_shares(counts: Sequence[int]) -> list[float]:
    """Compute each bin's share, with half a loan added to each so that none is empty."""
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]


def stability_index(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Compute the population stability index against shares above 0, with half a loan added to each bin's count."""
    pairs = zip(smoothed_shares(counts), shares, strict=True)
    return sum((share - expected) * log(share / expected) for share, expected in pairs)
