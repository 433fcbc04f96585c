"""The model that explains its predictions."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from credit_risk_model import reasons
from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import Feature, FeatureSet
from credit_risk_model.prediction.model import ArchiveModel, decide, find_cautions
from credit_risk_model.prediction.served import RequestLimits
from credit_risk_model.schemas import (
    CreditRisk,
    CreditRiskExplanationInput,
    CreditRiskExplanationOutput,
    OutsideTraining,
    Reason,
)

logger = logging.getLogger(__name__)

REASONS_FOR_A_DECISION = 4
"""Number of reasons in notices of adverse action: more tell a borrower less (Regulation B, comment 9(b)(2))."""


class CreditRiskExplanation(ArchiveModel):
    """Predicts as `CreditRiskModel` does, and names what moved the score.

    Attributes:
        max_reasons: Number of reasons if the request does not say.
    """

    display_name = "Credit Risk Explanation"
    qualified_name = "credit_risk_explanation"
    description = "Predicts whether a running loan is safe or risky and names the reasons, strongest first."
    input_schema = CreditRiskExplanationInput
    output_schema = CreditRiskExplanationOutput
    limits = RequestLimits(takes_long=True)

    def __init__(
        self,
        archive: str | None = None,
        sha256: str | None = None,
        cut_off: float | None = None,
        model_name: str | None = None,
        max_reasons: int = REASONS_FOR_A_DECISION,
    ) -> None:
        """Load a model archive, as `ArchiveModel` does.

        Args:
            archive: As for `ArchiveModel`.
            sha256: As for `ArchiveModel`.
            cut_off: As for `ArchiveModel`.
            model_name: As for `ArchiveModel`.
            max_reasons: Number of reasons if the request does not say, at least 1.

        Raises:
            ModelArchiveError: The archive can't be trusted.
            ConfigurationError: The number of reasons or another setting is invalid.
        """
        super().__init__(archive, sha256, cut_off, model_name)
        if isinstance(max_reasons, bool) or not isinstance(max_reasons, int) or max_reasons < 1:
            logger.error("The credit risk explanation is not loaded: max_reasons is not a whole number above 0.")
            raise ConfigurationError(f"max_reasons is {max_reasons!r}: set a whole number above 0, or leave it out.")
        self.max_reasons = max_reasons

    def predict(self, data: CreditRiskExplanationInput) -> CreditRiskExplanationOutput:
        """Predict and explain one loan; thread-safe."""
        model = self.archive.model_for(data)
        row = model.features.encode_loan(data)
        probability = model.booster.predict_row(row)
        decision = decide(probability, self.cut_off)
        *contributions, baseline = model.booster.contributions(row)
        values = _collect_values(data, model.features, row)
        return CreditRiskExplanationOutput(
            credit_risk=decision,
            risk_probability=probability,
            cautions=find_cautions(data, model, row),
            cut_off=self.cut_off,
            baseline_probability=1 / (1 + math.exp(-baseline)),
            reasons=_choose_reasons(
                decision, model.features.features, contributions, values, data.max_reasons or self.max_reasons
            ),
            out_of_training_range=tuple(
                OutsideTraining(
                    feature=model.features.names[place],
                    value=row[place],
                    minimum=model.minima[place],
                    maximum=model.maxima[place],
                )
                for place in model.places_outside(row)
            ),
        )


def _collect_values(
    loan: CreditRiskExplanationInput, wanted: FeatureSet, row: tuple[float, ...]
) -> dict[str, reasons.Value | None]:
    """Return the features' values in readable form: levels by name, None if not known."""
    values: dict[str, reasons.Value | None] = {
        name: None if math.isnan(value) else value for name, value in zip(wanted.names, row, strict=True)
    }
    for feature in wanted.contract:
        value = getattr(loan, feature.name)
        values[feature.name] = getattr(value, "value", value)
    return values


_Contribution = tuple[Feature, float, CreditRisk]


def _keep_distinct(moved: list[_Contribution], values: Mapping[str, reasons.Value | None]) -> list[_Contribution]:
    """Keep the strongest feature of each fact, and only derived features that apply to the loan."""
    named: set[Any] = set()
    distinct = []
    for reason in moved:
        feature = reason[0]
        applies = values[feature.name] is not None or feature.nullable
        if applies and named.isdisjoint((feature.fact, feature.fields)):
            named.update((feature.fact, feature.fields))
            distinct.append(reason)
    return distinct


def _choose_reasons(
    decision: CreditRisk,
    model_features: tuple[Feature, ...],
    contributions: list[float],
    values: Mapping[str, reasons.Value | None],
    limit: int,
) -> tuple[Reason, ...]:
    """Choose the strongest contributions and put them into words.

    Up to four reasons explain the decision: they exclude what speaks against it, and name each fact once, by its
    strongest feature. More than four explain the score, so they include everything.
    """
    moved = [
        (feature, contribution, CreditRisk.RISKY if contribution > 0 else CreditRisk.SAFE)
        for feature, contribution in zip(model_features, contributions, strict=True)
        if contribution
    ]
    moved.sort(key=lambda reason: -abs(reason[1]))
    if limit <= REASONS_FOR_A_DECISION:
        moved = _keep_distinct([reason for reason in moved if reason[2] is decision], values)
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
