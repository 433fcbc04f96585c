"""Writes scores and rejected rows into files that are written whole or not at all."""

import contextlib
import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Protocol, cast

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.tables.places import Place, get_name, get_suffix, identify
from credit_risk_model.tables.stores import check_bucket, upload
from credit_risk_model.whole_file import UnfinishedFile

SUFFIXES = (".parquet", ".csv")
ROW_GROUP_ROWS = 32_768
"""Loans per row group. A shard takes whole row groups, so there must be many of them; but each has a cost."""


class ScoreWriter(Protocol):
    """Writes tables of scores, one after the other."""

    def write(self, scores: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write the end of the file, if its format has one."""


class OutputFile:
    """An open output file, whose errors name its final place."""

    closed = False

    def __init__(self, file: IO[bytes], place: Place) -> None:
        """Write to `file`, which will be published at `place`."""
        self._file, self._place = file, place

    def write(self, content: bytes) -> int:
        """Append bytes."""
        with _naming_errors(self._place):
            return self._file.write(content)

    def flush(self) -> None:
        """Flush the buffer."""
        with _naming_errors(self._place):
            self._file.flush()


class _UnfinishedLocal:
    """A file on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _naming_errors(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._file = UnfinishedFile(path)
        self.output = OutputFile(self._file.stream, path)

    def finish(self) -> None:
        """Write everything to the disk."""
        with _naming_errors(self._path):
            self._file.finish()

    def publish(self) -> None:
        """Rename it to its final name."""
        with _naming_errors(self._path):
            self._file.publish()

    def discard(self) -> None:
        """Delete it."""
        with contextlib.suppress(OSError):  # flushing the buffer fails, too
            self._file.discard()


class _UnfinishedUpload:
    """A temporary file on this machine that is uploaded once it is whole."""

    def __init__(self, place: str) -> None:
        self._place = place
        check_bucket(place)
        self._file = NamedTemporaryFile()  # noqa: SIM115  # it stays open until it is published or discarded
        self.output = OutputFile(cast(IO[bytes], self._file), place)

    def finish(self) -> None:
        """Flush it, so that all of it can be read."""
        self.output.flush()

    def publish(self) -> None:
        """Upload it."""
        with _naming_errors(self._place):
            upload(Path(self._file.name), self._place)
        self._file.close()

    def discard(self) -> None:
        """Delete it."""
        with contextlib.suppress(OSError):
            self._file.close()


@contextmanager
def open_whole_files(*places: Place) -> Iterator[tuple[OutputFile, ...]]:
    """Open files that get their final names once all are written, and are deleted on an error.

    Raises:
        DataError: A file can't be written: the disk is full, or a folder has its name.
    """
    unfinished: list[_UnfinishedLocal | _UnfinishedUpload] = []
    try:
        for place in places:
            unfinished.append(_UnfinishedLocal(place) if isinstance(place, Path) else _UnfinishedUpload(place))
        yield tuple(file.output for file in unfinished)
        for file in unfinished:
            file.finish()
        for file in unfinished:
            file.publish()
    except BaseException:
        for file in unfinished:
            file.discard()
        raise


@contextmanager
def _naming_errors(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(
            f"{get_name(place)}: can't be written ({reason}). Nothing was written. Free some space or choose another "
            "folder, then run the same command again."
        ) from None


@contextmanager
def open_scores(file: OutputFile, place: Place, schema: pa.Schema) -> Iterator[ScoreWriter]:
    """Open a writer of scores, in Parquet or CSV by the file's suffix.

    Args:
        file: A file from `open_whole_files`.
        place: Its final place.
        schema: Its columns, and the metadata of a Parquet file.
    """
    writer = _CsvScores(file, schema) if get_suffix(place) == ".csv" else _ParquetScores(file, schema)
    with _closing(writer):
        yield writer


@contextmanager
def open_loans(file: OutputFile, schema: pa.Schema) -> Iterator["ParquetLoans"]:
    """Open a writer of loans in Parquet; `file` comes from `open_whole_files`, `schema` has its columns."""
    writer = ParquetLoans(file, schema)
    with _closing(writer):
        yield writer


@contextmanager
def _closing(writer: "ScoreWriter | ParquetLoans") -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # the file is deleted anyway; close it now, not when it is collected
            writer.close()
        raise
    writer.close()


def check_apart(source: Place, outputs: Sequence[Place]) -> None:
    """Refuse outputs that overwrite the source or each other, or that lie in the source's folder.

    Raises:
        ConfigurationError: Two places are the same, or an output is in the source's folder.
    """
    if len({identify(place) for place in (source, *outputs)}) <= len(outputs):
        raise ConfigurationError("Two of the files to read and write are the same file. Give each its own name.")
    if any(identify(place).startswith(f"{identify(source)}/") for place in outputs):
        raise ConfigurationError(
            f"{get_name(source)}: the output is in this folder, and would be read as loans. Choose another folder."
        )


def check_output(place: Place) -> None:
    """Refuse a name whose suffix is not that of a known format."""
    if get_suffix(place) not in SUFFIXES:
        raise ConfigurationError(f"{get_name(place)}: name an output that ends in {' or '.join(SUFFIXES)}.")


class _ParquetScores:
    """Writes one row group for each table, so that a shard's row groups equal those of a whole run."""

    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        # The values of the other columns rarely repeat: dictionaries would make them larger and slower to write.
        self._writer = pq.ParquetWriter(file, schema, use_dictionary=["credit_risk", "cautions", "model_version"])

    def write(self, scores: pa.Table) -> None:
        self._writer.write_table(scores, row_group_size=max(1, scores.num_rows))

    def close(self) -> None:
        self._writer.close()


class ParquetLoans:
    """Writes tables of any size in row groups of `ROW_GROUP_ROWS`."""

    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        """Open a file with these columns."""
        self._writer = pq.ParquetWriter(file, schema)
        self._waiting = schema.empty_table()

    def write(self, loans: pa.Table) -> None:
        """Append rows."""
        self._waiting = pa.concat_tables([self._waiting, loans])
        while self._waiting.num_rows >= ROW_GROUP_ROWS:
            self._writer.write_table(self._waiting.slice(0, ROW_GROUP_ROWS), ROW_GROUP_ROWS)
            self._waiting = self._waiting.slice(ROW_GROUP_ROWS)

    def close(self) -> None:
        """Write the remaining rows and the end of the file."""
        if self._waiting.num_rows:
            self._writer.write_table(self._waiting)
        self._writer.close()


class _CsvScores:
    """Writes CSV, with quotes only in tables that need them."""

    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        self._file = file
        file.write(_to_csv_lines([schema.names]))

    def write(self, scores: pa.Table) -> None:
        try:
            self._file.write(_to_csv(scores, "none"))
        except pa.ArrowInvalid:  # an id holds a comma, a quote or a line break
            self._file.write(_to_csv(scores, "needed"))

    def close(self) -> None:
        """Do nothing: CSV has no footer."""


def _to_csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _to_csv(scores: pa.Table, quoting: str) -> pa.Buffer:
    buffer = pa.BufferOutputStream()
    pyarrow.csv.write_csv(scores, buffer, pyarrow.csv.WriteOptions(include_header=False, quoting_style=quoting))
    return buffer.getvalue()


class Rejects:
    """A CSV file of rejected rows: row number, ids and reasons, and no other value."""

    def __init__(self, file: OutputFile, ids: Sequence[str], header: bool) -> None:
        """Open the file.

        Args:
            file: A file from `open_whole_files`.
            ids: Names of the id columns.
            header: Whether to write a header. Only the first shard does, so that the shards' files can be concatenated.
        """
        self._file = file
        if header:
            file.write(_to_csv_lines([["row", *ids, "reasons"]]))

    def write(self, rejected: Mapping[int, tuple[Sequence[str], str]]) -> None:
        """Write ids and reasons by row number."""
        self._file.write(_to_csv_lines([row, *ids, reasons] for row, (ids, reasons) in sorted(rejected.items())))
