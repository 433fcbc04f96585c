"""The prediction endpoint: raw bytes in, raw bytes out, one call of the model between.

The framework's own endpoint hops to a pool of 40 worker threads, which fight over one interpreter lock, and passes body
and answer through generic layers. A prediction takes microseconds and needs neither. Models that take long (they say so
with `takes_long = True`) are called on a worker thread, a bounded number at a time, so that the event loop stays free;
so are their requests validated, which may be large, on a thread of its own.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from anyio import CapacityLimiter, WouldBlock, to_thread
from ml_base import MLModel
from ml_base.ml_model import MLModelSchemaValidationException
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from credit_risk_model.service import metrics
from credit_risk_model.service.answers import Refusal, internal_error, invalid
from credit_risk_model.service.logs import log_fault
from credit_risk_model.service.requests import BodyReader, Receive, Scope
from credit_risk_model.service.settings import ServiceSettings

_MOST_ERRORS = 20_000  # more than a thousand loans without a field have: from there on errors are counted, not told


class PredictionEndpoint:
    """Answers the predictions of one model.

    Attributes:
        model_version: Version of the archive that it answers from, or of the model where it has none.
    """

    def __init__(
        self, model: MLModel, settings: ServiceSettings, bodies: BodyReader, long_predictions: CapacityLimiter
    ) -> None:
        """Bind what every request needs.

        Args:
            model: A loaded model, or a decorated one.
            settings: Bounds of a request.
            bodies: Reads the requests of all models.
            long_predictions: Bounds how many long predictions, of all models together, are at work.
        """
        self._model = model
        self._schema: type[BaseModel] = model.input_schema
        self._takes_long = getattr(model, "takes_long", False)
        self._limiter = long_predictions
        self._largest_body = getattr(model, "largest_body", settings.largest_body)
        # Before pydantic sees them: 300,000 empty loans are 16 errors each, half a minute and 4.8 GB of them, and each
        # error holds a copy of the loan that it is of.
        self._bounds = [
            (sign, most, what)
            for sign, what in ((b"{", "objects"), (b":", "names"), (b",", "commas"))
            if (most := getattr(model, f"most_{what}", None)) is not None
        ]
        self._bodies = bodies
        archive = getattr(model, "archive", None)
        self.model_version = archive.metadata.model_version if archive is not None else model.version
        # One thread: the errors of a large body that is all wrong take 70 MB, most of which a thread that has had them
        # keeps for its next ones.
        self._validator = ThreadPoolExecutor(1, "validation") if self._takes_long else None
        name = model.qualified_name
        self._evaluation = metrics.evaluation.labels(name)
        self._count = metrics.AnswerCount(name)

    async def answer(self, scope: Scope, receive: Receive) -> bytes:
        """Give the answer's JSON.

        Raises:
            Refusal: The request can't be answered; says how to say so.
            ClientGone: Nobody is left to answer.
        """
        body = await self._bodies.read(scope, receive, self._largest_body)
        began = perf_counter()
        content = await self._answer_on_thread(body) if self._takes_long else self._predict(self._validate(body))
        self._evaluation.observe(perf_counter() - began)
        return content

    def _validate(self, body: bytes) -> BaseModel:
        if not body:
            raise invalid([{"loc": (), "type": "missing", "msg": "Field required"}], within=("body",))
        for sign, most, what in self._bounds:
            if (found := body.count(sign)) > most:
                message = f"The body has {found} JSON {what}, of which {most} are taken at most."
                raise Refusal(400, "invalid", "ValidationError", [message])
        try:
            return self._schema.model_validate_json(body)
        except ValidationError as error:
            refusal = _refusal(error)
        raise refusal  # out here, so that it does not keep the errors alive

    def _predict(self, loan: BaseModel) -> bytes:
        try:
            answer = self._model.predict(loan)
            content = to_json(answer)
            self._count.add(answer)
            return content
        except MLModelSchemaValidationException as error:
            raise Refusal(400, "invalid", "SchemaValidationError", [str(error)]) from None
        except Exception as error:
            raise internal_error(log_fault(error)) from None

    async def _answer_on_thread(self, body: bytes) -> bytes:
        try:
            self._limiter.acquire_nowait()
        except WouldBlock:
            raise Refusal(
                503, "busy", "ServiceBusy", ["Too many long predictions at work."], [(b"retry-after", b"1")]
            ) from None
        try:
            data = await asyncio.get_running_loop().run_in_executor(self._validator, self._validate, body)
            return await to_thread.run_sync(self._predict, data)
        finally:
            self._limiter.release()


def _refusal(error: ValidationError) -> Refusal:
    if error.error_count() > _MOST_ERRORS:
        return Refusal(400, "invalid", "ValidationError", [f"The body has {error.error_count()} errors."])
    return invalid(error.errors(include_url=False, include_context=False, include_input=False), within=("body",))
