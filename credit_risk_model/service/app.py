"""The application: models loaded by the framework, requests routed by our own table.

`rest_model_service` reads the models from the YAML, loads them in a background thread and tracks health, startup and
readiness. Every request goes through the table here. Of the framework's routes only those in the table are reachable,
and its own prediction endpoints never are.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable
from datetime import datetime
from time import time
from typing import Any

from anyio import to_thread
from ml_base.utilities import ModelManager
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from credit_risk_model.contract import Contract
from credit_risk_model.prediction.served import FromArchive
from credit_risk_model.service import metrics
from credit_risk_model.service.api_keys import ApiKeys
from credit_risk_model.service.bookkeeping import Bookkeeping
from credit_risk_model.service.cors import CrossOrigin
from credit_risk_model.service.decision_log import DecisionLog
from credit_risk_model.service.docs_pages import pages
from credit_risk_model.service.endpoint import PredictionEndpoint
from credit_risk_model.service.errors import RequestRefused, internal_error
from credit_risk_model.service.framework import Framework
from credit_risk_model.service.headers import check_body_headers, identify
from credit_risk_model.service.logs import log_fault
from credit_risk_model.service.metadata import describe_model
from credit_risk_model.service.openapi import document, unloaded_models
from credit_risk_model.service.routes import Handler, Route, answer_always, group_of
from credit_risk_model.service.server import Answer, Request
from credit_risk_model.service.settings import Configuration

logger = logging.getLogger(__name__)

_YOUNG_OBJECTS = 20_000
_NOT_FOUND = RequestRefused(404, "http", "NotFound", ["Not Found"])
_NOT_LOADED = RequestRefused(
    503, "not_loaded", "ServiceNotReady", ["The models are not loaded."], [(b"retry-after", b"1")]
)
_FRAMEWORK_PATHS = ("/api/health", "/api/health/ready", "/api/health/startup", "/api/models")


class Application:
    """Handles the server's requests."""

    def __init__(self, configuration: Configuration, root_path: str = "") -> None:
        """Set up the application; the models are loaded when the server starts.

        Args:
            configuration: The validated YAML file.
            root_path: Path prefix that a proxy strips.

        Raises:
            ConfigurationError: The API key file, the decision log or a model's name is invalid.
        """
        settings = configuration.service
        self._configuration = configuration
        self._settings = settings
        self._root_path = root_path
        self._keys = ApiKeys(settings.api_keys) if settings.api_keys is not None else None
        self._decision_log = DecisionLog(settings.decisions) if settings.decisions is not None else None
        self._cross_origin = CrossOrigin(settings.cors_origins) if settings.cors_origins else None
        self._routes = self._make_routes()  # first: an invalid configuration is refused before anything is loaded
        self._framework = Framework(configuration)
        self._endpoints: dict[str, PredictionEndpoint] = {}
        self._metadata: dict[str, Answer] = {}
        self._contract: asyncio.Task[bytes] | None = None
        self._bookkeeping = Bookkeeping(self._routes.values(), settings.log_probes)
        self.note = self._bookkeeping.note
        self._was_ready = self._draining = False

    def _make_routes(self) -> dict[str, Route]:
        """Create the complete routing table, which needs no loaded model."""
        answered: dict[str, Handler] = {path: answer_always(page) for path, page in self._make_pages().items()}
        answered |= dict.fromkeys(_FRAMEWORK_PATHS, self._ask_framework)
        answered["/openapi.json"] = self._answer_contract
        if self._configuration.metrics is not None and self._configuration.metrics.enabled:
            answered["/metrics"] = self._answer_metrics
        routes = {path: Route(path, group_of(path), {"GET": handler}) for path, handler in answered.items()}
        for model, has_endpoint in unloaded_models(self._configuration):
            path = f"/api/models/{model.qualified_name}"
            routes[f"{path}/metadata"] = Route(f"{path}/metadata", "metadata", {"GET": self._answer_metadata})
            if has_endpoint:
                routes[f"{path}/prediction"] = Route(
                    f"{path}/prediction", "predictions", {"POST": _predict}, takes_json=True
                )
        return routes

    def _make_pages(self) -> dict[str, Answer]:
        moved = Answer(307, b"", b"text/plain", [(b"location", f"{self._root_path}/docs".encode())])
        return {"/": moved, **pages(self._configuration.service_title)}

    def admit(self, request: Request) -> None:
        """Check a request's line and headers, and set its route and its maximum body size."""
        identify(request)
        try:
            self._admit(request)
        except RequestRefused as refusal:
            request.refusal = refusal
        except Exception as error:
            log_fault(error, request.identity)
            request.refusal = internal_error(request.identity)

    def _admit(self, request: Request) -> None:
        path = request.path.removeprefix(self._root_path)
        request.route = route = self._routes.get(path)
        if self._keys is not None:
            request.key_name = self._keys.check(request, group_of(path))
        if route is None:
            raise _NOT_FOUND
        method = "GET" if request.method == "HEAD" else request.method
        if method not in route.handlers and method != "OPTIONS":
            raise RequestRefused(405, "http", "MethodNotAllowed", ["Method Not Allowed"], [(b"allow", route.allowed)])
        if route.takes_json and method == "POST":
            endpoint = self._find_endpoint(path)
            request.endpoint = endpoint
            check_body_headers(request.headers, endpoint.max_body_bytes)
            request.max_body_bytes = endpoint.max_body_bytes
        else:
            request.max_body_bytes = self._settings.max_body_bytes

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """Return the response to a request, even if an error occurs."""
        if not request.identity:  # the request could not be parsed
            identify(request)
        if self._cross_origin is not None and (allowed := self._cross_origin.answer_preflight(request)) is not None:
            return allowed
        try:
            if request.refusal is not None:
                raise request.refusal
            route: Route = request.route
            if request.method == "OPTIONS":
                answer: Answer | Awaitable[Answer] = Answer(200, b"", b"text/plain", [(b"allow", route.allowed)])
            else:
                answer = route.handlers["GET" if request.method == "HEAD" else request.method](request)
        except Exception as error:
            answer = self._answer_error(request, error)
        if not isinstance(answer, Answer):
            return self._answer_later(request, answer)
        return answer if self._cross_origin is None else self._cross_origin.mark(request, answer)

    async def _answer_later(self, request: Request, coming: Awaitable[Answer]) -> Answer:
        try:
            answer = await coming
        except Exception as error:
            answer = self._answer_error(request, error)
        return answer if self._cross_origin is None else self._cross_origin.mark(request, answer)

    @staticmethod
    def _answer_error(request: Request, error: Exception) -> Answer:
        """Return the response to an error. Any error but `RequestRefused` is an internal error."""
        if not isinstance(error, RequestRefused):
            log_fault(error, request.identity)
            error = internal_error(request.identity)
        request.refusal = error
        return Answer(error.status, error.body, headers=error.headers)

    async def run_lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run as the ASGI lifespan application of the server; the framework loads the models meanwhile."""
        self._start()
        await self._framework.app(scope, receive, send)
        self._bookkeeping.settle()
        if self._decision_log is not None:
            self._decision_log.close()

    def drain(self) -> None:
        """Report not ready, but keep answering requests."""
        self._was_ready = self._ready()
        self._draining = True
        self._framework.refuse_traffic()
        logger.info("draining")

    def _start(self) -> None:
        """Start what needs the server's event loop."""
        if self._keys is None:
            logger.info("API keys are disabled: anyone who can reach the service can call it")
        else:
            self._keys.announce()
        # Keep a reference, since the event loop holds only weak references to tasks.
        self._announcing = asyncio.create_task(self._announce())

    def _ready(self) -> bool:
        return self._was_ready or self._framework.is_ready()

    def _find_endpoint(self, path: str) -> PredictionEndpoint:
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            if not self._ready():
                raise _NOT_LOADED
            model = ModelManager().get_model(path.split("/")[3])
            endpoint = self._endpoints[path] = PredictionEndpoint(model, self._settings, self._decision_log)
        return endpoint

    def _answer_metadata(self, request: Request) -> Answer:
        path = request.route.path
        if path not in self._metadata:
            if not self._ready():
                raise _NOT_LOADED
            self._metadata[path] = Answer(200, describe_model(ModelManager().get_model(path.split("/")[3])))
        return self._metadata[path]

    def _answer_metrics(self, _: Request) -> Answer:
        self._bookkeeping.settle()
        if self._decision_log is not None:
            self._decision_log.set_metrics()
        return Answer(200, metrics.gather(), CONTENT_TYPE_LATEST.encode())

    def _write_contract(self) -> bytes:
        loaded = _loaded_contracts() if self._ready() else {}
        return to_json(document(self._configuration, self._root_path, loaded))

    async def _answer_contract(self, _: Request) -> Answer:
        if self._contract is None:  # takes a tenth of a second, once
            self._contract = asyncio.create_task(to_thread.run_sync(self._write_contract))
        return Answer(200, await asyncio.shield(self._contract))

    async def _ask_framework(self, request: Request) -> Answer:
        """Return the response of one of the framework's own routes."""
        if self._draining:
            # Again, since models that finish loading during the drain set the framework to ready.
            self._framework.refuse_traffic()
        return await self._framework.ask(request.route.path)

    async def _announce(self) -> None:
        """Wait until the models are loaded, then log and count that."""
        while not self._framework.has_started():
            await asyncio.sleep(0.02)
        if self._ready():
            for route in self._routes.values():
                if route.takes_json:
                    self._find_endpoint(route.path)
        # Loaded models stay for good: the garbage collector need not scan them again and again.
        gc.collect()
        gc.freeze()
        # A batch keeps a thousand loans alive at once, which must not trigger a collection.
        gc.set_threshold(_YOUNG_OBJECTS)
        if self._ready() and not self._draining:
            seconds = time() - (REGISTRY.get_sample_value("process_start_time_seconds") or time())
            metrics.started.set(seconds)
            for model in ModelManager().get_models():
                _announce_archive(model["qualified_name"])
            logger.info("ready", extra={"fields": {"seconds": round(seconds, 3)}})


def _loaded_contracts() -> dict[str, Contract]:
    """Return the contract of each loaded model that has an archive, by the model's name."""
    manager = ModelManager()
    models: dict[str, Any] = {
        model["qualified_name"]: manager.get_model(model["qualified_name"]) for model in manager.get_models()
    }
    return {name: model.archive.metadata.contract for name, model in models.items() if isinstance(model, FromArchive)}


def _announce_archive(name: str) -> None:
    model: Any = ModelManager().get_model(name)
    if isinstance(model, FromArchive):  # other models have no archive
        described = {"version": model.archive.metadata.model_version, "sha256": model.archive.sha256}
        metrics.loaded.labels(name).info(described)
        metrics.cut_off.labels(name).set(model.cut_off)
        created = datetime.fromisoformat(model.archive.metadata.created_at)
        metrics.archive_created.labels(name).set(created.timestamp())
        logger.info("loaded", extra={"fields": {"model": name, **described}})


def _predict(request: Request) -> Answer | Awaitable[Answer]:
    endpoint: PredictionEndpoint = request.endpoint
    return endpoint.answer(request)
