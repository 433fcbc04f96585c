"""The model that answers with reasons."""

import logging
import math
from collections.abc import Mapping

from ml_base import MLModel

from credit_risk_model import __version__, features, reasons
from credit_risk_model.errors import ConfigurationError
from credit_risk_model.prediction.model import decide, load
from credit_risk_model.schemas import (
    CreditRisk,
    CreditRiskExplanationInput,
    CreditRiskExplanationOutput,
    OutsideTraining,
    Reason,
)

logger = logging.getLogger(__name__)

REASONS_FOR_A_DECISION = 4
"""As many reasons as notices of adverse action name: more tell a borrower less (Regulation B, comment 9(b)(2))."""


class CreditRiskExplanation(MLModel):
    """Predicts as `CreditRiskModel` does, from the same loaded archive, and says what moved the score.

    Attributes:
        archive: What it answers from.
        cut_off: A loan is risky from this probability on.
        max_reasons: How many reasons are named where a request does not say.
    """

    display_name = "Credit Risk Explanation"
    qualified_name = "credit_risk_explanation"
    description = "Calls a loan on the book safe or risky and names the reasons, strongest first."
    version = __version__
    input_schema = CreditRiskExplanationInput
    output_schema = CreditRiskExplanationOutput
    takes_long = True  # milliseconds, so the service calls it on a thread of its own

    def __init__(
        self,
        archive: str | None = None,
        sha256: str | None = None,
        cut_off: float | None = None,
        max_reasons: int = REASONS_FOR_A_DECISION,
    ) -> None:
        """Load a model archive, or share the one that is loaded.

        Args:
            archive: Path of the archive; by default the package's own with the highest number.
            sha256: Digest that the archive must have, in hexadecimal; by default any.
            cut_off: A probability, above 0 and below 1, to use instead of the one that training chose.
            max_reasons: How many reasons are named where a request does not say, at least 1.

        Raises:
            ModelArchiveError: The archive can't be trusted.
            ConfigurationError: The cut-off is not a number between 0 and 1, the digest is none, or the number of
                reasons is not one.
        """
        self.archive, self.cut_off = load(archive, sha256, cut_off)
        if isinstance(max_reasons, bool) or not isinstance(max_reasons, int) or max_reasons < 1:
            logger.error("The credit risk explanation is not loaded: max_reasons is no whole number above 0.")
            raise ConfigurationError(f"max_reasons is {max_reasons!r}: set a whole number above 0, or leave it out.")
        self.max_reasons = max_reasons
        self._ranges = tuple(
            (record.name, record.minimum, record.maximum)
            for record in self.archive.metadata.features
            if record.minimum is not None and record.maximum is not None
        )

    def predict(self, data: CreditRiskExplanationInput) -> CreditRiskExplanationOutput:
        """Predict one loan and explain it; safe to call from any thread."""
        row = features.row(data)
        probability = self.archive.booster.predict_row(row)
        decision = decide(probability, self.cut_off)
        *contributions, baseline = self.archive.booster.contributions(row)
        values = {
            feature.name: getattr(data, feature.name).value if feature.levels else getattr(data, feature.name)
            for feature in features.CONTRACT_FEATURES
        } | dict(zip(features.LoanArithmetic._fields, row[len(features.CONTRACT_FEATURES) :], strict=True))
        return CreditRiskExplanationOutput(
            credit_risk=decision,
            risk_probability=probability,
            cut_off=self.cut_off,
            baseline_probability=1 / (1 + math.exp(-baseline)),
            reasons=_reasons(decision, contributions, values, data.max_reasons or self.max_reasons),
            training_range=tuple(
                OutsideTraining(feature=name, value=values[name], minimum=minimum, maximum=maximum)
                for name, minimum, maximum in self._ranges
                if not minimum <= values[name] <= maximum
            ),
        )


def _reasons(
    decision: CreditRisk, contributions: list[float], values: Mapping[str, reasons.Value], limit: int
) -> tuple[Reason, ...]:
    """Choose the strongest contributions and put them into words.

    A few reasons are the reasons for the decision, and those that speak against it are none. More than those are an
    account of the score, which needs both.
    """
    moved = [
        (feature, contribution, CreditRisk.risky if contribution > 0 else CreditRisk.safe)
        for feature, contribution in zip(features.FEATURES, contributions, strict=True)
        if contribution
    ]
    if limit <= REASONS_FOR_A_DECISION:
        moved = [reason for reason in moved if reason[2] is decision]
    moved.sort(key=lambda reason: -abs(reason[1]))
    return tuple(
        Reason(
            feature=feature.name,
            fields=feature.fields,
            value=values[feature.name],
            contribution=contribution,
            direction=direction,
            text=reasons.text(feature.name, direction, values),
        )
        for feature, contribution, direction in moved[:limit]
    )
