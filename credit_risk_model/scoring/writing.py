"""Scores and rejected rows into files that are there whole or not at all."""

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
from credit_risk_model.tables.places import Place, identify, name_of, suffix_of
from credit_risk_model.tables.stores import check_bucket, upload
from credit_risk_model.whole_file import UnfinishedFile

SUFFIXES = (".parquet", ".csv")
ROW_GROUP_ROWS = 32_768
"""Loans of a row group: a shard takes whole ones, so that they must be many; and each costs something."""


class ScoreWriter(Protocol):
    """Takes tables of scores, one after the other."""

    def write(self, scores: pa.Table) -> None:
        """Write some more rows."""

    def close(self) -> None:
        """Write what the file's format needs at its end."""


class OutputFile:
    """A file that is being written; what goes wrong is told by its final name."""

    closed = False

    def __init__(self, file: IO[bytes], place: Place) -> None:
        """Write to `file` what is to be at `place`."""
        self._file, self._place = file, place

    def write(self, content: bytes) -> int:
        """Write some more."""
        with _telling_errors(self._place):
            return self._file.write(content)

    def flush(self) -> None:
        """Hand on what is buffered."""
        with _telling_errors(self._place):
            self._file.flush()


class _UnfinishedLocal:
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _telling_errors(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._file = UnfinishedFile(path)
        self.output = OutputFile(self._file.stream, path)

    def finish(self) -> None:
        """See that all of it is on the disk."""
        with _telling_errors(self._path):
            self._file.finish()

    def publish(self) -> None:
        """Give it its name."""
        with _telling_errors(self._path):
            self._file.publish()

    def discard(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(OSError):  # what is buffered can't be written either
            self._file.discard()


class _UnfinishedUpload:
    """A file that lies on this machine until it is whole, and is uploaded then."""

    def __init__(self, place: str) -> None:
        self._place = place
        check_bucket(place)
        self._file = NamedTemporaryFile()  # noqa: SIM115  # it lives until it is published or discarded
        self.output = OutputFile(cast(IO[bytes], self._file), place)

    def finish(self) -> None:
        """See that all of it can be read."""
        self.output.flush()

    def publish(self) -> None:
        """Upload it."""
        with _telling_errors(self._place):
            upload(Path(self._file.name), self._place)
        self._file.close()

    def discard(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(OSError):
            self._file.close()


@contextmanager
def whole_files(*places: Place) -> Iterator[tuple[OutputFile, ...]]:
    """Give files to write to that get their names once all are written, and leave nothing behind otherwise.

    Raises:
        DataError: One can't be written, for one because the disk is full, or a folder has its name.
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
def _telling_errors(place: Place) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise DataError(
            f"{name_of(place)}: can't be written ({reason}). Nothing was written: make room, or choose another folder, "
            "and run the same command again."
        ) from None


@contextmanager
def open_scores(file: OutputFile, place: Place, schema: pa.Schema) -> Iterator[ScoreWriter]:
    """Begin a file of scores, Parquet or CSV by its name.

    Args:
        file: What `whole_files` gives.
        place: Where it is to be.
        schema: Its columns, and what a Parquet file carries besides.
    """
    writer = _CsvScores(file, schema) if suffix_of(place) == ".csv" else _ParquetScores(file, schema)
    with _closing(writer):
        yield writer


@contextmanager
def open_loans(file: OutputFile, schema: pa.Schema) -> Iterator["ParquetLoans"]:
    """Begin a Parquet file of loans: `file` is what `whole_files` gives, `schema` has its columns."""
    writer = ParquetLoans(file, schema)
    with _closing(writer):
        yield writer


@contextmanager
def _closing(writer: "ScoreWriter | ParquetLoans") -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):  # the file goes anyway; closing it now keeps it from doing so later
            writer.close()
        raise
    writer.close()


def check_apart(source: Place, outputs: Sequence[Place]) -> None:
    """Refuse to write over what is read, or among it.

    Raises:
        ConfigurationError: Two places are the same, or an output is in the source's folder.
    """
    if len({identify(place) for place in (source, *outputs)}) <= len(outputs):
        raise ConfigurationError("All files that are read and written must be different files: name each its own.")
    if any(identify(place).startswith(f"{identify(source)}/") for place in outputs):
        raise ConfigurationError(
            f"{name_of(source)}: the output would lie among the loans, and be read as such. Choose another folder."
        )


def check_output(place: Place) -> None:
    """Refuse a name that tells no format."""
    if suffix_of(place) not in SUFFIXES:
        raise ConfigurationError(f"{name_of(place)}: name an output that ends in {' or '.join(SUFFIXES)}.")


class _ParquetScores:
    """One row group for each table, so that a shard's row groups are those of a whole run."""

    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        # Of the others hardly any value comes twice: a dictionary would only make them slower to write, and larger.
        self._writer = pq.ParquetWriter(file, schema, use_dictionary=["credit_risk", "cautions", "model_version"])

    def write(self, scores: pa.Table) -> None:
        self._writer.write_table(scores, row_group_size=max(1, scores.num_rows))

    def close(self) -> None:
        self._writer.close()


class ParquetLoans:
    """Takes tables of any size, and writes row groups of `ROW_GROUP_ROWS`."""

    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        """Begin a file of these columns."""
        self._writer = pq.ParquetWriter(file, schema)
        self._waiting = schema.empty_table()

    def write(self, loans: pa.Table) -> None:
        """Write some more rows."""
        self._waiting = pa.concat_tables([self._waiting, loans])
        while self._waiting.num_rows >= ROW_GROUP_ROWS:
            self._writer.write_table(self._waiting.slice(0, ROW_GROUP_ROWS), ROW_GROUP_ROWS)
            self._waiting = self._waiting.slice(ROW_GROUP_ROWS)

    def close(self) -> None:
        """Write what is left."""
        if self._waiting.num_rows:
            self._writer.write_table(self._waiting)
        self._writer.close()


class _CsvScores:
    """Texts are in quotes only where one of their table needs them."""

    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        self._file = file
        file.write(_to_csv_lines([schema.names]))

    def write(self, scores: pa.Table) -> None:
        try:
            self._file.write(_to_csv(scores, "none"))
        except pa.ArrowInvalid:  # an id with a comma, a quote or a line break in it
            self._file.write(_to_csv(scores, "needed"))

    def close(self) -> None:
        """There is nothing at the end of a CSV file."""


def _to_csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _to_csv(scores: pa.Table, quoting: str) -> pa.Buffer:
    buffer = pa.BufferOutputStream()
    pyarrow.csv.write_csv(scores, buffer, pyarrow.csv.WriteOptions(include_header=False, quoting_style=quoting))
    return buffer.getvalue()


class Rejects:
    """A CSV file of the rows that were not scored: row number, ids and reasons, and never another value."""

    def __init__(self, file: OutputFile, ids: Sequence[str], header: bool) -> None:
        """Begin it.

        Args:
            file: Where to.
            ids: Names of the id columns.
            header: Whether it begins with the columns' names. Later shards' don't: put together, they are one file.
        """
        self._file = file
        if header:
            file.write(_to_csv_lines([["row", *ids, "reasons"]]))

    def write(self, rejected: Mapping[int, tuple[Sequence[str], str]]) -> None:
        """Write ids and reasons by row number."""
        self._file.write(_to_csv_lines([row, *ids, reasons] for row, (ids, reasons) in sorted(rejected.items())))
