"""Loans from CSV files, plain or gzip."""

import csv
import gzip
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.csv

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.source import READ_ERRORS, Chunk, Shard, Source, Task, unreadable
from credit_risk_model.tables.columns import KNOWN_NAMES, PERCENT_SIGN, find_columns, find_layout, plain_names
from credit_risk_model.tables.texts import MISSING_TEXTS, one_array

BLOCK_BYTES = 1 << 22
"""Bytes of a chunk."""

_LONGEST_RECORD = 1 << 24
_HEADER_LINES = 10
"""Lines among which the header is looked for: LendingClub's own files begin with a note."""

_NO_LOANS = (
    "Loans that do not meet the credit policy",
    "Total amount funded in policy code",
    "Notes offered by Prospectus",
)
"""How lines of LendingClub's own files begin that are no loans."""

_NUMERIC = [feature.name for feature in CONTRACT_FEATURES if not feature.levels]
_LEVELS = pa.dictionary(pa.int32(), pa.binary())  # text that is no UTF-8 is an unknown level, not an error


class CsvSource(Source):
    """A CSV file; its parts are ranges of bytes, moved to where records end."""

    def __init__(
        self, path: Path, ids: tuple[str, ...], shard: Shard, *, as_of: int | None, threads: int, packed: bool
    ) -> None:
        """Open a file, as `open_source` does."""
        if packed and shard.count > 1:
            raise ConfigurationError(f"{path.name}: a gzip file can't be read in parts. Unpack it, or write Parquet.")
        self._path, self._threads, self._packed = path, threads, packed
        self._with_percent_sign: set[str] = set()  # of fields that are read as text from the beginning
        with path.open("rb") as raw:
            self._header, self._lines_before = self._read_header(self._unpacked(raw))
        if self._lines_before:
            self.notes = (f"{self._lines_before} line{'s' * (self._lines_before > 1)} before the header",)
        columns = find_columns(path.name, self._header, ids)
        self._layout = find_layout(columns, self._header, ids, self._find_latest, as_of)
        self.ids = pa.schema([(name, pa.string()) for name in ids])
        self.rows_before = 0
        self._bytes = path.stat().st_size
        self._blocks_to_read = range(1 << 62) if packed else shard.of(-(-self._bytes // BLOCK_BYTES))

    def _unpacked(self, raw: IO[bytes]) -> IO[bytes]:
        return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if self._packed else raw

    def _read_header(self, file: IO[bytes]) -> tuple[list[str], int]:
        """Find the first line with the most names of fields; give its names, and how many lines come before it."""
        lines = [file.readline(BLOCK_BYTES).decode("utf-8-sig", errors="replace") for _ in range(_HEADER_LINES)]
        try:
            headers = [plain_names(next(csv.reader([line]), [])) for line in lines]
        except csv.Error:
            raise DataError(f"{self._path.name}: its first line is no CSV. A header in text is needed.") from None
        known = [len(KNOWN_NAMES.intersection(header)) for header in headers]
        place = known.index(max(known))
        if not headers[place]:
            raise DataError(f"{self._path.name}: empty, or its first line is. A header and rows are needed.")
        return headers[place], place

    def tasks(self) -> Iterator[Task]:
        """Read the file from front to back, once."""
        try:
            with self._path.open("rb") as raw:
                for number, block in enumerate(self._blocks(self._unpacked(raw))):
                    if number in self._blocks_to_read:
                        yield Task(partial(self._chunk, block), min(1.0, raw.tell() / self._bytes))
                    elif number < self._blocks_to_read.start:
                        self.rows_before += self._parse(block, {}, {}).rows
                    else:
                        return
        except READ_ERRORS as error:
            raise unreadable(self._path, error) from None

    def _blocks(self, file: IO[bytes]) -> Iterator[bytes]:
        """Cut the file into the records that end in its first `BLOCK_BYTES`, in its second, and so on."""
        for _ in range(self._lines_before + 1):
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
        kinds = dict.fromkeys(columns, _LEVELS) | dict.fromkeys(set(numeric) - self._with_percent_sign, pa.float64())
        kinds |= dict.fromkeys(self.ids.names, pa.string())
        try:
            chunk = self._parse(block, kinds, columns)
        except pa.ArrowInvalid:
            # A number that is none somewhere in the block: read the numbers as text, of which the layout makes numbers.
            chunk = self._parse_text(block, kinds | dict.fromkeys(numeric, _LEVELS))
        found = {name: one_array(chunk.table[name]) for name in kinds}
        table, converted = self._layout.to_loans(found)
        self._with_percent_sign |= {name for name in numeric if f"{name}: {PERCENT_SIGN}" in converted}
        return replace(chunk, table=table, converted=converted)

    def _parse_text(self, block: bytes, kinds: dict[str, pa.DataType]) -> Chunk:
        try:
            return self._parse(block, kinds, self._layout.columns)
        except pa.ArrowInvalid:  # of all columns, only ids have a rule left to break
            raise DataError(f"{self._path.name}: an id is not in UTF-8. Write the file in that encoding.") from None

    def _parse(self, block: bytes, kinds: dict[str, pa.DataType], columns: dict[str, str]) -> Chunk:
        """Parse columns as what `kinds` says of each, by the names that `columns` gives them; none: count the rows."""
        broken: dict[int, str] = {}
        skipped: list[int] = []

        def note(row: Any) -> str:
            if row.text.lstrip('"').startswith(_NO_LOANS):
                skipped.append(row.number - 1)
            else:
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
        return Chunk(table.rename_columns(list(places) or ["0"]), broken, tuple(skipped))


def _end_of_records(data: bytes) -> int:
    """Find where the last whole record ends: behind the last line break with an even number of quotes before it."""
    quotes, end = data.count(b'"'), len(data)
    while (line_break := data.rfind(b"\n", 0, end)) >= 0:
        quotes -= data.count(b'"', line_break, end)
        if quotes % 2 == 0:
            return line_break + 1
        end = line_break
    return 0
