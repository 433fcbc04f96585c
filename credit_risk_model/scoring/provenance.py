"""Of which run a file of scores is a part: what such files carry, and what is compared when they are joined."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from credit_risk_model.errors import DataError
from credit_risk_model.tables.stores import StoredFile

_KEY = b"credit_risk_run"
_END_BYTES = 1 << 16


class Run(BaseModel):
    """A run, and the part of it that a file is.

    Attributes:
        source: Name of the file of loans.
        fingerprint: What tells this file from another of its name.
        archive: SHA-256 of the archive that answered.
        cut_off: A loan is risky from this probability on.
        shard, shards: The part's number, counted from 1, and how many there are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    fingerprint: str
    archive: str
    cut_off: float
    shard: int
    shards: int

    def added_to(self, schema: pa.Schema) -> pa.Schema:
        """Add this to what a file's schema carries."""
        return schema.with_metadata({_KEY: self.model_dump_json().encode()})


def read_run(name: str, schema: pa.Schema) -> Run:
    """Read of which run a file of scores is a part.

    Raises:
        DataError: It does not say.
    """
    try:
        return Run.model_validate_json((schema.metadata or {})[_KEY])
    except (KeyError, ValidationError):
        raise DataError(f"{name}: does not say of which run it is a part. Score its shard again.") from None


def fingerprint(files: Sequence[StoredFile]) -> str:
    """Compute what tells files from others of their names: from their sizes, their beginnings and their ends."""
    digest = hashlib.sha256()
    for stored in files:
        with stored.open() as file:
            size = file.size()
            digest.update(f"{stored.name} {size} ".encode())
            digest.update(file.read(_END_BYTES))
            file.seek(max(0, size - _END_BYTES))
            digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def sort_parts(parts: Sequence[tuple[StoredFile, Run]]) -> list[StoredFile]:
    """Put the parts of one run in order.

    Raises:
        DataError: One is of another run, is there twice, or is missing.
    """
    first_file, first = parts[0]
    for file, run in parts:
        for name, words in _COMPARED.items():
            if getattr(run, name) != getattr(first, name):
                raise DataError(f"{file.name}: {words} is not that of {first_file.name}. Score its shard again.")
    counts = Counter(run.shard for _, run in parts)
    if twice := [shard for shard, count in counts.items() if count > 1]:
        raise DataError(f"shard {_listed(twice)} of {first.shards} is there twice. Name each part once.")
    if missing := [shard for shard in range(1, first.shards + 1) if shard not in counts]:
        raise DataError(f"shard {_listed(missing)} of {first.shards} is missing. Score it, or name its part.")
    return [file for file, _ in sorted(parts, key=lambda part: part[1].shard)]


_COMPARED = {
    "source": "its source",
    "fingerprint": "the content of its source",
    "archive": "its archive",
    "cut_off": "its cut-off",
    "shards": "the number of shards",
}


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
