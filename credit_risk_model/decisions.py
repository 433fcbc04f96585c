"""The decision log: each request and its response as one JSON line, chained so that every change is detected.

A line is `{"mac":...,<facts of the decision>,"personal_sha256":...,"personal":{<facts about a person>}}`. Its `mac` is
an HMAC-SHA256 over the previous line's `mac` and everything up to `personal`, including the digest of `personal`. So
the personal part can be erased, with a seal that only the key's holder can make, and the chain still holds. A salt,
erased with it, keeps the digest from revealing anything. A file begins with a line that names the previous file's last
`mac`. A complete file ends with a seal.
"""

import hmac
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from credit_risk_model.errors import CreditRiskError

START = "0" * 64
"""Stands for the `mac` before the very first line."""
_MIN_KEY_BYTES = 32
_BLOCK_BYTES = 64
_SALT_BYTES = 16
_LINE = re.compile(rb'\{"mac":"([0-9a-f]{64})",(.*?),"personal":(.*)\}', re.DOTALL)
_HEAD_DIGITS = 13


class DecisionLogError(CreditRiskError):
    """A decision log, or its key, can't be used."""


def read_key(path: Path) -> bytes:
    """Read the key of a chain, without the white space around it.

    Raises:
        DecisionLogError: The file can't be read, or the key is too short.
    """
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise DecisionLogError(
            f"{path}: can't be read ({error.strerror}). It holds the key of the decision log."
        ) from None
    if len(key) < _MIN_KEY_BYTES:
        raise DecisionLogError(
            f"{path}: the key of the decision log has {len(key)} bytes, but needs at least {_MIN_KEY_BYTES}. "
            "Create one with `openssl rand -hex 32`."
        )
    return key


def head_number(mac: str) -> int:
    """Return a `mac`'s first 52 bits, which a metric's float holds exactly."""
    return int(mac[:_HEAD_DIGITS], 16)


class Chain:
    """Writer of chained lines: each is bound to all lines before it."""

    def __init__(self, key: bytes, mac: str = START, number: int = 0) -> None:
        """Continue a chain after a line.

        Args:
            key: The chain's key.
            mac: The `mac` of that line.
            number: The number of that line; lines are counted from 1, over all files.
        """
        # HMAC by its definition (RFC 2104), with the key's part computed once: the hmac module takes twice as long.
        padded = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner, self._outer = (sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
        self.mac, self.number = mac, number

    def add(self, kind: str, members: bytes, personal: bytes = b"{}") -> bytes:
        """Return the next line.

        Args:
            kind: `begin`, `decision` or `seal`.
            members: Members of a JSON object, without its braces, that are never erased.
            personal: JSON of the part that may have to be erased.
        """
        self.number += 1
        digest = sha256(personal).hexdigest().encode()
        meta = b'"n":%d,"kind":"%b",%b,"personal_sha256":"%b"' % (self.number, kind.encode(), members, digest)
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(self.mac.encode() + meta)
        outer.update(inner.digest())
        self.mac = outer.hexdigest()
        return b'{"mac":"%b",%b,"personal":%b}\n' % (self.mac.encode(), meta, personal)


_salts: list[bytes] = []


def _make_salt() -> bytes:
    """Return a new salt. One system call makes many: a call takes half as long as a line."""
    try:
        return _salts.pop()
    except IndexError:
        random = os.urandom(_SALT_BYTES * 256).hex().encode()
        _salts.extend(random[start : start + 2 * _SALT_BYTES] for start in range(0, len(random), 2 * _SALT_BYTES))
        return _salts.pop()


def make_personal(reference: str | None, loan: bytes, reasons: bytes | None = None) -> bytes:
    """Return the personal part of a decision, with a salt, so that erased values can't be guessed from the digest.

    Args:
        reference: The client's own name for the decision, without characters that need escaping.
        loan: JSON of the validated fields.
        reasons: JSON of the reasons, if the request asked for them.
    """
    named = b"null" if reference is None else b'"%b"' % reference.encode()
    if reasons is not None:
        loan += b',"reasons":' + reasons
    return b'{"salt":"%b","reference":%b,"loan":%b}' % (_make_salt(), named, loan)


def _compute_mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256").hex().encode()


def _compute_erasure_seal(key: bytes, meta: bytes) -> str:
    return _compute_mac(key, b"erased" + meta).decode()


@dataclass
class Verified:
    """Result of verifying a log.

    Attributes:
        lines, decisions, erased: The number of each.
        mac: The last line's `mac`.
        number: The last line's number.
        faults: What is wrong, with file and line.
    """

    lines: int = 0
    decisions: int = 0
    erased: int = 0
    mac: str = START
    number: int = 0
    faults: list[str] = field(default_factory=list)


def find_files(log: Path) -> list[Path]:
    """Find a log's files, the oldest first: the rotated ones, then the current one."""
    return [*sorted(log.parent.glob(f"{log.stem}.{'[0-9]' * 12}{log.suffix}")), *([log] if log.exists() else [])]


def sealed_name(log: Path, number: int) -> Path:
    """Return the name of a rotated file, from the number of its first line."""
    return log.with_name(f"{log.stem}.{number:012d}{log.suffix}")


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield a file's lines, including a last one that is cut."""
    with path.open("rb") as file:
        yield from file


def records(files: Iterable[Path], kind: str = "decision") -> Iterator[dict[str, Any]]:
    """Yield the records of a kind, unverified; skip lines that are not a decision log's."""
    for path in files:
        for line in lines_of(path):
            if _LINE.fullmatch(line.rstrip(b"\n")):
                record: dict[str, Any] = from_json(line)
                if record["kind"] == kind:
                    yield record


def verify(files: Iterable[Path], key: bytes, head: tuple[int, int] | None = None) -> Verified:
    """Follow the chain through a log's files.

    The first line may have any number, since older files may have been deleted.

    Args:
        files: All files of the log, the oldest first.
        key: The chain's key.
        head: Number of a line and its `head_number`, from the metrics. A log that ends before that line was cut.
    """
    found, number = Verified(), None
    for path in files:
        for place, line in enumerate(lines_of(path), start=1):
            _verify_line(found, key, line, f"{path.name}, line {place}")
            if head is not None and found.number == head[0]:
                number = head_number(found.mac)
    if head is not None and number != head[1]:
        found.faults.append(f"line {head[0]}: differs from the one in the metrics; the log ends at {found.number}")
    return found


def _verify_line(found: Verified, key: bytes, line: bytes, place: str) -> None:
    parts = _LINE.fullmatch(line.rstrip(b"\n"))
    if parts is None:
        found.faults.append(f"{place}: is not a line of a decision log, or was cut")
        return
    mac, meta, personal = parts[1].decode(), parts[2], parts[3]
    members: dict[str, Any] = from_json(b"{%b}" % meta)
    former = found.mac
    if found.lines == 0 and members.get("kind") == "begin":
        former = members["follows"]
    elif members.get("n") != found.number + 1:
        found.faults.append(f"{place}: follows line {found.number} as line {members.get('n')}: lines are lost or moved")
    elif members.get("kind") == "begin" and members["follows"] != former:
        found.faults.append(f"{place}: follows a line other than the last one")
    if not hmac.compare_digest(_compute_mac(key, former.encode() + meta).decode(), mac):
        found.faults.append(f"{place}: does not follow from the line before it: one of them was changed, lost or added")
    erased = _read_erasure_seal(personal)
    if erased is not None:
        found.erased += 1
        if not hmac.compare_digest(_compute_erasure_seal(key, meta), erased):
            found.faults.append(f"{place}: was erased without the key")
    elif sha256(personal).hexdigest() != members["personal_sha256"]:
        found.faults.append(f"{place}: the logged loan was changed")
    found.lines += 1
    found.decisions += members.get("kind") == "decision"
    found.mac, found.number = mac, members["n"]


def _read_erasure_seal(personal: bytes) -> str | None:
    if not personal.startswith(b'{"erased":'):
        return None
    seal: str = from_json(personal)["erased"]
    return seal


def is_sealed(path: Path) -> bool:
    """Return whether a file is complete: it ends with a seal and is never written again."""
    return next(records([path], "seal"), None) is not None


def erase(path: Path, key: bytes, reference: str) -> int:
    """Erase a person's fields in a file that is no longer written; the file is replaced atomically.

    Returns:
        The number of erased decisions.
    """
    number, kept = 0, []
    for line in lines_of(path):
        parts = _LINE.fullmatch(line.rstrip(b"\n"))
        if parts is not None and from_json(parts[3]).get("reference") == reference:
            seal = _compute_erasure_seal(key, parts[2]).encode()
            line = b'{"mac":"%b",%b,"personal":{"erased":"%b"}}\n' % (parts[1], parts[2], seal)  # noqa: PLW2901
            number += 1
        kept.append(line)
    if number:
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777)
            file.writelines(kept)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    return number


def last_line(path: Path) -> tuple[str, int]:
    """Return `mac` and number of a file's last complete line, or the start values if there is none."""
    mac, number = START, 0
    for line in lines_of(path):
        if line.endswith(b"\n") and (parts := _LINE.fullmatch(line[:-1])):
            mac, number = parts[1].decode(), from_json(b"{%b}" % parts[2])["n"]
    return mac, number
