"""CORS: browsers let only pages of the configured origins call the service."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from credit_risk_model.service.server import Answer, Request


class CrossOrigin:
    """Applies the CORS rules of Starlette's middleware."""

    def __init__(self, origins: Sequence[str]) -> None:
        """Configure the allowed origins."""
        self._rules = CORSMiddleware(
            _nothing,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Model-Digest", "X-Model-Version", "X-Request-ID"],
        )

    def answer_preflight(self, request: Request) -> Answer | None:
        """Return the response to a preflight request; None for any other request."""
        headers = Headers(raw=request.headers)
        if request.method != "OPTIONS" or "origin" not in headers or "access-control-request-method" not in headers:
            return None
        response = self._rules.preflight_response(headers)
        allowed = [header for header in response.raw_headers if not header[0].startswith(b"content-")]
        return Answer(response.status_code, bytes(response.body), b"text/plain; charset=utf-8", allowed)

    def mark(self, request: Request, answer: Answer) -> Answer:
        """Add the CORS headers to a response."""
        origin = Headers(raw=request.headers).get("origin")
        headers = [*answer.headers, (b"vary", b"Origin")]
        if origin is not None:
            headers += [(name.lower().encode(), value.encode()) for name, value in self._rules.simple_headers.items()]
            if not self._rules.allow_all_origins and self._rules.is_allowed_origin(origin):
                headers.append((b"access-control-allow-origin", origin.encode("latin-1")))
        return answer._replace(headers=headers)


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stand in for the middleware's application, which is never called."""
