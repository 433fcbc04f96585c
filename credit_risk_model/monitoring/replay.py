"""Scores a decision log's loans again: to prove what was answered, or to see what another archive would answer.

The latter compares champion and challenger on real loans, without touching traffic.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

from pydantic import ValidationError

from credit_risk_model import archive as archives
from credit_risk_model.archive import Archive
from credit_risk_model.decisions import DecisionLogError
from credit_risk_model.drift.judging import smoothed_shares, stability_index
from credit_risk_model.prediction.model import decide
from credit_risk_model.schemas import CreditRisk, CreditRiskModelInput

_MIN_FOR_PSI = 20
_SEGMENTS = ("model_version", "credit_risk", "term", "age")


@dataclass
class Segment:
    """Decisions that share a property."""

    decisions: int = 0
    flips_to_risky: int = 0
    flips_to_safe: int = 0
    logged: list[float] = field(default_factory=list, repr=False)
    replayed: list[float] = field(default_factory=list, repr=False)

    def add(self, record: dict[str, Any], probability: float, decision: CreditRisk) -> None:
        """Add one decision."""
        self.decisions += 1
        self.flips_to_risky += decision is CreditRisk.RISKY and record["credit_risk"] != "risky"
        self.flips_to_safe += decision is CreditRisk.SAFE and record["credit_risk"] != "safe"
        self.logged.append(record["risk_probability"])
        self.replayed.append(probability)

    def describe(self) -> dict[str, Any]:
        """Return the figures; means and PSI refer to the probabilities."""
        return {
            "decisions": self.decisions,
            "flips_to_risky": self.flips_to_risky,
            "flips_to_safe": self.flips_to_safe,
            "mean_logged": mean(self.logged),
            "mean_replayed": mean(self.replayed),
            "psi": compute_stability_index(self.logged, self.replayed),
        }


@dataclass
class Replayed:
    """The result of replaying a log.

    Attributes:
        differing: Decisions that the same archive did not reproduce: line and both probabilities.
        refused: Number of decisions on loans that the other archive's bounds exclude.
        unknown: Number of decisions by the digest of an archive that is not available.
        segments: Decisions by property and value; `all` has all of them.
    """

    decisions: int = 0
    equal: int = 0
    erased: int = 0
    refused: int = 0
    differing: list[dict[str, Any]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    segments: dict[tuple[str, str], Segment] = field(default_factory=dict)


def prove(records: Iterable[dict[str, Any]], paths: Iterable[Path]) -> Replayed:
    """Compute every probability of a log again, from the archive that it names.

    Args:
        records: The log's decisions.
        paths: Available archives; the log names them by digest.
    """
    found = Replayed()
    known = {archives.sha256(path.read_bytes()): path for path in paths}
    loaded: dict[str, Archive] = {}
    for record in _skip_erased(records, found):
        digest = record["archive_sha256"]
        if digest not in known:
            found.unknown[digest] += 1
            continue
        if digest not in loaded:
            loaded[digest] = archives.read(known[digest], digest)
        probability = loaded[digest].evaluate(read_loan(record, loaded[digest]))
        decision = decide(probability, record["cut_off"])
        if (probability, decision.value) == (record["risk_probability"], record["credit_risk"]):
            found.equal += 1
        else:
            found.differing.append({"line": record["n"], "logged": record["risk_probability"], "replayed": probability})
    return found


def compare(records: Iterable[dict[str, Any]], challenger: Archive) -> Replayed:
    """Score a log's loans by another archive, with its own cut-off; count those that its bounds exclude."""
    found = Replayed()
    for record in _skip_erased(records, found):
        try:
            loan = read_loan(record, challenger)
        except DecisionLogError:
            found.refused += 1
            continue
        probability = challenger.evaluate(loan)
        decision = decide(probability, challenger.metadata.cut_off)
        for key in (("all", "all"), *((name, _get_value(name, record, loan)) for name in _SEGMENTS)):
            found.segments.setdefault(key, Segment()).add(record, probability, decision)
        found.equal += probability == record["risk_probability"]
    return found


def read_loan(record: dict[str, Any], archive: Archive) -> CreditRiskModelInput:
    """Read a decision's loan by an archive's contract.

    Raises:
        DecisionLogError: The archive's contract does not allow the loan.
    """
    try:
        return archive.metadata.contract.loan.model_validate(record["personal"]["loan"])
    except ValidationError as error:
        raise DecisionLogError(
            f"Line {record['n']}: the loan violates the contract of archive {archive.metadata.model_version}: "
            f"{archives.first_error(error)}. Name an archive with bounds as wide as those of the archive that answered."
        ) from None


def _skip_erased(records: Iterable[dict[str, Any]], found: Replayed) -> Iterator[dict[str, Any]]:
    for record in records:
        found.decisions += 1
        if "loan" in record["personal"]:
            yield record
        else:
            found.erased += 1


def _get_value(name: str, record: dict[str, Any], loan: CreditRiskModelInput) -> str:
    if name == "term":
        return str(loan.term.value).strip()
    if name == "age":
        return "unknown" if loan.instalments_due is None else "known"
    return str(record[name])


def compute_stability_index(expected: list[float], found: list[float]) -> float | None:
    """Compute the PSI of two samples by the deciles of the first; return None if that has too few values.

    Equal values fall into one bin, so there may be fewer than ten bins.
    """
    if len(expected) < _MIN_FOR_PSI or not found:
        return None
    edges = sorted(set(quantiles(expected, n=10, method="inclusive")))
    before, after = (Counter(bisect_left(edges, value) for value in values) for values in (expected, found))
    bins = sorted(before | after)
    return stability_index([after[place] for place in bins], smoothed_shares([before[place] for place in bins]))
