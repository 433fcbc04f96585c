"""The application: what the framework loads, answered by a table of our own.

`rest_model_service` reads the YAML's models, loads them in a thread of its own and knows whether it is healthy, started
and ready. Every request goes through the table here; of the framework's routes only those that the table names are
reached, and its own prediction endpoints never.
"""

import asyncio
import gc
import logging
from time import perf_counter, time
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from ml_base.utilities import ModelManager
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY
from pydantic_core import to_json
from rest_model_service.helpers import create_app
from rest_model_service.schemas import ReadinessStatus, StartupStatus
from rest_model_service.status_manager import StatusManager

from credit_risk_model.prediction.served import FromArchive
from credit_risk_model.service import metrics
from credit_risk_model.service.answers import Refusal, internal_error
from credit_risk_model.service.contract import document, unloaded_models
from credit_risk_model.service.keys import ApiKeys
from credit_risk_model.service.logs import log_fault, log_request
from credit_risk_model.service.metadata import describe_model
from credit_risk_model.service.pages import pages
from credit_risk_model.service.predictions import PredictionEndpoint
from credit_risk_model.service.requests import check_body_headers, request_id
from credit_risk_model.service.routes import Answer, Handler, Route, answer_always, group_of
from credit_risk_model.service.server import Message, Receive, Scope, Send
from credit_risk_model.service.settings import Configuration

logger = logging.getLogger(__name__)

_YOUNG_OBJECTS = 20_000
_NOT_FOUND = Refusal(404, "http", "NotFound", ["Not Found"])
_NOT_LOADED = Refusal(503, "not_loaded", "ServiceNotReady", ["The models are not loaded."], [(b"retry-after", b"1")])
_OF_THE_FRAMEWORK = ("/api/health", "/api/health/ready", "/api/health/startup", "/api/models")


class ClientGone(Exception):
    """The client has closed the connection: nobody is left to answer."""


class Application:
    """The ASGI application, and the server's judge of requests."""

    def __init__(self, configuration: Configuration, root_path: str = "") -> None:
        """Start to load the models.

        Args:
            configuration: The whole of it.
            root_path: What a proxy has taken away from every path.

        Raises:
            ConfigurationError: The file of API keys can't be used.
        """
        settings = configuration.service
        self._configuration = configuration
        self._settings = settings
        self._root_path = root_path
        self._keys = ApiKeys(settings.api_keys) if settings.api_keys is not None else None
        self._slow_predictions = CapacityLimiter(settings.max_concurrent_slow_predictions)
        self._status = StatusManager()
        self._framework: FastAPI = create_app(configuration)
        self._routes = self._make_routes()
        self._endpoints: dict[str, PredictionEndpoint] = {}
        self._metadata: dict[str, Answer] = {}
        self._contract: asyncio.Task[bytes] | None = None
        self._counts = metrics.RequestCount()
        self._at_work = 0
        self._was_ready = self._draining = False
        metrics.in_flight.set_function(lambda: self._at_work)

    def _make_routes(self) -> dict[str, Route]:
        """Make the table, whole from the first second: no model need be loaded for it."""
        answered: dict[str, Handler] = {path: answer_always(page) for path, page in self._static().items()}
        answered |= dict.fromkeys(_OF_THE_FRAMEWORK, self._ask_framework)
        answered["/openapi.json"] = self._answer_contract
        if self._configuration.metrics is not None and self._configuration.metrics.enabled:
            answered["/metrics"] = _answer_metrics
        routes = {path: Route(path, group_of(path), {"GET": handler}) for path, handler in answered.items()}
        for model, has_endpoint in unloaded_models(self._configuration):
            path = f"/api/models/{model.qualified_name}"
            routes[f"{path}/metadata"] = Route(f"{path}/metadata", "metadata", {"GET": self._answer_metadata})
            if has_endpoint:
                routes[f"{path}/prediction"] = Route(
                    f"{path}/prediction", "predictions", {"POST": self._predict}, takes_json=True
                )
        return routes

    def _static(self) -> dict[str, Answer]:
        moved = Answer(307, b"", b"text/plain", [(b"location", f"{self._root_path}/docs".encode())])
        return {"/": moved, **pages(self._configuration.service_title)}

    def admit(self, scope: Scope) -> int:
        """Decide on a request by its line and headers, and note its route.

        Returns:
            The most bytes that its body may have.

        Raises:
            Refusal: It is refused, whatever its body.
        """
        path = scope["path"].removeprefix(self._root_path)
        route = self._routes.get(path)
        if self._keys is not None:
            self._keys.check(scope, group_of(path))
        if route is None:
            raise _NOT_FOUND
        scope["route"] = route
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method != "OPTIONS" and method not in route.handlers:
            raise Refusal(405, "http", "MethodNotAllowed", ["Method Not Allowed"], [(b"allow", route.allowed)])
        if not route.takes_json or method == "OPTIONS":
            return self._settings.max_body_bytes
        endpoint = self._endpoints.get(path) or self._load_endpoint(path)
        check_body_headers(scope, endpoint.max_body_bytes)
        return endpoint.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; what is no request is the framework's."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                self._begin()
            await self._framework(scope, receive, send)
            return
        began = perf_counter()
        identity = request_id(scope)
        route: Route | None = scope.get("route")
        self._at_work += 1
        try:
            answer = await self._answer(scope, route, receive, identity)
        except ClientGone:
            return
        finally:
            self._at_work -= 1
        headers = [
            (b"content-type", answer.content_type),
            (b"content-length", str(len(answer.content)).encode()),
            (b"x-request-id", identity.encode()),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})
        self._counts.add(route.template if route is not None else "", answer.status)
        if self._settings.log_probes or route is None or route.group != "health":
            endpoint = self._endpoints.get(route.template) if route is not None else None
            log_request(
                {
                    "request_id": identity,
                    "method": scope["method"],
                    "path": scope["path"][:200],
                    "status": answer.status,
                    "milliseconds": round((perf_counter() - began) * 1000, 3),
                    "model_version": endpoint and endpoint.model_version,
                }
            )

    async def _answer(self, scope: Scope, route: Route | None, receive: Receive, identity: str) -> Answer:
        """Answer, whatever happens."""
        try:
            if (refused := scope.get("refusal")) is not None or route is None:
                raise refused or _NOT_FOUND
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            if method == "OPTIONS":
                return Answer(200, b"", b"text/plain", [(b"allow", route.allowed)])
            body = await _read(receive) if route.takes_json else b""
            return await route.handlers[method](scope, body, identity)
        except Refusal as refusal:
            metrics.refused.labels(refusal.reason).inc()
            return Answer(refusal.status, refusal.body, headers=refusal.headers)
        except ClientGone:
            raise
        except Exception as error:
            log_fault(error, identity)
            fault = internal_error(identity)
            metrics.refused.labels(fault.reason).inc()
            return Answer(fault.status, fault.body)

    def drain(self) -> None:
        """Refuse new traffic by readiness, but answer what comes all the same."""
        self._was_ready = self._ready()
        self._draining = True
        self._status.set_readiness_status(ReadinessStatus.REFUSING_TRAFFIC)
        logger.info("draining")

    def _begin(self) -> None:
        """Prepare what needs the server's event loop."""
        if self._keys is None:
            logger.info("api keys are off: whoever reaches the service may ask")
        else:
            self._keys.announce()
        # Held, since the event loop holds its tasks weakly only.
        self._announcing = asyncio.create_task(self._announce())

    def _ready(self) -> bool:
        return self._was_ready or self._status.get_readiness_status() is ReadinessStatus.ACCEPTING_TRAFFIC

    def _load_endpoint(self, path: str) -> PredictionEndpoint:
        if not self._ready():
            raise _NOT_LOADED
        model = ModelManager().get_model(path.split("/")[3])
        self._endpoints[path] = PredictionEndpoint(model, self._settings, self._slow_predictions)
        return self._endpoints[path]

    async def _predict(self, scope: Scope, body: bytes, identity: str) -> Answer:
        return Answer(200, await self._endpoints[scope["route"].template].answer(body, identity))

    async def _answer_metadata(self, scope: Scope, _body: bytes, _identity: str) -> Answer:
        path = scope["route"].template
        if path not in self._metadata:
            if not self._ready():
                raise _NOT_LOADED
            self._metadata[path] = Answer(200, describe_model(ModelManager().get_model(path.split("/")[3])))
        return self._metadata[path]

    def _write_contract(self) -> bytes:
        return to_json(document(self._configuration, self._root_path))

    async def _answer_contract(self, _scope: Scope, _body: bytes, _identity: str) -> Answer:
        if self._contract is None:  # it takes a tenth of a second, once
            self._contract = asyncio.create_task(to_thread.run_sync(self._write_contract))
        return Answer(200, await asyncio.shield(self._contract))

    async def _ask_framework(self, scope: Scope, _body: bytes, _identity: str) -> Answer:
        """Let one of the framework's own routes answer."""
        if self._draining:
            # Again, since models that were loaded meanwhile have made the framework welcome traffic.
            self._status.set_readiness_status(ReadinessStatus.REFUSING_TRAFFIC)
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        asked = {**scope, "method": "GET", "path": scope["route"].template, "root_path": ""}
        await self._framework(asked, receive, send)
        start, *parts = sent
        return Answer(start["status"], b"".join(part.get("body", b"") for part in parts))

    async def _announce(self) -> None:
        """Note when the models are loaded."""
        while self._status.get_startup_status() is not StartupStatus.STARTED:
            await asyncio.sleep(0.02)
        # What is loaded stays: the garbage collector need not walk through it again and again.
        gc.collect()
        gc.freeze()
        # A batch's thousand loans are alive at once, and no reason to look for cycles among them.
        gc.set_threshold(_YOUNG_OBJECTS)
        if self._ready() and not self._draining:
            seconds = time() - (REGISTRY.get_sample_value("process_start_time_seconds") or time())
            metrics.started.set(seconds)
            for model in ModelManager().get_models():
                self._tell_archive(model["qualified_name"])
            logger.info("ready", extra={"fields": {"seconds": round(seconds, 3)}})

    @staticmethod
    def _tell_archive(name: str) -> None:
        model: Any = ModelManager().get_model(name)
        if isinstance(model, FromArchive):  # a foreign model has none
            told = {"version": model.archive.metadata.model_version, "sha256": model.archive.sha256}
            metrics.loaded.labels(name).info(told)
            logger.info("loaded", extra={"fields": {"model": name, **told}})


async def _read(receive: Receive) -> bytes:
    """Give a request's body, all of which the server has."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    body: bytes = message["body"]
    return body


async def _answer_metrics(_scope: Scope, _body: bytes, _identity: str) -> Answer:
    return Answer(200, metrics.gather(), CONTENT_TYPE_LATEST.encode())
