"""Counts of loans in the bins of a reference."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from threading import Lock
from typing import Any

from credit_risk_model.drift.reference import FIELDS, Reference
from credit_risk_model.schema_types import Level
from credit_risk_model.schemas import CreditRiskModelInput

_BATCH_SIZE = 128  # takes a quarter of a millisecond


@dataclass(frozen=True, slots=True)
class Counted:
    """Loan counts by bin.

    Attributes:
        counts: Number of loans by bin, for each of a reference's `bins`; None if a feature was not counted.
        total: Sum of the loans' probabilities.
        loans: Number of loans.
    """

    counts: Sequence[Sequence[int] | None]
    total: float
    loans: int

    @property
    def mean(self) -> float:
        """Mean probability of the loans."""
        return self.total / self.loans

    def __add__(self, other: "Counted") -> "Counted":
        """Add two counts; both must use the bins of one reference, and the same features."""
        counts = [
            None if ours is None or theirs is None else [one + two for one, two in zip(ours, theirs, strict=True)]
            for ours, theirs in zip(self.counts, other.counts, strict=True)
        ]
        return Counted(counts, self.total + other.total, self.loans + other.loans)


Counts = dict[str, Counted]
"""Counts by age, `known` or `unknown`."""


class LoanCount:
    """Counts loans in the bins of a reference; thread-safe.

    Attributes:
        reference: The reference with the bins.
    """

    def __init__(self, reference: Reference) -> None:
        """Create empty counts."""
        self.reference = reference
        self._counts = [[0] * len(bins.shares) for bins in reference.bins]
        self._total = 0.0
        self._field_names = [bins.feature for bins in reference.bins if bins.feature in FIELDS]
        self._get = attrgetter(*(f"{name}.code" if FIELDS[name].levels else name for name in self._field_names))
        self._waiting: list[tuple[CreditRiskModelInput, float]] = []
        self._lock = Lock()

    def add(self, loan: CreditRiskModelInput, probability: float) -> None:
        """Queue a loan and count it in a batch: counting single loans between requests costs three times as much."""
        with self._lock:
            self._waiting.append((loan, probability))
            if len(self._waiting) >= _BATCH_SIZE:
                self._count()

    def _count(self) -> None:
        """Count the queued loans; called with the lock held."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        loans, probabilities = zip(*waiting, strict=True)
        fields = zip(*map(self._read_fields, loans), strict=True)
        scores = [probabilities] * (len(self._counts) - len(self._field_names))
        for bins, counts, values in zip(self.reference.bins, self._counts, [*fields, *scores], strict=True):
            try:
                found = Counter(map(bins.place_known, values))
            except (KeyError, TypeError):  # a null is not in `place_known`
                found = Counter(map(bins.place, values))
            for place, number in found.items():
                counts[place] += number
        self._total += sum(probabilities)

    def _read_fields(self, loan: CreditRiskModelInput) -> tuple[float | None, ...]:
        try:
            found: tuple[float | None, ...] = self._get(loan)
        except AttributeError:  # a null has no code
            found = tuple(_value(loan, name) for name in self._field_names)
        return found

    def read(self) -> Counted:
        """Return a consistent snapshot of the counts."""
        with self._lock:
            self._count()
            return Counted([list(counts) for counts in self._counts], self._total, sum(self._counts[0]))


def _value(loan: CreditRiskModelInput, name: str) -> float | None:
    value: Any = getattr(loan, name)
    found: float | None = value.code if isinstance(value, Level) else value
    return found
