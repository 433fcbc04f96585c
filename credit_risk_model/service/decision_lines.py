"""Content of the decision log's lines, as fragments of JSON."""

from typing import Any

from ml_base import MLModel
from pydantic import BaseModel
from pydantic_core import to_json

from credit_risk_model.decisions import make_personal
from credit_risk_model.prediction.served import FromArchive
from credit_risk_model.schemas import (
    CreditRiskBatchInput,
    CreditRiskBatchOutput,
    CreditRiskExplanationOutput,
    CreditRiskModelOutput,
)
from credit_risk_model.service.logs import format_time
from credit_risk_model.service.server import Request

_DECISION = set(CreditRiskModelOutput.model_fields)


class DecisionLines:
    """Serializes decisions; what all decisions of a model share is serialized once."""

    def __init__(self) -> None:
        """Create an empty cache of models."""
        self._described: dict[Any, bytes] = {}

    def make(
        self, at: float, request: Request, model: Any, asked: BaseModel, answered: BaseModel
    ) -> list[tuple[bytes, bytes]]:
        """Return the permanent and the personal part of each decision.

        Args:
            at: Time of the decisions, in seconds since the epoch.
            request: The request.
            model: The model that predicted.
            asked: The loan or the batch.
            answered: The decision, or the batch's decisions.
        """
        key = b"null" if request.key_name is None else b'"%b"' % request.key_name.encode()
        trace = b"null" if request.trace_id is None else b'"%b"' % request.trace_id.encode()
        members = b'"time":"%b","request_id":"%b","trace_id":%b,"key":%b,%b,' % (
            format_time(int(at * 1000)).encode(), request.identity.encode(), trace, key, self._describe(model),
        )  # fmt: skip
        if isinstance(asked, CreditRiskBatchInput) and isinstance(answered, CreditRiskBatchOutput):
            named = request.reference
            return [
                (
                    b'%b"item":%d,%b' % (members, item, to_json(answer)[1:-1]),
                    make_personal(None if named is None else f"{named}/{item}", to_json(loan)),
                )
                for item, (loan, answer) in enumerate(zip(asked.loans, answered.predictions, strict=True))
            ]
        if isinstance(answered, CreditRiskExplanationOutput):
            loan, reasons = to_json(asked, exclude={"max_reasons"}), to_json(answered.reasons)
            decision = to_json(answered, include=_DECISION)
            return [(members + decision[1:-1], make_personal(request.reference, loan, reasons))]
        return [(members + to_json(answered)[1:-1], make_personal(request.reference, to_json(asked)))]

    def _describe(self, model: Any) -> bytes:
        """Serialize what all decisions of a model share."""
        described = self._described.get(model)
        if described is None:
            archive = model.archive
            constant = {
                "model": model.qualified_name,
                "model_version": archive.metadata.model_version,
                "archive_sha256": archive.sha256,
                "cut_off": model.cut_off,
            }
            described = self._described[model] = to_json(constant)[1:-1]
        return described


def is_logged(model: MLModel) -> bool:
    """Return whether a model's predictions are decisions on loans that can be replayed."""
    known = (CreditRiskModelOutput, CreditRiskExplanationOutput, CreditRiskBatchOutput)
    return issubclass(model.output_schema, known) and isinstance(model, FromArchive)
