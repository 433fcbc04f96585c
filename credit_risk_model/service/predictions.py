"""The prediction endpoint: raw bytes in, raw bytes out, one call of the model between.

The framework's own endpoint hops to a pool of 40 worker threads, which fight over one interpreter lock, and passes body
and answer through generic layers. A prediction takes microseconds and needs neither. Models that take long are called
on a worker thread, a bounded number at a time, so that the event loop stays free. Their requests, which may be large,
are validated on a thread of its own.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from anyio import CapacityLimiter, WouldBlock, to_thread
from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from credit_risk_model.prediction.served import FromArchive, RequestLimits, limits_of
from credit_risk_model.service import metrics
from credit_risk_model.service.answers import Refusal, internal_error, invalid
from credit_risk_model.service.bounds import JsonBounds
from credit_risk_model.service.logs import log_fault
from credit_risk_model.service.settings import ServiceSettings

_MAX_ERRORS = 20_000  # more than a thousand loans without a field have: from there on errors are counted, not told
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")


class PredictionEndpoint:
    """Answers the predictions of one model.

    Attributes:
        model_version: Version of the archive that it answers from, or of the model where it has none.
        max_body_bytes: Bytes that a request's body may have.
    """

    def __init__(self, model: MLModel, settings: ServiceSettings, slow_predictions: CapacityLimiter) -> None:
        """Bind what every request needs.

        Args:
            model: A loaded model, or a decorated one.
            settings: Bounds of a request.
            slow_predictions: Bounds how many slow predictions, of all models together, are at work.
        """
        self._model = model
        self._schema: type[BaseModel] = model.input_schema
        self._bounds = JsonBounds(self._schema)
        limits: RequestLimits = limits_of(model)
        self._limiter = slow_predictions
        self.max_body_bytes = limits.max_body_bytes or settings.max_body_bytes
        self.model_version = (
            model.archive.metadata.model_version if isinstance(model, FromArchive) else str(model.version)
        )
        # One thread: the errors of a large body that is all wrong take 70 MB, most of which a thread that has had them
        # keeps for its next ones.
        self._validator = ThreadPoolExecutor(1, "validation") if limits.takes_long else None
        name = model.qualified_name
        self._duration = metrics.duration.labels(name)
        self._count = metrics.AnswerCount(name, self.model_version)

    async def answer(self, body: bytes, identity: str) -> bytes:
        """Give the answer's JSON.

        Args:
            body: The request's.
            identity: The request's id, under which the log tells of a fault.

        Raises:
            Refusal: The request can't be answered; says how to say so.
        """
        began = perf_counter()
        if self._validator is None:
            content = self._predict(self._validate(body), identity)
        else:
            content = await self._answer_on_thread(body, identity, self._validator)
        self._duration.observe(perf_counter() - began)
        return content

    def _validate(self, body: bytes) -> BaseModel:
        body = body.removeprefix(_BYTE_ORDER_MARK)
        if not body:
            raise invalid([{"loc": (), "type": "missing", "msg": "Field required"}], within=("body",))
        self._bounds.check(body)
        try:
            return self._schema.model_validate_json(body)
        except ValidationError as error:
            refusal = _refusal(error, body)
        raise refusal  # out here, so that it does not keep the errors alive

    def _predict(self, loan: BaseModel, identity: str) -> bytes:
        try:
            answer = self._model.predict(loan)
            content = to_json(answer)
            self._count.add(answer)
            return content
        except MLModelSchemaValidationException as error:
            raise Refusal(400, "invalid", "SchemaValidationError", [str(error)]) from None
        except Exception as error:
            log_fault(error, identity)
            raise internal_error(identity) from None

    async def _answer_on_thread(self, body: bytes, identity: str, validator: ThreadPoolExecutor) -> bytes:
        try:
            self._limiter.acquire_nowait()
        except WouldBlock:
            raise Refusal(
                503, "busy", "ServiceBusy", ["Too many slow predictions at work."], [(b"retry-after", b"1")]
            ) from None
        try:
            data = await asyncio.get_running_loop().run_in_executor(validator, self._validate, body)
            return await to_thread.run_sync(self._predict, data, identity)
        finally:
            self._limiter.release()


def _refusal(error: ValidationError, body: bytes) -> Refusal:
    if body[:2] in _WIDE or (b"\0" in body[:4] and body[:4].strip(b"\0")):
        return Refusal(400, "invalid", "ValidationError", ["The body is not in UTF-8, but in UTF-16 or UTF-32."])
    if error.error_count() > _MAX_ERRORS:
        return Refusal(400, "invalid", "ValidationError", [f"The body has {error.error_count()} errors."])
    return invalid(error.errors(include_url=False, include_context=False, include_input=False), within=("body",))
