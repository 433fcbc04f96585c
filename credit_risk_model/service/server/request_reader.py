"""Parses a connection's bytes into complete requests, with bounds, by httptools' parser."""

import urllib.parse
from collections import deque
from time import perf_counter

import httptools

from credit_risk_model.service.errors import Headers, RequestRefused
from credit_risk_model.service.headers import too_large
from credit_risk_model.service.server import Request, Served

_MAX_HEADERS = 100
_MAX_URL_BYTES = 4096
_BODY_HEADERS = (b"content-length", b"transfer-encoding")
# A host name with one of these would make our redirects lead elsewhere.
_FORBIDDEN_IN_HOST = frozenset(b'/@\\?# \t"<>^`{|}')

_MALFORMED = RequestRefused(400, "malformed", "MalformedRequest", ["The request is not valid HTTP."])
_HOST = RequestRefused(
    400, "malformed", "MalformedRequest", ["Send exactly one Host header, with a host name and an optional port."]
)
_VERSION = RequestRefused(400, "malformed", "MalformedRequest", ["The request is not HTTP/1.1 or HTTP/1.0."])
_CODING = RequestRefused(501, "coding", "NotImplemented", ["The only supported transfer coding is chunked."])
_LONG_URL = RequestRefused(414, "long_url", "URITooLong", [f"The URL is longer than {_MAX_URL_BYTES} bytes."])
_LARGE_HEADERS = RequestRefused(431, "large_headers", "HeadersTooLarge", ["The headers are too many or too large."])


class RequestReader:
    """Parser of one connection's requests.

    Attributes:
        complete: Complete requests that have not been taken yet.
        arriving: The request whose headers are complete but whose body is not.
        has_begun: Whether the headers of a request are arriving.
        refusal: Why parsing has stopped; None if it has not.
    """

    def __init__(self, served: Served, max_header_bytes: int) -> None:
        """Create a parser.

        Args:
            served: The application, which checks a request when its headers are complete.
            max_header_bytes: Limit for the size of a request line and its headers.
        """
        self.complete: deque[Request] = deque()
        self.arriving: Request | None = None
        self.has_begun = False
        self.refusal: RequestRefused | None = None
        self._served = served
        self._max_header_bytes = max_header_bytes
        self._parser = self._make_parser()
        self._began = 0.0
        self._url = b""
        self._headers: Headers = []
        # Bytes since the last progress: of headers, or of what a body has besides content (chunk extensions, trailers).
        self._unfinished = 0
        self._violation = _MALFORMED  # the refusal if the parser stops
        self._expects_continue = False
        self._resumed = False  # whether the parser continues after an Upgrade request's headers

    @property
    def received(self) -> int:
        """Number of received bytes of the arriving body."""
        return len(self.arriving.body) if self.arriving is not None else 0

    def read(self, piece: bytes) -> None:
        """Parse received data."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._resume(piece[upgrade.args[0] :])
        except httptools.HttpParserError:  # also raised when a bound is exceeded
            self.break_off(self._violation)
        if self.has_begun or self.arriving is not None:
            self._unfinished += len(piece)
            if self._unfinished > 2 * self._max_header_bytes:
                self.break_off(_LONG_URL if len(self._url) > _MAX_URL_BYTES else _LARGE_HEADERS)

    def take(self) -> Request | None:
        """Return the next complete or refused request; None if more data must arrive."""
        if self.complete:
            return self.complete.popleft()
        request = self.arriving
        if request is not None and request.refusal is not None:
            self.arriving = None
            request.keep_alive = False  # do not wait for the rest of its body
            self.refusal = request.refusal
            return request
        if self.refusal is not None:  # an error before there was a request
            request = Request("", "", [], self._began or perf_counter())
            request.refusal = self.refusal
            return request
        return None

    def break_off(self, refusal: RequestRefused) -> None:
        """Stop parsing; refuse the arriving request, or else the next one."""
        self.refusal = refusal
        self.has_begun = False
        if self.arriving is not None and self.arriving.refusal is None:
            self.arriving.refusal = refusal

    def _make_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # Parse a request after one with `Connection: close` too; it is not answered.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _resume(self, rest: bytes) -> None:
        """Continue after an Upgrade request as if it were a normal one, which HTTP allows.

        The parser ends such a request after its headers. So a new parser, which gets only the headers on the body's
        length, reads the body.
        """
        if self.arriving is None:  # CONNECT, which has no body
            self.complete[-1].keep_alive = False
            return
        framing = [b"%s: %s\r\n" % header for header in self._headers if header[0] in _BODY_HEADERS]
        self._headers = []
        self._parser = self._make_parser()
        self._resumed = True
        self._parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._resumed = False
        if rest:
            self.read(rest)

    def on_message_begin(self) -> None:
        """Start the headers of a request."""
        if not self._resumed:
            self.has_begun = True
            self._began = perf_counter()
            self._url = b""
            self._headers = []

    def on_url(self, url: bytes) -> None:
        """Collect a part of the URL."""
        if not self._resumed:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, but not a trailer."""
        if self.has_begun:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check a request's headers; stop the parser if they exceed a bound."""
        if self._resumed:
            return
        version = self._parser.get_http_version()
        self._check_headers(version)
        if self._violation is not _MALFORMED:
            raise httptools.HttpParserError
        path = httptools.parse_url(self._url).path.decode("ascii")
        request = Request(
            self._parser.get_method().decode(),
            urllib.parse.unquote(path) if "%" in path else path,
            self._headers,
            self._began,
        )
        request.keep_alive = version != "1.0" and self._parser.should_keep_alive()
        request.expects_continue = self._expects_continue
        self._served.admit(request)
        self.has_begun = False
        self._unfinished = 0
        self.arriving = request

    def _check_headers(self, version: str) -> None:
        """Check what the parser accepts against RFC 9112 or beyond a bound; in one pass, as each request needs it."""
        hosts, self._expects_continue = 0, False
        for name, value in self._headers:
            if name == b"host":
                hosts += 1
                if not _FORBIDDEN_IN_HOST.isdisjoint(value):
                    self._violation = _HOST
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._violation = _CODING
            elif name == b"expect" and value.lower() == b"100-continue":
                self._expects_continue = version != "1.0"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._violation = _HOST
        if version not in ("1.1", "1.0"):
            self._violation = _VERSION
        # Headers that arrived in one piece are within their bound.
        if len(self._headers) > _MAX_HEADERS or (self._unfinished and self._measure_headers() > self._max_header_bytes):
            self._violation = _LARGE_HEADERS
        if len(self._url) > _MAX_URL_BYTES:
            self._violation = _LONG_URL

    def _measure_headers(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body; drop a body that is too large."""
        self._unfinished = 0
        request = self.arriving
        assert request is not None
        if request.refusal is None:
            request.body += body
            if len(request.body) > request.max_body_bytes:
                request.refusal = too_large(request.max_body_bytes)
                request.body = bytearray()

    def on_message_complete(self) -> None:
        """Queue a complete request, unless the parser skips its body."""
        request = self.arriving
        assert request is not None
        if self._parser.should_upgrade() and request.method != "CONNECT":
            return
        self.arriving = None
        self._unfinished = 0
        self.complete.append(request)
