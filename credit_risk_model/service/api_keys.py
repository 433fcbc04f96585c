"""API keys, if the configuration names a file of them. Otherwise anyone who can reach the service can call it.

The file is read again when it changes, so keys in a mounted Kubernetes Secret are rotated without a restart.
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
_MIN_KEY_CHARACTERS = 32
# Shorter than any key, so a key is never mistaken for a name, which the decision log contains.
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,31}")
_CHECK_SECONDS = 1.0


class ApiKeys:
    """The keys of a file, and what they protect."""

    def __init__(self, settings: ApiKeySettings) -> None:
        """Read the file.

        Raises:
            ConfigurationError: The file can't be read, has no key, or has an invalid line.
        """
        self._file = Path(settings.file)
        self._protected = frozenset(settings.protect)
        self._version = _version(self._file)
        self._names = _read(self._file)
        self._next_check = monotonic() + _CHECK_SECONDS

    def announce(self) -> None:
        """Log the number of keys and what they protect."""
        fields = {"keys": len(self._names), "protect": sorted(self._protected)}
        logger.info("API keys are enabled", extra={"fields": fields})

    def check(self, request: Request, group: str) -> str | None:
        """Check a request's key, if the request requires one.

        Returns:
            The name of the key; None if no key is required.

        Raises:
            RequestRefused: The key is missing or unknown.
        """
        # Browsers send a preflight request (OPTIONS) without a key.
        if group not in self._protected or request.method == "OPTIONS":
            return None
        if monotonic() >= self._next_check:
            self._reload_if_changed()
        for name, value in request.headers:
            candidate = None
            if name == b"x-api-key":
                candidate = value.strip()
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                candidate = value[7:].strip()
            if candidate is not None and (known := self._find(candidate)) is not None:
                return known
        headers = [(b"www-authenticate", b'Bearer realm="credit risk model"')]
        raise RequestRefused(401, "unauthorized", "Unauthorized", [_UNAUTHORIZED], headers)

    def _find(self, candidate: bytes) -> str | None:
        """Return a key's name, or None. Comparing with all keys keeps the time constant."""
        digest, found = _digest(candidate), None
        for known, name in self._names.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _reload_if_changed(self) -> None:
        """Reload the file if it has changed; keep the previous keys if it is invalid."""
        self._next_check = monotonic() + _CHECK_SECONDS
        version = _version(self._file)
        if version == self._version:
            return
        self._version = version
        try:
            self._names = _read(self._file)
        except ConfigurationError as error:
            logger.error("API keys not reloaded, the old ones stay valid", extra={"fields": {"reason": str(error)}})
        else:
            logger.info("API keys reloaded", extra={"fields": {"keys": len(self._names)}})


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _version(file: Path) -> tuple[int, ...] | None:
    """Return a fingerprint of the file's state. A Secret's file is a symlink to a symlink, which is replaced."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _read(file: Path) -> dict[bytes, str]:
    """Read the keys, one a line, each after an optional name; `#` starts a comment. Return names by key digest."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"{file}: can't be read ({error.strerror}). api_keys.file must name a file with one API key a line."
        ) from None
    names: dict[bytes, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.strip().startswith(b"#"):
            continue
        *name, key = line.split(maxsplit=1)
        key = key.strip()
        named = all(_NAME.fullmatch(word) for word in name)
        if not named or len(key) < _MIN_KEY_CHARACTERS or not all(0x21 <= byte <= 0x7E for byte in key):
            raise ConfigurationError(
                f"{file}: line {number} is not an API key. A key has at least {_MIN_KEY_CHARACTERS} ASCII characters "
                "without spaces; create one with `openssl rand -hex 32`. A name of up to 31 letters, digits, "
                "'.', '_' or '-' may precede it."
            )
        digest = _digest(key)
        names[digest] = name[0].decode() if name else f"key {digest.hex()[:8]}"
    if not names:
        raise ConfigurationError(f"{file}: has no API key. Write one a line; create one with `openssl rand -hex 32`.")
    return names
