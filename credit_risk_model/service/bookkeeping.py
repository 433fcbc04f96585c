"""Metrics and log lines of requests, written in batches: one at a time they cost as much as a prediction."""

import asyncio
from collections.abc import Iterable
from time import perf_counter, time

from credit_risk_model.schemas import CreditRiskModelOutput
from credit_risk_model.service import metrics
from credit_risk_model.service.endpoint import PredictionEndpoint
from credit_risk_model.service.logs import log_requests
from credit_risk_model.service.routes import Route
from credit_risk_model.service.server import Answer, Request

_CLIENT_GONE = 499
"""Status code for a client that disconnected before its response, as in nginx."""
_DELAY_SECONDS = 0.05
_MAX_WAITING = 64  # more would block the event loop for longer than a request takes
_NO_ROUTE = "other"


class Bookkeeping:
    """Counts and logs requests, with a delay of at most a twentieth of a second."""

    def __init__(self, routes: Iterable[Route], log_probes: bool) -> None:
        """Create the counters of all routes."""
        self._counts = metrics.RequestCount({_NO_ROUTE, *(route.template for route in routes)})
        self._log_probes = log_probes
        self._waiting: list[tuple[Request, int, float, float]] = []

    def note(self, request: Request, answer: Answer | None) -> None:
        """Record a request whose response was sent; None if the client disconnected before."""
        status = answer.status if answer is not None else _CLIENT_GONE
        self._waiting.append((request, status, time(), perf_counter() - request.began))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(_DELAY_SECONDS, self.settle)
        elif len(self._waiting) >= _MAX_WAITING:
            self.settle()

    def settle(self) -> None:
        """Count and log the recorded requests."""
        waiting, self._waiting = self._waiting, []
        lines = []
        for request, status, at, seconds in waiting:
            route: Route | None = request.route
            endpoint: PredictionEndpoint | None = request.endpoint
            refusal = request.refusal
            self._counts.add(route.template if route is not None else _NO_ROUTE, status, seconds)
            if endpoint is not None and request.outcome is not None:
                endpoint.record(request, at)
            if status == _CLIENT_GONE:
                metrics.clients_gone.inc()
            elif refusal is not None:
                metrics.count_refused(refusal.reason, endpoint.name if endpoint is not None else "", status)
            if not self._log_probes and route is not None and route.group == "health":
                continue
            line = {
                "request_id": request.identity,
                "http.request.method": request.method,
                "url.path": request.path[:200],
                "http.response.status_code": status,
                "milliseconds": round(seconds * 1000, 3),
                "model_version": endpoint.model_version if endpoint is not None else None,
            }
            if request.trace_id is not None:
                line["trace_id"] = request.trace_id
            if request.outcome is not None and isinstance(answered := request.outcome[1], CreditRiskModelOutput):
                line["credit_risk"] = answered.credit_risk._value_  # `value` is a property
            if refusal is not None:
                line["reason"] = refusal.reason
                if refusal.fields:
                    line["fields"] = refusal.fields
            lines.append((at, line))
        log_requests(lines)
