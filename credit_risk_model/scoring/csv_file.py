"""One CSV file, plain or gzip: its header, and its records in blocks."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from credit_risk_model.errors import DataError
from credit_risk_model.scoring.source import READ_ERRORS, unreadable
from credit_risk_model.tables.columns import KNOWN_NAMES, plain_names

BLOCK_BYTES = 1 << 22
"""Bytes of a block."""

_LONGEST_RECORD = 1 << 24
_HEADER_LINES = 10
"""Lines among which the header is looked for: LendingClub's own files begin with a note."""
_GZIP = b"\x1f\x8b"


class CsvFile:
    """A CSV file.

    Attributes:
        path: Where it is.
        packed: Whether it can only be read from its beginning.
        bytes: Its size.
        header: Names of its columns, as `plain_names` gives them.
        lines_before: How many lines come before the header.
    """

    def __init__(self, path: Path) -> None:
        """Find the header of a file.

        Raises:
            DataError: There is none, or the file can't be read.
        """
        self.path, self.bytes = path, path.stat().st_size
        try:
            with path.open("rb") as raw:
                self.packed = raw.read(len(_GZIP)) == _GZIP
                raw.seek(0)
                self.header, self.lines_before = self._read_header(self._unpacked(raw))
        except READ_ERRORS as error:
            raise unreadable(path, error) from None

    @property
    def block_count(self) -> int:
        """How many blocks a file has that is not packed."""
        return -(-self.bytes // BLOCK_BYTES)

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """Cut the records into those that end in the file's first `BLOCK_BYTES`, in its second, and so on.

        Yields:
            Whole records, and how many of the file's bytes have been read by then.
        """
        try:
            with self.path.open("rb") as raw:
                for block in self._cut(self._unpacked(raw)):
                    yield block, raw.tell()
        except READ_ERRORS as error:
            raise unreadable(self.path, error) from None

    def _unpacked(self, raw: IO[bytes]) -> IO[bytes]:
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if self.packed else raw

    def _read_header(self, file: IO[bytes]) -> tuple[list[str], int]:
        """Find the first line with the most names of fields; give its names, and how many lines come before it."""
        lines = [file.readline(BLOCK_BYTES).decode("utf-8-sig", errors="replace") for _ in range(_HEADER_LINES)]
        headers = [_names(line) for line in lines]
        known = [len(KNOWN_NAMES.intersection(header or ())) for header in headers]
        place = known.index(max(known))
        header = headers[place]
        if header is None:
            raise DataError(f"{self.path.name}: its first line is no CSV. A header in text is needed.")
        if not header:
            raise DataError(f"{self.path.name}: empty, or its first line is. A header and rows are needed.")
        return header, place

    def _cut(self, file: IO[bytes]) -> Iterator[bytes]:
        for _ in range(self.lines_before + 1):
            file.readline(BLOCK_BYTES)
        data, rest = file.read(BLOCK_BYTES - file.tell()), b""
        while data:
            following = file.read(BLOCK_BYTES)
            data = rest + data
            end = _end_of_records(data) if following else len(data)
            rest = data[end:]
            if len(rest) > _LONGEST_RECORD:
                raise DataError(f"{self.path.name}: not a CSV file, or a quote is opened that is not closed.")
            yield data[:end]
            data = following


def _names(line: str) -> list[str] | None:
    """Read a line as a header; None where it is no CSV."""
    try:
        return plain_names(next(csv.reader([line]), []))
    except csv.Error:
        return None


def _end_of_records(data: bytes) -> int:
    """Find where the last whole record ends: behind the last line break with an even number of quotes before it."""
    quotes, end = data.count(b'"'), len(data)
    while (line_break := data.rfind(b"\n", 0, end)) >= 0:
        quotes -= data.count(b'"', line_break, end)
        if quotes % 2 == 0:
            return line_break + 1
        end = line_break
    return 0
