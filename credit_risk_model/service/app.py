"""rest_model_service's application, hardened: `uvicorn credit_risk_model.service.app:app`.

The framework reads the YAML, loads the models and answers health, metadata and documentation. What stands before it
here answers the predictions, gives every request an id, every error one shape and every answer a log line, and lets no
request drop when the process is told to end.
"""

import asyncio
import gc
import logging
import re
import sys
from time import perf_counter, time

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from ml_base.utilities import ModelManager
from prometheus_client import REGISTRY
from rest_model_service.schemas import ReadinessStatus, StartupStatus
from rest_model_service.status_manager import StatusManager
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.service import metrics
from credit_risk_model.service.answers import Headers, Refusal, internal_error, invalid
from credit_risk_model.service.contract import describe
from credit_risk_model.service.cors import allow_origins
from credit_risk_model.service.draining import Drain
from credit_risk_model.service.keys import ApiKeys
from credit_risk_model.service.logs import log_fault, log_request
from credit_risk_model.service.metadata import describe_model
from credit_risk_model.service.pages import put_pages
from credit_risk_model.service.predictions import PredictionEndpoint
from credit_risk_model.service.requests import BodyReader, ClientGone, Message, Receive, Scope, Send, request_id
from credit_risk_model.service.settings import ServiceSettings, configuration_path, read_configuration

logger = logging.getLogger(__name__)

_OF_A_MODEL = re.compile(r"/api/models/([^/]+)/(prediction|metadata)")
_PROBES = ("/api/health",)
_CONNECTIONS = "credit_risk_model.service.connections"
_YOUNG_OBJECTS = 20_000
_KINDS = {404: "NotFound", 405: "MethodNotAllowed"}


class Application:
    """The ASGI application that stands before the framework's."""

    def __init__(self, framework: FastAPI, settings: ServiceSettings, keys: ApiKeys | None) -> None:
        """Put the project's error handlers into the framework's application and stand before it."""
        framework.add_exception_handler(RequestValidationError, _answer_invalid)
        framework.add_exception_handler(HTTPException, _answer_http_error)
        framework.add_exception_handler(Exception, _answer_fault)
        # A path with a slash too many is not there: a redirect would lead to whatever host the request names.
        framework.router.redirect_slashes = False
        self._framework = framework
        self._keys = keys
        self._settings = settings
        self._status = StatusManager()
        self._unlogged = () if settings.log_probes else _PROBES
        self._was_ready = False
        self._endpoints: dict[str, PredictionEndpoint] = {}
        self._metadata: dict[str, bytes] = {}
        self._bodies = BodyReader(settings.body_seconds, settings.predictions)
        self._long_predictions = CapacityLimiter(settings.long_predictions)
        self._drain = Drain(settings.drain_seconds, on_begin=self._refuse_traffic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; what is no request is the framework's."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                self._begin(scope)
            await self._framework(scope, receive, send)
            return
        began = perf_counter()
        identity = request_id(scope)
        headers = [(b"x-request-id", identity.encode())]
        if self._drain.under_way:
            self._drain.note_request()
            # Again, since models that were loaded meanwhile have made the framework welcome traffic.
            self._status.set_readiness_status(ReadinessStatus.REFUSING_TRAFFIC)
            headers.append((b"connection", b"close"))
        try:
            status = await self._serve(scope, receive, send, headers)
        except ClientGone:
            return
        path = scope["path"]
        if not path.startswith(self._unlogged):
            endpoint = self._endpoints.get(path)
            log_request(
                {
                    "request_id": identity,
                    "method": scope["method"],
                    "path": path[:200],
                    "status": status,
                    "milliseconds": round((perf_counter() - began) * 1000, 3),
                    "model_version": endpoint and endpoint.model_version,
                }
            )

    def _begin(self, scope: Scope) -> None:
        """Prepare what needs the server's event loop; `scope` is that of its lifespan."""
        self._drain.install()
        scope.setdefault("state", {})["service_settings"] = self._settings
        if _CONNECTIONS not in sys.modules:  # the server imports its protocol before its application
            logger.warning(f"connections are not bounded: start with --http {_CONNECTIONS}:BoundedConnection")
        if self._keys is None:
            logger.info("api keys are off: whoever reaches the service may ask")
        else:
            self._keys.announce()
        # Held, since the event loop holds its tasks weakly only.
        self._tasks = [asyncio.create_task(work) for work in (self._announce(), self._bodies.watch())]

    async def _serve(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> int:
        """Answer, and give the answer's status."""
        try:
            # The framework's routes also match with a line feed after their end, which neither keys nor bounds expect.
            if not scope["path"].isprintable():
                raise Refusal(404, "not_found", "NotFound", ["Not Found"])
            if self._keys is not None:
                self._keys.check(scope)
            endpoint = self._endpoint(scope)
            if endpoint is None and (content := self._metadata.get(scope["path"])) and scope["method"] == "GET":
                await _send(send, 200, content, headers)
                return 200
            if endpoint is None:
                return await self._pass_on(scope, receive, send, headers)
            content = await endpoint.answer(scope, receive)
        except Refusal as refusal:
            metrics.refused.labels(refusal.reason).inc()
            await _send(send, refusal.status, refusal.body, headers + refusal.headers)
            return refusal.status
        await _send(send, 200, content, headers)
        return 200

    def _endpoint(self, scope: Scope) -> PredictionEndpoint | None:
        """Give the endpoint of a prediction; None where the framework is to answer."""
        path = scope["path"]
        endpoint = self._endpoints.get(path) if scope["method"] == "POST" else None
        if endpoint is not None or not (match := _OF_A_MODEL.fullmatch(path)):
            return endpoint
        if not self._ready():
            raise Refusal(
                503, "not_loaded", "ServiceNotReady", ["The models are not loaded."], [(b"retry-after", b"1")]
            )
        name, asked = match.groups()
        if name not in {model["qualified_name"] for model in ModelManager().get_models()}:
            raise Refusal(404, "not_found", "NotFound", ["There is no such model."])
        model = ModelManager().get_model(name)
        if asked == "metadata" and path not in self._metadata:
            self._metadata[path] = describe_model(model)
        if asked == "prediction" and scope["method"] == "POST" and self._has_route(path):
            self._endpoints[path] = PredictionEndpoint(model, self._settings, self._bodies, self._long_predictions)
            return self._endpoints[path]
        return None

    def _has_route(self, path: str) -> bool:
        return any(getattr(route, "path", None) == path for route in self._framework.routes)

    def _ready(self) -> bool:
        # A drain refuses new traffic, but answers what comes all the same.
        return self._was_ready or self._status.get_readiness_status() is ReadinessStatus.ACCEPTING_TRAFFIC

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> int:
        """Let the framework answer; give the status that it sent."""
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        try:
            await self._framework(scope, receive, send_with_headers)
        except Exception:  # starlette raises it again once `_answer_fault` has answered and logged it
            logger.debug("fault in the framework", exc_info=True)
        return status

    async def _announce(self) -> None:
        """Note when the models are loaded."""
        while self._status.get_startup_status() is not StartupStatus.STARTED:
            await asyncio.sleep(0.02)
        # What is loaded stays: the garbage collector need not walk through it again and again.
        gc.collect()
        gc.freeze()
        # A batch's thousand loans are alive at once, and no reason to look for cycles among them.
        gc.set_threshold(_YOUNG_OBJECTS)
        if self._ready() and not self._drain.under_way:
            seconds = time() - (REGISTRY.get_sample_value("process_start_time_seconds") or time())
            metrics.ready.set(seconds)
            for model in ModelManager().get_models():
                self._tell_archive(model["qualified_name"])
            logger.info("ready", extra={"fields": {"seconds": round(seconds, 3)}})

    @staticmethod
    def _tell_archive(name: str) -> None:
        archive = getattr(ModelManager().get_model(name), "archive", None)
        if archive is not None:  # a foreign model may have none
            told = {"version": archive.metadata.model_version, "sha256": archive.sha256}
            metrics.loaded.labels(name).info(told)
            logger.info("loaded", extra={"fields": {"model": name, **told}})

    def _refuse_traffic(self) -> None:
        self._was_ready = self._ready()
        self._status.set_readiness_status(ReadinessStatus.REFUSING_TRAFFIC)
        logger.info("draining")


async def _send(send: Send, status: int, content: bytes, headers: Headers) -> None:
    length = str(len(content)).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"content-length", length), *headers],
        }
    )
    await send({"type": "http.response.body", "body": content})


def _response(refusal: Refusal) -> Response:
    metrics.refused.labels(refusal.reason).inc()
    return Response(refusal.body, refusal.status, media_type="application/json")


async def _answer_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(invalid(error.errors()))


async def _answer_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _response(Refusal(error.status_code, "http", _KINDS.get(error.status_code, "HTTPError"), [error.detail]))
    response.headers.update(error.headers or {})
    return response


async def _answer_fault(_: Request, error: Exception) -> Response:
    return _response(internal_error(log_fault(error)))


def create_application() -> ASGIApp:
    """Check the whole YAML, then let the framework make its application of it, and stand before that.

    Raises:
        ConfigurationError: The YAML is missing, or holds an unknown key or an impossible value; or it names a file of
            API keys that can't be used.
    """
    configuration = read_configuration(configuration_path())
    settings = configuration.service
    keys = ApiKeys(settings.api_keys) if settings.api_keys is not None else None
    from rest_model_service.main import app as framework  # noqa: PLC0415  # importing it starts the loading

    describe(framework, configuration)
    put_pages(framework)
    return allow_origins(Application(framework, settings, keys), settings.cors_origins)


try:
    app = create_application()
except ConfigurationError as error:
    sys.exit(f"The service can't start: {error}")  # in one line: the server would print its own stack before it
