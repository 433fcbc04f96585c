"""Loans from CSV (plain or gzip) and Parquet files, chunk by chunk, in the contract's names.

Where a file is cut depends on the file alone, so that shards see the chunks that a single run sees.
"""

import csv
import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES, TERM_MONTHS
from credit_risk_model.loan_age import (
    DATES_OF_FILE,
    ISSUED,
    SNAPSHOT,
    AgeSource,
    choose_age_source,
    parse_as_of,
    parse_month,
)
from credit_risk_model.scoring.checking import MISSING_TEXTS

OUTPUT_COLUMNS = ("row", "risk_probability", "credit_risk", "cautions", "model_version")

CHUNK_ROWS = 16_384
"""Loans of a chunk from a Parquet file: their matrix fits into a core's cache, and small files occupy all cores."""

BLOCK_BYTES = 1 << 22
"""Bytes of a chunk from a CSV file."""

_LONGEST_RECORD = 1 << 24
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_NUMBER = r"(?i)^[ \t]*[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?|nan)[ \t]*$"
_NUMERIC = [feature.name for feature in CONTRACT_FEATURES if not feature.levels]
_DATES = (ISSUED, SNAPSHOT, *DATES_OF_FILE)
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
    _source_of_age: AgeSource

    @property
    def age(self) -> str:
        """Where the loans' age is taken from, in words."""
        return self._source_of_age.words

    @abstractmethod
    def tasks(self) -> Iterator[Task]:
        """Read the file from front to back, once."""

    def _dates(self) -> set[str]:
        """Name the columns of months that each chunk needs."""
        source = self._source_of_age
        if not source.computed:
            return set()
        return {ISSUED, SNAPSHOT} if source.snapshot is None else {ISSUED}

    def _with_age(self, columns: dict[str, Any]) -> pa.Table:
        """Make a chunk's table: the months of its columns give way to the instalments due."""
        source = self._source_of_age
        rows = len(next(iter(columns.values())))
        if source.computed:
            snapshot = source.snapshot if source.snapshot is not None else _month_numbers(columns[SNAPSHOT])
            months = snapshot - _month_numbers(columns[ISSUED])
            term = _term_months(columns["term"])
            due = pa.array(np.minimum(np.where(months >= 0, months, np.nan), term), from_pandas=True)
            columns[AGE] = due
        elif AGE not in columns:
            columns[AGE] = pa.nulls(rows, pa.float64())
        passed_on = {*(feature.name for feature in CONTRACT_FEATURES), *self.ids.names}
        return pa.table({name: column for name, column in columns.items() if name in passed_on})


def _month_numbers(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Number the months of a column: text such as Dec-2011, dates or times; NaN for what is none."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_temporal(column.type):
        months = pc.add(pc.multiply(pc.year(column), 12), pc.subtract(pc.month(column), 1))
        return _to_floats(months)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    texts = pc.cast(column.dictionary, pa.binary()).to_pylist()
    numbers = [parse_month(text.decode(errors="replace")) if text is not None else None for text in texts]
    of_level = np.array([*(np.nan if number is None else number for number in numbers), np.nan])
    return np.asarray(of_level[column.indices.fill_null(len(texts)).to_numpy()])


def _to_floats(column: pa.Array) -> npt.NDArray[np.float64]:
    return np.asarray(pc.cast(column, pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False))


def _term_months(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Give each loan's number of instalments; infinite where the term is none, which is rejected later."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    known = {text.encode(): float(months) for text, months in TERM_MONTHS.items()}
    texts = pc.cast(column.dictionary, pa.binary()).to_pylist()
    of_level = np.array([*(known.get(text, np.inf) for text in texts), np.inf])
    return np.asarray(of_level[column.indices.fill_null(len(texts)).to_numpy()])


def open_source(path: Path, ids: tuple[str, ...] = (), shard: Shard | None = None, as_of: str | None = None) -> Source:
    """Open a file, whose kind is told by its first bytes, and find its columns.

    Args:
        path: CSV with a header, plain or gzip, or Parquet; in the contract's names or Kaggle's; other columns are fine.
        ids: Columns to pass through, in this order.
        shard: The part to read; all of it by default.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.

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
            return _ParquetSource(path, ids, shard, month)
        return _CsvSource(path, ids, shard, month, packed=start.startswith(_GZIP))
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


def _find_columns(path: Path, header: list[str], ids: tuple[str, ...]) -> dict[str, str]:
    """Give the file's column for each contract field and each id."""
    found, missing, repeated = {}, [], []
    for feature in CONTRACT_FEATURES:
        names = {name for name in (feature.name, feature.column) if name} & set(header)
        if len(names) > 1 or any(header.count(name) > 1 for name in names):
            repeated.append(feature.name)
        elif names:
            found[feature.name] = names.pop()
        elif feature.name != AGE:
            missing.append(feature.name if feature.name == feature.column else f"{feature.name} ({feature.column})")
    missing += [name for name in ids if name not in header]
    repeated += [name for name in ids if header.count(name) > 1]
    if missing:
        raise DataError(f"{path.name}: no column {', '.join(missing)}. Each is needed by one of its names.")
    if repeated:
        raise DataError(f"{path.name}: more than one column for {', '.join(repeated)}. Keep one of each.")
    return found | {name: name for name in ids}


class _ParquetSource(Source):
    """A Parquet file; its parts are whole row groups."""

    def __init__(self, path: Path, ids: tuple[str, ...], shard: Shard, as_of: int | None) -> None:
        self._path = path
        schema = pq.read_schema(path)
        self._columns = _find_columns(path, schema.names, ids)
        self._source_of_age = choose_age_source(
            {*(name for name in _DATES if name in schema.names), *self._columns}, self._latest, as_of
        )
        levels = [self._columns[feature.name] for feature in CONTRACT_FEATURES if feature.levels]
        # Not pre-buffered, and pages through a small buffer: a row group may be larger than memory.
        self._file = pq.ParquetFile(path, read_dictionary=levels, pre_buffer=False, buffer_size=1 << 20)
        self._check_types(schema)
        self.ids = pa.schema([schema.field(name).remove_metadata() for name in ids])
        groups = self._file.metadata.num_row_groups
        self._groups = shard.of(groups)
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(groups)]
        self.rows_before = sum(sizes[: self._groups.start])
        self._rows = sum(sizes[group] for group in self._groups)

    def _check_types(self, schema: pa.Schema) -> None:
        for feature in CONTRACT_FEATURES:
            if feature.name not in self._columns:
                continue
            column = self._columns[feature.name]
            kind = schema.field(column).type
            fits = _is_text(kind) if feature.levels else _is_number(kind)
            if not fits and not pa.types.is_null(kind):
                needed = "text is" if feature.levels else "numbers are"
                raise DataError(f"{self._path.name}: column {column} is of type {kind}, {needed} needed.")

    def tasks(self) -> Iterator[Task]:
        done = 0
        wanted = {*self._columns.values(), *self._dates()}
        try:
            for group in self._groups:
                # By row group, so that no chunk reaches from one into the next.
                for batch in self._file.iter_batches(CHUNK_ROWS, [group], columns=list(wanted)):
                    done += batch.num_rows
                    yield Task(partial(self._chunk, batch), done / self._rows)
        except _READ_ERRORS as error:
            raise _unreadable(self._path, error) from None

    def _chunk(self, batch: pa.RecordBatch) -> Chunk:
        columns = {name: batch.column(column) for name, column in self._columns.items()}
        columns |= {name: batch.column(name) for name in self._dates()}
        return Chunk(self._with_age(columns), {})

    def _latest(self, name: str) -> int | None:
        """Find the latest month of a column, reading that column alone."""
        file = pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20)
        return _latest_of(batch.column(0) for batch in file.iter_batches(CHUNK_ROWS, columns=[name]))


def _latest_of(columns: Iterable[pa.Array | pa.ChunkedArray]) -> int | None:
    latest = max(
        (np.nanmax(months) for column in columns if np.isfinite(months := _month_numbers(column)).any()), default=None
    )
    return None if latest is None else int(latest)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


class _CsvSource(Source):
    """A CSV file; its parts are ranges of bytes, moved to where records end."""

    def __init__(self, path: Path, ids: tuple[str, ...], shard: Shard, as_of: int | None, packed: bool) -> None:
        if packed and shard.count > 1:
            raise ConfigurationError(f"{path.name}: a gzip file can't be read in parts. Unpack it, or write Parquet.")
        self._path, self._packed = path, packed
        with path.open("rb") as raw:
            self._header = self._read_header(self._unpacked(raw))
        self._columns = _find_columns(path, self._header, ids)
        self._source_of_age = choose_age_source(
            {*(name for name in _DATES if name in self._header), *self._columns}, self._latest, as_of
        )
        self._columns |= {name: name for name in self._dates()}
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
                        self.rows_before += self._parse(block, {}).rows
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

    def _chunk(self, block: bytes) -> Chunk:
        numeric = [name for name in _NUMERIC if name in self._columns]
        kinds = {name: pa.float64() if name in numeric else _LEVELS for name in self._columns}
        kinds |= dict.fromkeys(self.ids.names, pa.string())
        try:
            chunk = self._parse(block, kinds)
        except pa.ArrowInvalid:
            # A number that is none somewhere in the block: read the numbers as text, and turn those that are into some.
            chunk = self._parse_text(block, kinds | dict.fromkeys(numeric, pa.binary()))
            columns = {name: chunk.table[name] for name in kinds}
            columns |= {name: _to_numbers(columns[name]) for name in numeric}
        else:
            columns = {name: chunk.table[name] for name in kinds}
        return Chunk(self._with_age(columns), chunk.broken)

    def _latest(self, name: str) -> int | None:
        """Find the latest month of a column, in a pass over the whole file."""
        with self._path.open("rb") as raw:
            parts = (
                self._parse(block, {name: _LEVELS}, {name: name}).table[name]
                for block in self._blocks(self._unpacked(raw))
            )
            return _latest_of(parts)

    def _parse_text(self, block: bytes, kinds: dict[str, pa.DataType]) -> Chunk:
        try:
            return self._parse(block, kinds)
        except pa.ArrowInvalid:  # of all columns, only ids have a rule left to break
            raise DataError(f"{self._path.name}: an id is not in UTF-8. Write the file in that encoding.") from None

    def _parse(self, block: bytes, kinds: dict[str, pa.DataType], columns: dict[str, str] | None = None) -> Chunk:
        """Parse the columns that are named, by their contract names; none: count the rows."""
        columns = self._columns if columns is None else columns
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


def _to_numbers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn text into numbers: NaN where it is none, null where it is missing."""
    missing = pc.is_in(texts, pa.array([text.encode() for text in MISSING_TEXTS]))
    texts = pc.if_else(pc.match_substring_regex(texts, _NUMBER), texts, pa.scalar(b"nan"))
    numbers = pc.cast(pc.ascii_trim_whitespace(pc.cast(texts, pa.string())), pa.float64())
    return pc.if_else(missing, pa.scalar(None, pa.float64()), numbers)
