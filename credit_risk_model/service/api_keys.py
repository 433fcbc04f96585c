"""API keys, where the configuration names a file that holds them; without, whoever reaches the service may ask.

The file is read again when it changes, so that the keys of a mounted Kubernetes Secret are rotated without a restart.
"""

import hashlib
import hmac
import logging
import re
from pathlib import Path
from time import monotonic

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.service.errors import RequestRefused
from credit_risk_model.service.server import Request
from credit_risk_model.service.settings import ApiKeySettings

logger = logging.getLogger(__name__)

SECURITY_SCHEMES = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}
_UNAUTHORIZED = "Send a valid API key as X-API-Key, or as Authorization: Bearer."
_SHORTEST = 32
# Shorter than any key, so that a key is never taken for a name, which the decision log tells.
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,31}")
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
        self._names = _read(self._file)
        self._next_look = monotonic() + _LOOK_SECONDS

    def announce(self) -> None:
        """Log how many keys there are and what they protect."""
        fields = {"keys": len(self._names), "protect": sorted(self._protected)}
        logger.info("API keys are enabled", extra={"fields": fields})

    def check(self, request: Request, group: str) -> str | None:
        """Check a request's key, where it needs one.

        Returns:
            The name of its key; None where it needs none.

        Raises:
            RequestRefused: It needs one.
        """
        # Browsers ask what is allowed (OPTIONS) before they send a key.
        if group not in self._protected or request.method == "OPTIONS":
            return None
        if monotonic() >= self._next_look:
            self._look()
        for name, value in request.headers:
            given = None
            if name == b"x-api-key":
                given = value.strip()
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:].strip()
            if given is not None and (known := self._find(given)) is not None:
                return known
        headers = [(b"www-authenticate", b'Bearer realm="credit risk model"')]
        raise RequestRefused(401, "unauthorized", "Unauthorized", [_UNAUTHORIZED], headers)

    def _find(self, given: bytes) -> str | None:
        """Return a key's name; compares with all keys, so that the time tells nothing of them."""
        digest, found = _digest(given), None
        for known, name in self._names.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _look(self) -> None:
        """Read the file again if it has changed; where it can't be used, the last keys go on holding."""
        self._next_look = monotonic() + _LOOK_SECONDS
        version = _version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._names = _read(self._file)
        except ConfigurationError as error:
            logger.error("api keys not renewed, the last ones hold", extra={"fields": {"reason": str(error)}})
        else:
            logger.info("api keys renewed", extra={"fields": {"keys": len(self._names)}})


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _version(file: Path) -> tuple[int, ...] | None:
    """Return what differs between two states of the file. A Secret's file is a link to a link, which is replaced."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _read(file: Path) -> dict[bytes, str]:
    """Read the keys, one a line, a name before it where it has one, `#` before a comment; give names by digest."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"{file}: can't be read ({error.strerror}). It is named by api_keys.file and holds one API key a line."
        ) from None
    names: dict[bytes, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.strip().startswith(b"#"):
            continue
        *name, key = line.split(maxsplit=1)
        key = key.strip()
        named = all(_NAME.fullmatch(word) for word in name)
        if not named or len(key) < _SHORTEST or not all(0x21 <= byte <= 0x7E for byte in key):
            raise ConfigurationError(
                f"{file}: line {number} is no API key. A key has at least {_SHORTEST} characters of ASCII, no space; "
                "`openssl rand -hex 32` makes one. A name of up to 31 letters, digits, '.', '_' or '-' may stand "
                "before it."
            )
        digest = _digest(key)
        names[digest] = name[0].decode() if name else f"key {digest.hex()[:8]}"
    if not names:
        raise ConfigurationError(f"{file}: holds no API key. Write one a line; `openssl rand -hex 32` makes one.")
    return names
