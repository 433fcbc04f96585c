"""Loans, counted into the bins of a reference."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from threading import Lock
from typing import Any

from credit_risk_model.drift.reference import FIELDS, Reference
from credit_risk_model.schema_types import Level
from credit_risk_model.schemas import CreditRiskModelInput

_COUNTED_TOGETHER = 128  # a quarter of a millisecond


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
        self._of_loan = [bins.feature for bins in reference.bins if bins.feature in FIELDS]
        self._get = attrgetter(*(f"{name}.code" if FIELDS[name].levels else name for name in self._of_loan))
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
