"""Counts of predicted loans in the bins of their archive's reference; Prometheus rules compare them."""

from random import random
from typing import ClassVar

from credit_risk_model.archive import Archive
from credit_risk_model.drift.counting import Counted, LoanCount
from credit_risk_model.drift.reference import MEAN
from credit_risk_model.schemas import CreditRiskBatchInput, CreditRiskBatchOutput, CreditRiskModelInput
from credit_risk_model.service import metrics

_LOANS = "credit_risk_drift_loans_total"
_PROBABILITY = "credit_risk_drift_probability_total"
_SHARE = "credit_risk_drift_reference_share"
_REFERENCE_LOANS = "credit_risk_drift_reference_loans"
_MEAN = "credit_risk_drift_reference_mean"
_DEVIATION = "credit_risk_drift_reference_deviation"
_FAMILIES = {
    _LOANS: ("counter", "Predicted loans by the bin of a field or of their probability."),
    _PROBABILITY: ("counter", "Sum of the probabilities of these loans."),
    _SHARE: ("gauge", "Share of the training loans in the bin."),
    _REFERENCE_LOANS: ("gauge", "Number of training loans behind the shares or the mean."),
    _MEAN: ("gauge", "Mean probability of the training loans."),
    _DEVIATION: ("gauge", "Standard deviation of the probability of the training loans."),
}


class DriftCount:
    """Counts the loans of one archive, separately for known and unknown age."""

    _of_versions: ClassVar[dict[str, "DriftCount"]] = {}

    def __init__(self, archive: Archive) -> None:
        """Create empty counts and the lines of the reference."""
        self._sha256 = archive.sha256
        self._has_model_with_age = archive.with_age is not None
        self._counts: dict[str, LoanCount] = {
            reference.age: LoanCount(reference) for reference in archive.metadata.reference
        }
        self._labels: dict[str, str] = {}
        self._names: dict[str, list[list[str]]] = {}
        self._reference: list[str] = []
        for age, count in self._counts.items():
            reference = count.reference
            self._labels[age] = labels = f'model_version="{metrics.escape(archive.metadata.model_version)}",age="{age}"'
            self._names[age] = [
                [
                    f'{{{labels},feature="{bins.feature}",bin="{place:02} {name}"}}'
                    for place, name in enumerate(bins.names, start=1)
                ]
                for bins in reference.bins
            ]
            for bins, names in zip(reference.bins, self._names[age], strict=True):
                self._reference += [f"{_SHARE}{name} {share}" for name, share in zip(names, bins.shares, strict=True)]
                self._reference.append(f'{_REFERENCE_LOANS}{{{labels},feature="{bins.feature}"}} {bins.loans}')
            self._reference += [
                f'{_REFERENCE_LOANS}{{{labels},feature="{MEAN}"}} {reference.scored}',
                f"{_MEAN}{{{labels}}} {reference.mean}",
                f"{_DEVIATION}{{{labels}}} {reference.deviation}",
            ]

    @classmethod
    def of(cls, archive: Archive) -> "DriftCount | None":
        """Return the count of an archive, which all its models share; None if the archive has no reference."""
        if not archive.metadata.reference:
            return None
        version = archive.metadata.model_version
        found = cls._of_versions.get(version)
        if found is None or found._sha256 != archive.sha256:
            found = cls._of_versions[version] = cls(archive)
        return found

    def add(self, loan: CreditRiskModelInput, probability: float) -> None:
        """Count a loan."""
        known = self._has_model_with_age and loan.instalments_due is not None
        count = self._counts.get("known" if known else "unknown")
        if count is not None:
            count.add(loan, probability)

    def add_some(self, asked: CreditRiskBatchInput, answered: CreditRiskBatchOutput, share: float) -> None:
        """Count a random share of a batch's loans."""
        for loan, answer in zip(asked.loans, answered.predictions, strict=True):
            if random() < share:  # noqa: S311  # sampling, not security
                self.add(loan, answer.risk_probability)

    def counted(self, age: str) -> Counted:
        """Return the counts of loans with known or unknown age."""
        return self._counts[age].read()

    def lines(self) -> list[str]:
        """Return the counts and their reference as lines in Prometheus' text format."""
        lines = list(self._reference)
        for age in self._counts:
            counted = self.counted(age)
            lines.append(f"{_PROBABILITY}{{{self._labels[age]}}} {counted.total}")
            for names, numbers in zip(self._names[age], counted.counts, strict=True):
                lines += [f"{_LOANS}{name} {number}" for name, number in zip(names, numbers or (), strict=True)]
        return lines

    @classmethod
    def write(cls) -> str:
        """Return the lines of all archives, grouped by metric, with help and type."""
        lines: dict[str, list[str]] = {family: [] for family in _FAMILIES}
        for count in list(cls._of_versions.values()):
            for line in count.lines():
                lines[line.partition("{")[0]].append(f"{line}\n")
        return "".join(
            f"# HELP {family} {words}\n# TYPE {family} {kind}\n{''.join(lines[family])}"
            for family, (kind, words) in _FAMILIES.items()
        )


metrics.write_also(DriftCount.write)
