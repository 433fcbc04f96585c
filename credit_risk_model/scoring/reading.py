"""Loans from CSV (plain or gzip) and Parquet files, chunk by chunk, in the contract's names.

Where a file is cut depends on the file alone, so that shards see the chunks that a single run sees.
"""

import csv
import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.loan_age import SNAPSHOT, parse_as_of
from credit_risk_model.tables.ages import find_latest
from credit_risk_model.tables.columns import Layout, check_months, check_types, find_columns, find_layout
from credit_risk_model.tables.texts import MISSING_TEXTS, is_text, one_array
from credit_risk_model.tables.threads import map_in_order

OUTPUT_COLUMNS = ("row", "risk_probability", "credit_risk", "cautions", "model_version")

CHUNK_ROWS = 16_384
"""Loans of a chunk from a Parquet file: their matrix fits into a core's cache, and small files occupy all cores."""

BLOCK_BYTES = 1 << 22
"""Bytes of a chunk from a CSV file."""

_LONGEST_RECORD = 1 << 24
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_NUMERIC = [feature.name for feature in CONTRACT_FEATURES if not feature.levels]
_LEVELS = pa.dictionary(pa.int32(), pa.binary())  # text that is no UTF-8 is an unknown level, not an error


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a file: `number` of `count`, counted from 1."""

    number: int = 1
    count: int = 1

    def of(self, chunks: int) -> range:
        """Give this part's own chunks: every chunk is in one part, and the parts are as alike as can be."""
        return range(chunks * (self.number - 1) // self.count, chunks * self.number // self.count)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a file.

    Attributes:
        table: The rows that could be read: the contract's fields, then the id columns.
        broken: What is wrong with the others, by their place in the chunk, counted from 0.
    """

    table: pa.Table
    broken: dict[int, str]

    @property
    def rows(self) -> int:
        """Rows of the file, read or not."""
        return int(self.table.num_rows) + len(self.broken)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Each table row's place in the chunk, counted from 0."""
        return np.delete(np.arange(self.rows), list(self.broken))


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk that is still to be parsed, by whatever thread.

    Attributes:
        parse: Gives the chunk; raises DataError.
        done: Share of the work that is done when this one is.
    """

    parse: Callable[[], Chunk]
    done: float


class Source(ABC):
    """A file of loans, or a shard of it.

    Attributes:
        ids: Names and types of the id columns.
        rows_before: Rows of the file before this shard; known when the first task is.
    """

    ids: pa.Schema
    rows_before: int
    _path: Path
    _layout: Layout
    _threads: int

    @property
    def age(self) -> str:
        """Where the instalments due come from, in words."""
        return self._layout.age.words

    @abstractmethod
    def tasks(self) -> Iterator[Task]:
        """Read the file from front to back, once."""

    @abstractmethod
    def _parts_of(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        """Read one column of the whole file, whatever the shard; each part is parsed when it is called."""

    def _find_latest(self, name: str) -> int | None:
        """Find the latest month of a column in the whole file, whatever the shard."""
        with closing(map_in_order(lambda part: find_latest(part()), self._parts_of(name), self._threads)) as found:
            months = (month for month in found if month is not None)
            # Where each loan has a month of its own, it only matters whether there is any.
            return next(months, None) if name == SNAPSHOT else max(months, default=None)


def open_source(
    path: Path, ids: tuple[str, ...] = (), shard: Shard | None = None, as_of: str | None = None, threads: int = 1
) -> Source:
    """Open a file, whose kind is told by its first bytes, and find its columns and where its loans' age comes from.

    Args:
        path: CSV with a header, plain or gzip, or Parquet; in the contract's names or Kaggle's; other columns are fine.
        ids: Columns to pass through, in this order.
        shard: The part to read; all of it by default.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        threads: How many may look for the latest month of a column.

    Raises:
        DataError: The file is missing, can't be read, or lacks a column.
        ConfigurationError: An id column can't be one, `as_of` is no month, or the file can't be read in parts.
    """
    month = parse_as_of(as_of)
    for name in ids:
        taken = OUTPUT_COLUMNS + tuple(text for feature in CONTRACT_FEATURES for text in (feature.name, feature.column))
        if name in taken or ids.count(name) > 1:
            raise ConfigurationError(
                f"{name} can't be an id column: it is one already, or the contract's or the output's."
            )
    shard = shard or Shard()
    try:
        if path.is_fifo() or path.is_char_device():
            raise DataError(f"{path.name}: a pipe or a terminal, of which nothing can be read twice. Name a file.")
        with path.open("rb") as file:
            start = file.read(4)
        if start == _PARQUET:
            return _ParquetSource(path, ids, shard, as_of=month, threads=threads)
        return _CsvSource(path, ids, shard, as_of=month, threads=threads, packed=start.startswith(_GZIP))
    except FileNotFoundError:
        raise DataError(f"{path.name}: no such file.") from None
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from None


_READ_ERRORS = (OSError, EOFError, zlib.error, pa.ArrowException)


def _unreadable(path: Path, error: BaseException) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{path.name}: can't be read ({error.strerror}).")
    # Arrow's own words may quote a value.
    return DataError(f"{path.name}: damaged, truncated, or not what its first bytes say. Fetch or write it again.")


class _ParquetSource(Source):
    """A Parquet file; its parts are whole row groups."""

    def __init__(self, path: Path, ids: tuple[str, ...], shard: Shard, *, as_of: int | None, threads: int) -> None:
        self._path, self._threads = path, threads
        self._schema = schema = pq.read_schema(path)
        columns = find_columns(path.name, schema.names, ids)
        check_types(path.name, columns, self._type_of)
        self._layout = find_layout(columns, schema.names, ids, self._find_latest, as_of)
        levels = [feature.name for feature in CONTRACT_FEATURES if feature.levels]
        for name in self._layout.months:
            check_months(path.name, name, self._type_of(name))
            if is_text(self._type_of(name)) and name not in ids:
                levels.append(name)
        self._file = self._open([self._layout.columns[name] for name in levels])
        self.ids = pa.schema([schema.field(name).remove_metadata() for name in ids])
        groups = self._file.metadata.num_row_groups
        self._groups = shard.of(groups)
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(groups)]
        self.rows_before = sum(sizes[: self._groups.start])
        self._rows = sum(sizes[group] for group in self._groups)

    def _open(self, texts: list[str]) -> pq.ParquetFile:
        # Not pre-buffered, and pages through a small buffer: a row group may be larger than memory.
        return pq.ParquetFile(self._path, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20)

    def _type_of(self, column: str) -> pa.DataType:
        return self._schema.field(column).type

    def _parts_of(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        check_months(self._path.name, name, self._type_of(name))
        file = self._open([name] if is_text(self._type_of(name)) else [])
        for batch in file.iter_batches(CHUNK_ROWS, columns=[name]):
            yield partial(batch.column, 0)

    def tasks(self) -> Iterator[Task]:
        done = 0
        try:
            for group in self._groups:
                # By row group, so that no chunk reaches from one into the next.
                for batch in self._file.iter_batches(
                    CHUNK_ROWS, [group], columns=list(set(self._layout.columns.values()))
                ):
                    done += batch.num_rows
                    yield Task(partial(self._chunk, batch), done / self._rows)
        except _READ_ERRORS as error:
            raise _unreadable(self._path, error) from None

    def _chunk(self, batch: pa.RecordBatch) -> Chunk:
        columns = {name: batch.column(column) for name, column in self._layout.columns.items()}
        return Chunk(self._layout.to_loans(columns), {})


class _CsvSource(Source):
    """A CSV file; its parts are ranges of bytes, moved to where records end."""

    def __init__(
        self, path: Path, ids: tuple[str, ...], shard: Shard, *, as_of: int | None, threads: int, packed: bool
    ) -> None:
        if packed and shard.count > 1:
            raise ConfigurationError(f"{path.name}: a gzip file can't be read in parts. Unpack it, or write Parquet.")
        self._path, self._threads, self._packed = path, threads, packed
        with path.open("rb") as raw:
            self._header = self._read_header(self._unpacked(raw))
        columns = find_columns(path.name, self._header, ids)
        self._layout = find_layout(columns, self._header, ids, self._find_latest, as_of)
        self.ids = pa.schema([(name, pa.string()) for name in ids])
        self.rows_before = 0
        self._bytes = path.stat().st_size
        self._blocks_to_read = range(1 << 62) if packed else shard.of(-(-self._bytes // BLOCK_BYTES))

    def _unpacked(self, raw: IO[bytes]) -> IO[bytes]:
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if self._packed else raw

    def _read_header(self, file: IO[bytes]) -> list[str]:
        line = file.readline(BLOCK_BYTES).decode("utf-8-sig", errors="replace")
        try:
            header = next(csv.reader([line]), [])
        except csv.Error:
            raise DataError(f"{self._path.name}: its first line is no CSV. A header in text is needed.") from None
        if not header:
            raise DataError(f"{self._path.name}: empty, or its first line is. A header and rows are needed.")
        return header

    def tasks(self) -> Iterator[Task]:
        try:
            with self._path.open("rb") as raw:
                for number, block in enumerate(self._blocks(self._unpacked(raw))):
                    if number in self._blocks_to_read:
                        yield Task(partial(self._chunk, block), min(1.0, raw.tell() / self._bytes))
                    elif number < self._blocks_to_read.start:
                        self.rows_before += self._parse(block, {}, {}).rows
                    else:
                        return
        except _READ_ERRORS as error:
            raise _unreadable(self._path, error) from None

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Cut the file into the records that end in its first `BLOCK_BYTES`, in its second, and so on."""
        file.readline(BLOCK_BYTES)
        data, rest = file.read(BLOCK_BYTES - file.tell()), b""
        while data:
            following = file.read(BLOCK_BYTES)
            data = rest + data
            end = _end_of_records(data) if following else len(data)
            rest = data[end:]
            if len(rest) > _LONGEST_RECORD:
                raise DataError(f"{self._path.name}: not a CSV file, or a quote is opened that is not closed.")
            yield data[:end]
            data = following

    def _parts_of(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        with self._path.open("rb") as raw:
            for block in self._blocks(self._unpacked(raw)):
                yield partial(self._column, block, name)

    def _column(self, block: bytes, name: str) -> pa.Array:
        return one_array(self._parse(block, {name: _LEVELS}, {name: name}).table[name])

    def _chunk(self, block: bytes) -> Chunk:
        columns = self._layout.columns
        numeric = [name for name in _NUMERIC if name in columns]
        kinds = {name: pa.float64() if name in numeric else _LEVELS for name in columns}
        kinds |= dict.fromkeys(self.ids.names, pa.string())
        try:
            chunk = self._parse(block, kinds, columns)
        except pa.ArrowInvalid:
            # A number that is none somewhere in the block: read the numbers as text, of which the layout makes numbers.
            chunk = self._parse_text(block, kinds | dict.fromkeys(numeric, pa.binary()))
        found = {name: one_array(chunk.table[name]) for name in kinds}
        return Chunk(self._layout.to_loans(found), chunk.broken)

    def _parse_text(self, block: bytes, kinds: dict[str, pa.DataType]) -> Chunk:
        try:
            return self._parse(block, kinds, self._layout.columns)
        except pa.ArrowInvalid:  # of all columns, only ids have a rule left to break
            raise DataError(f"{self._path.name}: an id is not in UTF-8. Write the file in that encoding.") from None

    def _parse(self, block: bytes, kinds: dict[str, pa.DataType], columns: dict[str, str]) -> Chunk:
        """Parse columns as what `kinds` says of each, by the names that `columns` gives them; none: count the rows."""
        broken: dict[int, str] = {}

        def note(row: Any) -> str:
            broken[row.number - 1] = f"{row.actual_columns} fields where {row.expected_columns} are needed"
            return "skip"

        # Columns by their place, since names that aren't needed may be there twice.
        places = {name: str(self._header.index(columns[name])) for name in kinds}
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block or b"\n"),
            pyarrow.csv.ReadOptions(
                use_threads=False,
                block_size=len(block) + 1,
                column_names=[str(place) for place in range(len(self._header))],
            ),
            pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            pyarrow.csv.ConvertOptions(
                include_columns=list(places.values()) or ["0"],
                column_types={place: kinds[name] for name, place in places.items()} or {"0": pa.binary()},
                null_values=list(MISSING_TEXTS),
                strings_can_be_null=False,  # an id may be called NA
            ),
        )
        return Chunk(table.rename_columns(list(places) or ["0"]), broken)


def _end_of_records(data: bytes) -> int:
    """Find where the last whole record ends: behind the last line break with an even number of quotes before it."""
    quotes, end = data.count(b'"'), len(data)
    while (line_break := data.rfind(b"\n", 0, end)) >= 0:
        quotes -= data.count(b'"', line_break, end)
        if quotes % 2 == 0:
            return line_break + 1
        end = line_break
    return 0
