"""Reads one CSV file (plain, gzip or zip): its dialect, its header, and its records in blocks."""

import gzip
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

import pyarrow as pa

from credit_risk_model.errors import DataError
from credit_risk_model.tables.dialect import find_dialect
from credit_risk_model.tables.records import find_end_of_records
from credit_risk_model.tables.source import READ_ERRORS, make_read_error
from credit_risk_model.tables.stores import StoredFile

BLOCK_BYTES = 1 << 22
"""Size of a block."""

_SAMPLE_BYTES = 1 << 20
"""Size of the sample that the header and the dialect are detected from."""

_MAX_RECORD_BYTES = 1 << 24
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class CsvFile:
    """A CSV file.

    Attributes:
        name: Its name.
        packed: Whether it can only be read from its beginning.
        bytes: Its size.
        dialect: Its header, separator and decimal point.
        notes: What is unusual about its format, in words.
    """

    def __init__(self, stored: StoredFile) -> None:
        """Detect a file's format.

        Raises:
            DataError: It has no header, or can't be read.
        """
        self._stored, self.name, self.bytes = stored, stored.name, stored.size
        self._is_gzip = self._is_zip = self._is_utf_16 = False
        try:
            with stored.open() as raw:
                beginning = raw.read(len(_ZIP))
            self._is_gzip, self._is_zip = beginning.startswith(_GZIP), beginning == _ZIP
            with self._open() as (_, file):
                self._is_utf_16 = file.read(2) in _UTF_16
            with self._open() as (_, file):
                sample = file.read(_SAMPLE_BYTES)
        except READ_ERRORS as error:
            raise make_read_error(stored.name, error) from None
        self.packed = self._is_gzip or self._is_zip or self._is_utf_16
        self._ending = b"\n" if b"\n" in sample or b"\r" not in sample else b"\r"
        self.dialect = find_dialect(stored.name, sample.split(self._ending))
        self.notes = (
            *self.dialect.notes,
            *(["UTF-16"] if self._is_utf_16 else []),
            *(["lines that end in CR"] if self._ending == b"\r" else []),
        )

    @property
    def block_count(self) -> int:
        """Number of blocks, if the file is not packed."""
        return -(-self.bytes // BLOCK_BYTES)

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """Read the records block by block: those that end in the file's first `BLOCK_BYTES`, its second, and so on.

        Yields:
            Whole records, and the number of bytes read from the file so far.
        """
        try:
            with self._open() as (raw, file):
                for block in self._cut(file):
                    yield block, raw.tell()
        except READ_ERRORS as error:
            raise make_read_error(self.name, error) from None

    @contextmanager
    def _open(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Open the file; yield the raw file, and a view of it as plain UTF-8 text."""
        with self._stored.open() as raw:
            file = cast(IO[bytes], raw)
            if self._is_gzip:
                file = cast(IO[bytes], gzip.GzipFile(fileobj=raw))
            elif self._is_zip:
                file = self._open_zip(file)
            if self._is_utf_16:
                text = pa.transcoding_input_stream(pa.PythonFile(file, mode="r"), "utf-16", "utf-8")
                file = io.BufferedReader(text)
            yield raw, file

    def _open_zip(self, file: IO[bytes]) -> IO[bytes]:
        archive = zipfile.ZipFile(file)
        # macOS adds a metadata file for each file, in this folder.
        names = [
            name for name in archive.namelist() if name.lower().endswith(".csv") and not name.startswith("__MACOSX/")
        ]
        if len(names) != 1:
            raise DataError(f"{self.name}: holds {len(names)} CSV files instead of one. Unpack it.")
        try:
            return archive.open(names[0])
        except (RuntimeError, NotImplementedError):
            raise DataError(f"{self.name}: encrypted, or compressed by an unsupported method. Unpack it.") from None

    def _cut(self, file: IO[bytes]) -> Iterator[bytes]:
        data, start = file.read(BLOCK_BYTES), 0
        for _ in range(self.dialect.lines_before + 1):
            start = data.find(self._ending, start) + 1 or len(data)
        lines = self.dialect.lines_before + 1
        data, rest = data[start:], b""
        while True:
            following = file.read(BLOCK_BYTES)
            data = rest + data
            end, opened = find_end_of_records(data, self.dialect.separator, self._ending)
            if opened is not None and (not following or len(data) - end > _MAX_RECORD_BYTES):
                line = lines + data.count(self._ending, 0, opened) + 1
                raise DataError(f"{self.name}: line {line}: a quote is never closed. Close or remove it.")
            if len(data) - end > _MAX_RECORD_BYTES:
                raise DataError(f"{self.name}: not a CSV file: a line has more than {_MAX_RECORD_BYTES:,} bytes.")
            if not following:
                yield data
                return
            yield data[:end]
            lines += data.count(self._ending, 0, end)
            data, rest = following, data[end:]


def to_utf_8(block: bytes) -> tuple[bytes, bool]:
    """Replace invalid UTF-8 and remove zero bytes, which break parsers; also return whether anything was invalid."""
    block = block.replace(b"\0", b"")
    try:
        if not block.isascii():
            block.decode()
    except UnicodeDecodeError:
        return block.decode(errors="replace").encode(), True
    return block, False
