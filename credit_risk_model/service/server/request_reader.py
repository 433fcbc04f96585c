"""A connection's bytes in, whole requests out: HTTP/1.1 within bounds, by httptools' parser."""

import urllib.parse
from collections import deque
from time import perf_counter

import httptools

from credit_risk_model.service.errors import Headers, RequestRefused
from credit_risk_model.service.headers import too_large
from credit_risk_model.service.server import Request, Served

_MAX_HEADERS = 100
_MAX_URL_BYTES = 4096
_HEADERS_OF_A_BODY = (b"content-length", b"transfer-encoding")
# Whatever else a name of a host may hold, none of these: they would make a URL of ours lead elsewhere.
_NOT_IN_A_HOST = frozenset(b'/@\\?# \t"<>^`{|}')

_MALFORMED = RequestRefused(400, "malformed", "MalformedRequest", ["The request is not valid HTTP."])
_HOST = RequestRefused(400, "malformed", "MalformedRequest", ["A request has one Host header, with a host and a port."])
_VERSION = RequestRefused(400, "malformed", "MalformedRequest", ["The request is not in HTTP/1.1 or HTTP/1.0."])
_CODING = RequestRefused(501, "coding", "NotImplemented", ["Of all transfer codings only chunked is understood."])
_LONG_URL = RequestRefused(414, "long_url", "URITooLong", [f"The URL is longer than {_MAX_URL_BYTES} bytes."])
_LARGE_HEADERS = RequestRefused(431, "large_headers", "HeadersTooLarge", ["The headers are too many or too large."])


class RequestReader:
    """Reads one connection's requests.

    Attributes:
        complete: Requests that have arrived whole and that nobody has taken yet.
        arriving: The request whose headers are complete and whose body is not.
        has_begun: Whether a request has begun whose headers are not complete.
        refusal: Why nothing more is read; None while all is well.
    """

    def __init__(self, served: Served, max_header_bytes: int) -> None:
        """Begin with nothing read.

        Args:
            served: What decides on a request once its headers are complete.
            max_header_bytes: The most that a request's line and headers may have.
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
        # Bytes received while headers, or what of a body is none (extensions of chunks, trailers), are not complete.
        self._unfinished = 0
        self._breach = _MALFORMED  # what is wrong where the parser stops
        self._expects_continue = False
        self._resumed = False  # a parser that reads on after a request to change protocols

    @property
    def received(self) -> int:
        """Bytes of the body that is arriving."""
        return len(self.arriving.body) if self.arriving is not None else 0

    def read(self, piece: bytes) -> None:
        """Parse what came."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            self._resume(piece[upgrade.args[0] :])
        except httptools.HttpParserError:  # or a bound that is broken
            self.break_off(self._breach)
        if self.has_begun or self.arriving is not None:
            self._unfinished += len(piece)
            if self._unfinished > 2 * self._max_header_bytes:
                self.break_off(_LONG_URL if len(self._url) > _MAX_URL_BYTES else _LARGE_HEADERS)

    def take(self) -> Request | None:
        """Take the next request to answer: one that is whole, or one that is refused; None where more must come."""
        if self.complete:
            return self.complete.popleft()
        request = self.arriving
        if request is not None and request.refusal is not None:
            self.arriving = None
            request.keep_alive = False  # the rest of its body is not waited for
            self.refusal = request.refusal
            return request
        if self.refusal is not None:  # an error that became no request
            request = Request("", "", [], self._began or perf_counter())
            request.refusal = self.refusal
            return request
        return None

    def break_off(self, refusal: RequestRefused) -> None:
        """Read nothing more; refuse the request that is arriving, or else the next."""
        self.refusal = refusal
        self.has_begun = False
        if self.arriving is not None and self.arriving.refusal is None:
            self.arriving.refusal = refusal

    def _make_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # A request after one that asked to close is still to be parsed, and then not answered.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def _resume(self, rest: bytes) -> None:
        """Go on after a request to change over to another protocol as if it were none, as any server may.

        The parser takes such a request to end with its headers. So another one, told only how long the body is, reads
        from there on.
        """
        if self.arriving is None:  # CONNECT, which has no body
            self.complete[-1].keep_alive = False
            return
        framing = [b"%s: %s\r\n" % header for header in self._headers if header[0] in _HEADERS_OF_A_BODY]
        self._headers = []
        self._parser = self._make_parser()
        self._resumed = True
        self._parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        self._resumed = False
        if rest:
            self.read(rest)

    def on_message_begin(self) -> None:
        """Start reading a request's headers."""
        if not self._resumed:
            self.has_begun = True
            self._began = perf_counter()
            self._url = b""
            self._headers = []

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        if not self._resumed:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is none."""
        if self.has_begun:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Decide on a request, unless it breaks a bound: then the parser stops."""
        if self._resumed:
            return
        version = self._parser.get_http_version()
        self._check_headers(version)
        if self._breach is not _MALFORMED:
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
        """Find what the parser lets pass against RFC 9112, or beyond a bound; in one pass, for it is each request's."""
        hosts, self._expects_continue = 0, False
        for name, value in self._headers:
            if name == b"host":
                hosts += 1
                if not _NOT_IN_A_HOST.isdisjoint(value):
                    self._breach = _HOST
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                self._breach = _CODING
            elif name == b"expect" and value.lower() == b"100-continue":
                self._expects_continue = version != "1.0"
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            self._breach = _HOST
        if version not in ("1.1", "1.0"):
            self._breach = _VERSION
        # Headers that came in one piece are within their bound.
        if len(self._headers) > _MAX_HEADERS or (self._unfinished and self._size_headers() > self._max_header_bytes):
            self._breach = _LARGE_HEADERS
        if len(self._url) > _MAX_URL_BYTES:
            self._breach = _LONG_URL

    def _size_headers(self) -> int:
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, and drop what is too much."""
        self._unfinished = 0
        request = self.arriving
        assert request is not None
        if request.refusal is None:
            request.body += body
            if len(request.body) > request.max_body_bytes:
                request.refusal = too_large(request.max_body_bytes)
                request.body = bytearray()

    def on_message_complete(self) -> None:
        """Queue a request that is whole, unless it is one whose body the parser skips."""
        request = self.arriving
        assert request is not None
        if self._parser.should_upgrade() and request.method != "CONNECT":
            return
        self.arriving = None
        self._unfinished = 0
        self.complete.append(request)
