"""Prediction endpoint: raw bytes in, raw bytes out, with one call of the model in between.

The framework's own endpoint uses a pool of 40 worker threads, which compete for the GIL, and passes request and
response through generic layers. A prediction takes microseconds and needs neither. Slow models run on worker threads, a
bounded number at a time, so that the event loop stays free. Their requests, which may be large, are validated on a
separate thread.
"""

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, time

from anyio import CapacityLimiter, move_on_after, to_thread
from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from credit_risk_model.prediction.served import FromArchive, RequestLimits, limits_of
from credit_risk_model.schemas import (
    CreditRiskBatchInput,
    CreditRiskBatchOutput,
    CreditRiskModelOutput,
)
from credit_risk_model.service import metrics
from credit_risk_model.service.bounds import JsonBounds
from credit_risk_model.service.decision_lines import is_logged
from credit_risk_model.service.decision_log import DecisionLog
from credit_risk_model.service.drift import DriftCount
from credit_risk_model.service.errors import RequestRefused, internal_error, invalid
from credit_risk_model.service.headers import decision_reference
from credit_risk_model.service.logs import log_fault
from credit_risk_model.service.server import Answer, Request
from credit_risk_model.service.settings import ServiceSettings

_MAX_ERRORS = 20_000  # a thousand loans without a field have fewer; beyond it, errors are counted but not listed
_MAX_WAIT_SECONDS = 0.5
_MAX_WAITING_BYTES = 4 * 2**20
_DIGITS = 12
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class PredictionEndpoint:
    """Prediction endpoint of one model.

    Attributes:
        model_version: Version of the model's archive, or of the model if it has none.
        name: The model's qualified name.
        max_body_bytes: Maximum size of a body.
    """

    def __init__(self, model: MLModel, settings: ServiceSettings, decision_log: DecisionLog | None) -> None:
        """Prepare what every request needs.

        Args:
            model: A loaded model, possibly with decorators.
            settings: Bounds of a request.
            decision_log: Log of decisions on loans; None if they are not logged.
        """
        self._log = decision_log if is_logged(model) else None
        self._model = model
        self._schema: type[BaseModel] = model.input_schema
        self._bounds = JsonBounds(self._schema)
        limits: RequestLimits = limits_of(model)
        self._limiter = CapacityLimiter(settings.max_concurrent_slow_predictions)
        self._waiting_bytes = 0
        self.max_body_bytes = limits.max_body_bytes or settings.max_body_bytes
        self.model_version = (
            model.archive.metadata.model_version if isinstance(model, FromArchive) else str(model.version)
        )
        self._headers = [(b"x-model-version", self.model_version.encode())]
        if isinstance(model, FromArchive):
            self._headers.append((b"x-model-digest", model.archive.sha256[:_DIGITS].encode()))
        # One thread: the errors of a large, entirely invalid body take 70 MB, most of which the thread keeps for its
        # next errors.
        self._validator = ThreadPoolExecutor(1, "validation") if limits.takes_long else None
        self.name = model.qualified_name
        self._duration = metrics.duration.of(self.name)
        self._count = metrics.AnswerCount(
            self.name, self.model_version, model.archive if isinstance(model, FromArchive) else None
        )
        self._drift = DriftCount.of(model.archive) if isinstance(model, FromArchive) else None
        self._loan_schema = model.archive.metadata.contract.loan if isinstance(model, FromArchive) else None
        self._drift_batch_share = settings.drift_batch_share
        if issubclass(model.output_schema, CreditRiskBatchOutput):
            metrics.batch_loans.of(self.name)

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Return the response to a request, as an awaitable if the model is slow.

        Raises:
            RequestRefused: The request gets an error response.
        """
        if self._log is not None:
            self._log.check()
            request.reference = decision_reference(request.headers)
        if self._validator is not None:
            return self._answer_on_thread(request, self._validator)
        began = perf_counter()
        loan = self._validate(request.body)
        prediction, content = self._predict(loan, request.identity)
        request.outcome = loan, prediction, perf_counter() - began
        return Answer(200, content, headers=self._headers)

    def record(self, request: Request, at: float) -> None:
        """Count the prediction of a request and log its decision; `at` is in seconds since the epoch."""
        loan, prediction, seconds = request.outcome
        self._duration.add(seconds)
        if prediction is not None:
            self._record_decisions(at, request, loan, prediction)

    def _validate(self, body: bytearray) -> BaseModel:
        if body.startswith(_BYTE_ORDER_MARK):
            del body[: len(_BYTE_ORDER_MARK)]
        if not body:
            raise invalid([{"loc": (), "type": "missing", "msg": "Field required"}], within=("body",))
        self._bounds.check(body)
        try:
            return self._schema.model_validate_json(body)
        except ValidationError as error:
            refusal = _make_refusal(error, body)
        raise refusal  # outside the handler, so that it does not keep the errors alive

    def _predict(self, loan: BaseModel, identity: str) -> tuple[BaseModel, bytes]:
        try:
            prediction = self._model.predict(loan)
            return prediction, to_json(prediction)
        except MLModelSchemaValidationException as error:
            raise RequestRefused(400, "invalid", "SchemaValidationError", [str(error)]) from None
        except Exception as error:
            log_fault(error, identity)
            raise internal_error(identity) from None

    async def _answer_on_thread(self, request: Request, validator: ThreadPoolExecutor) -> Answer:
        began = perf_counter()
        await self._acquire_slot(len(request.body))
        try:
            data = await asyncio.get_running_loop().run_in_executor(validator, self._validate, request.body)
            content = await to_thread.run_sync(self._predict_and_record, data, request)
        finally:
            self._limiter.release()
        request.outcome = None, None, perf_counter() - began
        return Answer(200, content, headers=self._headers)

    async def _acquire_slot(self, size: int) -> None:
        """Wait briefly for a free slot. Waiting bodies are held in memory, so their total size is bounded.

        Raises:
            RequestRefused: No slot became free.
        """
        if self._waiting_bytes + size <= _MAX_WAITING_BYTES:
            self._waiting_bytes += size
            try:
                with move_on_after(_MAX_WAIT_SECONDS):
                    await self._limiter.acquire()
                    return
            finally:
                self._waiting_bytes -= size
        raise RequestRefused(
            503, "busy", "ServiceBusy", ["Too many slow predictions in progress."], [(b"retry-after", b"1")]
        )

    def _record_decisions(self, at: float, request: Request, asked: BaseModel, answered: BaseModel) -> None:
        self._count.add(asked, answered)
        if self._drift is not None:
            # Explained loans are not counted: clients predict these as well.
            if type(asked) is self._loan_schema and isinstance(answered, CreditRiskModelOutput):
                self._drift.add(asked, answered.risk_probability)
            elif isinstance(asked, CreditRiskBatchInput) and isinstance(answered, CreditRiskBatchOutput):
                self._drift.add_some(asked, answered, self._drift_batch_share)
        if self._log is not None:
            self._log.add(at, request, self._model, asked, answered)

    def _predict_and_record(self, data: BaseModel, request: Request) -> bytes:
        """Predict, and record up to a thousand decisions without blocking the event loop."""
        prediction, content = self._predict(data, request.identity)
        self._record_decisions(time(), request, data, prediction)
        return content


def _make_refusal(error: ValidationError, body: bytearray) -> RequestRefused:
    if body[:2] in _UTF_16_MARKS or (b"\0" in body[:4] and body[:4].strip(b"\0")):
        return RequestRefused(400, "invalid", "ValidationError", ["The body is UTF-16 or UTF-32. Send it as UTF-8."])
    if error.error_count() > _MAX_ERRORS:
        return RequestRefused(400, "invalid", "ValidationError", [f"The body has {error.error_count()} errors."])
    return invalid(error.errors(include_url=False, include_context=False, include_input=False), within=("body",))
