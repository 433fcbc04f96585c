"""How far the loans that are asked for are from those of the training: the bins, and what follows from their counts.

Training puts the bins into the archive, with the share of its own loans in each. The service counts the loans that it
answers into the same bins. Prometheus' rules and `python -m credit_risk_model.monitoring drift` judge such counts by
the same statistic.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from math import log, sqrt
from operator import attrgetter
from threading import Lock
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from credit_risk_model.features import AGE, CONTRACT_FEATURES
from credit_risk_model.schemas import CreditRiskModelInput, Level

SCORE = "risk_probability"
ZONE = "cut_off_zone"
"""Second bins of the probability: below, near and above the archive's cut-off."""
Z = 3.7
"""A test finds drift beyond the normal distribution's quantile: docs/drift.md has the error rates that follow."""
MEAN = "mean_risk_probability"
MIN_LOANS_FOR_MEAN = 2000
"""Few of a book's loans are risky, and the mean of few loans hangs on how many of them are among these."""
MIN_EXPECTED = 20
"""Loans that the reference expects in the smallest bin; with fewer the statistic has another distribution."""

_COUNTED_TOGETHER = 128  # a quarter of a millisecond
_MAX_NAMED = 3  # levels in a bin's name
_FIELDS = {feature.name: feature for feature in CONTRACT_FEATURES}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Bins(_Record):
    """The bins of one field or of the probability, with the reference's share of each."""

    feature: str
    edges: tuple[float, ...] = Field(
        description="Upper ends of the bins but the last, each within its bin; empty for a category."
    )
    levels: tuple[tuple[str, ...], ...] = Field(description="The levels of each bin; empty for a number.")
    missing: int | None = Field(description="The bin of loans whose value is null; None where it can't be null.")
    shares: tuple[float, ...] = Field(description="Share of the reference's loans in each bin.")
    loans: int = Field(ge=1, description="Number of the reference's loans.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        field = _FIELDS.get(self.feature)
        if field is None and self.feature not in (SCORE, ZONE):
            raise ValueError(f"{self.feature[:80]} is no field of the contract")
        of_values = len(self.levels) if field is not None and field.levels else len(self.edges) + 1
        if len(self.shares) < 2 or len(self.shares) != of_values + (not self.levels and self.missing == of_values):
            raise ValueError(f"the shares of {self.feature} are not those of its bins")
        named = [level for levels in self.levels for level in levels]
        if sorted(named) != sorted(field.levels if field is not None else ()):
            raise ValueError(f"the levels of {self.feature} are not the contract's")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"the edges of {self.feature} do not rise")
        nullable = field is not None and field.nullable and self.feature != AGE
        if nullable != (self.missing is not None) or (nullable and not 0 <= (self.missing or 0) < len(self.shares)):
            raise ValueError(f"{self.feature} has no bin for null, or one that can't be")
        if min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"the shares of {self.feature} are not above 0, or don't add up to 1")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each bin holds, in words."""
        if self.levels:
            names = [_name_levels(levels) for levels in self.levels]
        elif self.feature == ZONE:
            names = ["below", "near", "above"]
        else:
            ends = [f"{edge:.6g}" for edge in self.edges]
            names = [f"up to {ends[0]}", *(f"over {low} to {high}" for low, high in pairwise(ends))]
            names.append(f"over {ends[-1]}")
        if self.missing == len(names):  # numbers only: of levels it is one of theirs
            return (*names, "missing")
        if self.missing is not None:
            names[self.missing] = f"{names[self.missing]} or missing" if names[self.missing] else "missing"
        return tuple(names)

    @cached_property
    def place_known(self) -> Callable[[Any], int]:
        """What finds the bin of a number or of a level's code: a call of C, since every loan needs many."""
        if not self.levels:
            return partial(bisect_left, self.edges)
        order = _FIELDS[self.feature].levels
        codes = {float(order.index(level)): place for place, levels in enumerate(self.levels) for level in levels}
        return codes.__getitem__

    def place(self, value: float | None) -> int:
        """Find the bin of a number, of a level's code, or of None."""
        if value is None and self.missing is not None:
            return self.missing
        return self.place_known(value)

    def count_values(self, values: Any) -> list[int]:
        """Count an array of values by bin: numbers, codes of levels, NaN where the value is null."""
        import numpy as np  # noqa: PLC0415  # whoever has an array has NumPy, the service has neither

        missing = np.count_nonzero(np.isnan(values))
        if self.levels:
            by_code = np.bincount(values[~np.isnan(values)].astype(np.intp)).tolist()
            counts = [0] * len(self.shares)
            for code, count in enumerate(by_code):
                counts[self.place_known(float(code))] += count
        else:
            # Comparing with each of the few edges is ten times as fast as finding the place of each value.
            above = [len(values) - missing, *(np.count_nonzero(values > edge) for edge in self.edges), 0]
            counts = [more - fewer for more, fewer in pairwise(above)]
            counts += [0] * (len(self.shares) - len(counts))
        if self.missing is not None:
            counts[self.missing] += missing
        return [int(count) for count in counts]


def _name_levels(levels: Sequence[str]) -> str:
    return " or ".join(map(str.strip, levels)) if len(levels) <= _MAX_NAMED else f"{len(levels)} rare levels"


class Reference(_Record):
    """What the training's loans looked like, those with or those without age."""

    age: Literal["known", "unknown"]
    population: Literal["running", "all"] = Field(description="Which of the training's loans were taken.")
    bins: tuple[Bins, ...] = Field(
        description="Of fields, then of the probability; a field that hardly varies has none."
    )
    mean: float = Field(description="Mean probability.")
    deviation: float = Field(gt=0, description="Standard deviation of the probability.")
    scored: int = Field(ge=2, description="Number of loans that mean and deviation are of.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [bins.feature for bins in self.bins]
        fields = [name for name in named if name in _FIELDS]
        if named[: len(fields)] != fields or len(set(named)) != len(named) or len(fields) < 2:
            raise ValueError("the bins are not those of two fields or more, and of the probability after them")
        return self


@dataclass(frozen=True, slots=True)
class Counted:
    """Loans by bin.

    Attributes:
        counts: Number of loans by bin, for each of a reference's `bins`; None where a feature was not counted.
        total: Sum of their probabilities.
        loans: Their number.
    """

    counts: Sequence[Sequence[int] | None]
    total: float
    loans: int

    @property
    def mean(self) -> float:
        """Their mean probability."""
        return self.total / self.loans

    def __add__(self, other: "Counted") -> "Counted":
        """Count both's loans together; both are in the bins of one reference, and of the same features."""
        counts = [
            None if ours is None or theirs is None else [one + two for one, two in zip(ours, theirs, strict=True)]
            for ours, theirs in zip(self.counts, other.counts, strict=True)
        ]
        return Counted(counts, self.total + other.total, self.loans + other.loans)


Counts = dict[str, Counted]
"""By age, `known` or `unknown`."""


class LoanCount:
    """Counts loans into the bins of a reference; safe to add to from any thread.

    Attributes:
        reference: Whose bins they are.
    """

    def __init__(self, reference: Reference) -> None:
        """Begin with nothing counted."""
        self.reference = reference
        self._counts = [[0] * len(bins.shares) for bins in reference.bins]
        self._total = 0.0
        self._of_loan = [bins.feature for bins in reference.bins if bins.feature in _FIELDS]
        self._get = attrgetter(*(f"{name}.code" if _FIELDS[name].levels else name for name in self._of_loan))
        self._waiting: list[tuple[CreditRiskModelInput, float]] = []
        self._lock = Lock()

    def add(self, loan: CreditRiskModelInput, probability: float) -> None:
        """Count a loan, together with some others: between the requests of a service one by one costs three times."""
        with self._lock:
            self._waiting.append((loan, probability))
            if len(self._waiting) >= _COUNTED_TOGETHER:
                self._count()

    def _count(self) -> None:
        """Count what waits; called with the lock held."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        loans, probabilities = zip(*waiting, strict=True)
        fields = zip(*map(self._read_fields, loans), strict=True)
        scores = [probabilities] * (len(self._counts) - len(self._of_loan))
        for bins, counts, values in zip(self.reference.bins, self._counts, [*fields, *scores], strict=True):
            try:
                found = Counter(map(bins.place_known, values))
            except (KeyError, TypeError):  # a null lies nowhere
                found = Counter(map(bins.place, values))
            for place, number in found.items():
                counts[place] += number
        self._total += sum(probabilities)

    def _read_fields(self, loan: CreditRiskModelInput) -> tuple[float | None, ...]:
        try:
            found: tuple[float | None, ...] = self._get(loan)
        except AttributeError:  # a null has no code
            found = tuple(_value(loan, name) for name in self._of_loan)
        return found

    def read(self) -> Counted:
        """Read what is counted, as it stands together."""
        with self._lock:
            self._count()
            return Counted([list(counts) for counts in self._counts], self._total, sum(self._counts[0]))


def _value(loan: CreditRiskModelInput, name: str) -> float | None:
    value: Any = getattr(loan, name)
    found: float | None = value.code if isinstance(value, Level) else value
    return found


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


def judge(reference: Reference, counted: Counted, against: Counted | None = None, z: float = Z) -> list[Finding]:
    """Compare counted loans with a reference, feature by feature.

    Args:
        reference: Whose bins they were counted into.
        counted: The loans.
        against: Other loans to compare with; None for those of the reference.
        z: Quantile of the normal distribution beyond which it is drift.
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
                threshold=chi_square_threshold(len(bins.shares), z),
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
            threshold=z**2,
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


def chi_square_threshold(bins: int, z: float = Z) -> float:
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
