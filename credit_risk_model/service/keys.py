"""API keys, where the configuration names a file that holds them; without, whoever reaches the service may ask.

The file is read again when it changes, so that the keys of a mounted Kubernetes Secret are rotated without a restart.
"""

import hashlib
import hmac
import logging
from pathlib import Path
from time import monotonic

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.service.answers import Refusal
from credit_risk_model.service.server import Request
from credit_risk_model.service.settings import ApiKeySettings

logger = logging.getLogger(__name__)

SECURITY_SCHEMES = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}
_UNAUTHORIZED = "Send a valid API key as X-API-Key, or as Authorization: Bearer."
_SHORTEST = 32
_LOOK_SECONDS = 1.0


class ApiKeys:
    """The keys of a file, and what they protect."""

    def __init__(self, settings: ApiKeySettings) -> None:
        """Read the file.

        Raises:
            ConfigurationError: The file can't be read, holds no key or one that can't be used.
        """
        self._file = Path(settings.file)
        self._protected = frozenset(settings.protect)
        self._version = _version(self._file)
        self._digests = _read(self._file)
        self._next_look = monotonic() + _LOOK_SECONDS

    def announce(self) -> None:
        """Log how many keys there are and what they protect."""
        fields = {"keys": len(self._digests), "protect": sorted(self._protected)}
        logger.info("api keys are on", extra={"fields": fields})

    def check(self, request: Request, group: str) -> None:
        """Let a request pass that needs no key or has one.

        Raises:
            Refusal: It needs one.
        """
        # Browsers ask what is allowed (OPTIONS) before they send a key.
        if group not in self._protected or request.method == "OPTIONS":
            return
        if monotonic() >= self._next_look:
            self._look()
        for name, value in request.headers:
            if name == b"x-api-key" and self._knows(value.strip()):
                return
            if name == b"authorization" and value[:7].lower() == b"bearer " and self._knows(value[7:].strip()):
                return
        headers = [(b"www-authenticate", b'Bearer realm="credit risk model"')]
        raise Refusal(401, "unauthorized", "Unauthorized", [_UNAUTHORIZED], headers)

    def _knows(self, given: bytes) -> bool:
        """Compare with all keys, so that the time tells nothing of them."""
        digest = _digest(given)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0

    def _look(self) -> None:
        """Read the file again if it has changed; where it can't be used, the last keys go on holding."""
        self._next_look = monotonic() + _LOOK_SECONDS
        version = _version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._digests = _read(self._file)
        except ConfigurationError as error:
            logger.error("api keys not renewed, the last ones hold", extra={"fields": {"reason": str(error)}})
        else:
            logger.info("api keys renewed", extra={"fields": {"keys": len(self._digests)}})


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _version(file: Path) -> tuple[int, ...] | None:
    """Tell a state of the file from others; a Secret's is a link to a link, which is set anew."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _read(file: Path) -> list[bytes]:
    """Read the keys, one a line, `#` before a comment; give their digests."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"{file}: can't be read ({error.strerror}). It is named by api_keys.file and holds one API key a line."
        ) from None
    digests = []
    for number, line in enumerate(lines, start=1):
        key = line.strip()
        if not key or key.startswith(b"#"):
            continue
        if len(key) < _SHORTEST or not all(0x21 <= byte <= 0x7E for byte in key):
            raise ConfigurationError(
                f"{file}: line {number} is no API key. A key has at least {_SHORTEST} characters of ASCII, no space; "
                "`openssl rand -hex 32` makes one."
            )
        digests.append(_digest(key))
    if not digests:
        raise ConfigurationError(f"{file}: holds no API key. Write one a line; `openssl rand -hex 32` makes one.")
    return digests
