"""Identifies the run that wrote a file of scores, so that only shards of one run are joined."""

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
    """A run and one of its shards, as a file of scores stores them.

    Attributes:
        source: Name of the file of loans.
        fingerprint: Distinguishes this file from others of the same name.
        archive: SHA-256 of the archive that scored the loans.
        cut_off: A loan is risky from this probability on.
        shard, shards: The shard's number, counted from 1, and the number of shards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    fingerprint: str
    archive: str
    cut_off: float
    shard: int
    shards: int

    def added_to(self, schema: pa.Schema) -> pa.Schema:
        """Add this to a schema's metadata."""
        return schema.with_metadata({_KEY: self.model_dump_json().encode()})


def read_run(name: str, schema: pa.Schema) -> Run:
    """Read the run from the schema of a file of scores.

    Raises:
        DataError: The schema does not hold one.
    """
    try:
        return Run.model_validate_json((schema.metadata or {})[_KEY])
    except (KeyError, ValidationError):
        raise DataError(f"{name}: does not say which run wrote it. Score its shard again.") from None


def fingerprint(files: Sequence[StoredFile]) -> str:
    """Hash the files' names, sizes, first and last bytes, to distinguish them from others of the same names."""
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
    """Sort the parts of one run.

    Raises:
        DataError: A part is from another run, named twice, or missing.
    """
    first_file, first = parts[0]
    for file, run in parts:
        for name, words in _COMPARED.items():
            if getattr(run, name) != getattr(first, name):
                raise DataError(f"{file.name}: {words} differs from that of {first_file.name}. Score its shard again.")
    counts = Counter(run.shard for _, run in parts)
    if twice := [shard for shard, count in counts.items() if count > 1]:
        raise DataError(f"shard {_list_numbers(twice)} of {first.shards} is named twice. Name each part once.")
    if missing := [shard for shard in range(1, first.shards + 1) if shard not in counts]:
        raise DataError(f"shard {_list_numbers(missing)} of {first.shards} is missing. Score it, or name its part.")
    return [file for file, _ in sorted(parts, key=lambda part: part[1].shard)]


_COMPARED = {
    "source": "its source",
    "fingerprint": "the content of its source",
    "archive": "its archive",
    "cut_off": "its cut-off",
    "shards": "the number of shards",
}


def _list_numbers(numbers: list[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
