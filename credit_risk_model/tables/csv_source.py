"""Reads loans from CSV files."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables.columns import PERCENT_SIGN, Wanted, find_columns, find_layout
from credit_risk_model.tables.csv_file import CsvFile, to_utf_8
from credit_risk_model.tables.dialect import Dialect
from credit_risk_model.tables.source import NOT_IN_UTF_8, Chunk, Shard, Source, Task
from credit_risk_model.tables.stores import StoredFile
from credit_risk_model.tables.texts import MISSING_TEXTS, combine_chunks, is_text

_NO_LOANS = (
    "Loans that do not meet the credit policy",
    "Total amount funded in policy code",
    "Notes offered by Prospectus",
)
"""Beginnings of lines in LendingClub's own files that are not loans."""
_NO_LOANS_PATTERN = f"^({'|'.join(_NO_LOANS)})"

_NUMERIC = [feature.name for feature in CONTRACT_FEATURES if not feature.levels]
_LEVELS = pa.dictionary(pa.int32(), pa.binary())  # invalid UTF-8 is an unknown level, not an error


class CsvSource(Source):
    """CSV files. A shard takes some of several files, or byte ranges of a single one, aligned to records."""

    is_read_from_its_beginning = True

    def __init__(
        self,
        name: str,
        parts: Sequence[StoredFile],
        wanted: Wanted,
        shard: Shard,
        *,
        as_of: int | None,
        threads: int,
    ) -> None:
        """Open files, as `open_source` does."""
        self._name, self._threads = name, threads
        self._files = [CsvFile(part) for part in parts]
        self._with_percent_sign: set[str] = set()  # these fields are read as text from the start
        self._header = self._files[0].dialect.header
        for file in self._files:
            if file.dialect.header != self._header:
                raise DataError(f"{name}: the columns of {file.name} differ from those of {parts[0].name}.")
        self.notes = tuple(dict.fromkeys(note for file in self._files for note in file.notes))
        self.lines_before = sum(file.dialect.lines_before for file in self._files)
        columns = find_columns(name, self._header, wanted)
        self._layout = find_layout(columns, self._header, wanted, self._find_latest, as_of)
        self._places = {name: self._header.index(column) for name, column in self._layout.columns.items()}
        self.ids = pa.schema([(column, pa.string()) for column in wanted.ids])
        self.rows_before, self.files, self.pieces = 0, parts, len(parts)
        if len(parts) > 1:
            self._own = shard.of(len(parts))
        elif not self._files[0].packed:
            self.pieces = self._files[0].block_count
            self._own = shard.of(self.pieces)
        elif shard.count == 1:
            self._own = range(1 << 62)
        else:
            raise ConfigurationError(
                f"{name}: a gzip, zip or UTF-16 file can't be read in parts. Convert it to Parquet: "
                f"credit-risk convert {name} OUTPUT.parquet"
            )

    def tasks(self, *, as_they_are: bool = False) -> Iterator[Task]:
        """Read the files from front to back, once."""
        parse = self._chunk_as_it_is if as_they_are else self._chunk
        total, before = sum(file.bytes for file in self._files), 0
        for place, file in enumerate(self._files):
            for number, (block, read) in enumerate(file.blocks()):
                piece = place if len(self._files) > 1 else number
                if piece in self._own:
                    yield Task(partial(parse, file.dialect, block), min(1.0, (before + read) / total))
                elif piece < self._own.start:
                    self.rows_before += self._parse(file.dialect, to_utf_8(block)[0], {}, {}).rows
                else:
                    return
            before += file.bytes

    def _read_parts(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        for file in self._files:
            for block, _ in file.blocks():
                yield partial(self._column, file.dialect, block, name)

    def _column(self, dialect: Dialect, block: bytes, name: str) -> pa.Array:
        place = {name: self._header.index(name)}
        return combine_chunks(self._parse(dialect, to_utf_8(block)[0], {name: _LEVELS}, place).table[name])

    def _chunk(self, dialect: Dialect, block: bytes) -> Chunk:
        numeric = self._numeric
        kinds = dict.fromkeys(self._places, _LEVELS)
        kinds |= dict.fromkeys(set(numeric) - self._with_percent_sign, pa.float64())
        kinds |= dict.fromkeys(self.ids.names, pa.string())
        text, is_damaged = to_utf_8(block)
        try:
            chunk = self._parse(dialect, text, kinds, self._places)
        except pa.ArrowInvalid:
            # The block holds an invalid number: read numeric columns as text, and let the layout parse them.
            chunk = self._parse(dialect, text, kinds | dict.fromkeys(numeric, _LEVELS), self._places)
        found = {name: combine_chunks(chunk.table[name]) for name in kinds}
        if is_damaged and any(_is_damaged(found[name]) for name in self.ids.names):
            raise DataError(f"{self._name}: an id is not in UTF-8. Save the file in that encoding.")
        if dialect.decimal_point == ",":
            found |= {name: _replace_commas(found[name]) for name in numeric if is_text(found[name].type)}
        table, converted = self._layout.to_loans(found)
        self._with_percent_sign |= {name for name in numeric if f"{name}: {PERCENT_SIGN}" in converted}
        chunk = replace(chunk, table=table, converted=converted)
        return self._skip_filled_up_lines(dialect, text, chunk) if table["loan_amount"].null_count else chunk

    @property
    def _numeric(self) -> list[str]:
        return [name for name in (*_NUMERIC, *self._layout.wanted.numbers) if name in self._places]

    @property
    def schema(self) -> pa.Schema:
        """All of the file's columns: text, except for the numbers that scoring reads."""
        numeric = {self._places[name] for name in self._numeric}
        kinds = [pa.float64() if place in numeric else pa.string() for place in range(len(self._header))]
        return pa.schema(list(zip(_number_repeated(self._header), kinds, strict=True)))

    def _chunk_as_it_is(self, dialect: Dialect, block: bytes) -> Chunk:
        """Parse all columns as text, and insert the parsed numbers."""
        chunk, (text, is_damaged) = self._chunk(dialect, block), to_utf_8(block)
        names = self.schema.names
        places = {name: place for place, name in enumerate(names)}
        parsed = self._parse(dialect, text, dict.fromkeys(places, pa.string()), places)
        table = parsed.table.filter(pa.array(np.isin(parsed.places, chunk.places)))
        for name in self._numeric:
            table = table.set_column(self._places[name], names[self._places[name]], chunk.table[name])
        return replace(chunk, table=table, converted=Counter([NOT_IN_UTF_8] if is_damaged else []))

    def _skip_filled_up_lines(self, dialect: Dialect, block: bytes, chunk: Chunk) -> Chunk:
        """Skip lines that are not loans but that a spreadsheet has padded with separators."""
        first = self._parse(dialect, block, {"first": pa.binary()}, {"first": 0}).table["first"]
        is_known = pc.match_substring_regex(first, _NO_LOANS_PATTERN)
        is_none = pc.and_(chunk.table["loan_amount"].is_null(), pc.or_(is_known, _is_empty(first, chunk.table)))
        places = chunk.places[is_none.to_numpy()].tolist()
        return replace(chunk, table=chunk.table.filter(pc.invert(is_none)), skipped=(*chunk.skipped, *places))

    def _parse(self, dialect: Dialect, block: bytes, kinds: dict[str, pa.DataType], columns: dict[str, int]) -> Chunk:
        """Parse the columns of `kinds`, at the positions in `columns`; without any, only count the rows."""
        broken: dict[int, str] = {}
        skipped: list[int] = []

        def note(row: Any) -> str:
            if row.text.lstrip('"').startswith(_NO_LOANS):
                skipped.append(row.number - 1)
            else:
                broken[row.number - 1] = f"{row.actual_columns} fields where {row.expected_columns} are needed"
            return "skip"

        # By position, since unneeded columns may have equal names.
        places = {name: str(columns[name]) for name in kinds}
        table = pyarrow.csv.read_csv(
            pa.BufferReader(block or b"\n"),
            pyarrow.csv.ReadOptions(
                use_threads=False,
                block_size=len(block) + 1,
                column_names=[str(place) for place in range(len(self._header))],
            ),
            pyarrow.csv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True, invalid_row_handler=note),
            pyarrow.csv.ConvertOptions(
                include_columns=list(places.values()) or ["0"],
                column_types={place: kinds[name] for name, place in places.items()} or {"0": pa.binary()},
                null_values=list(MISSING_TEXTS),
                strings_can_be_null=False,  # an id may be called NA
                decimal_point=dialect.decimal_point,
            ),
        )
        return Chunk(table.rename_columns(list(places) or ["0"]), broken, tuple(skipped))


def _number_repeated(header: Sequence[str]) -> list[str]:
    """Append a number to repeated column names."""
    return [f"{name}.{before}" if (before := header[:place].count(name)) else name for place, name in enumerate(header)]


def _is_damaged(ids: pa.Array) -> bool:
    return bool(pc.any(pc.match_substring(ids, "\N{REPLACEMENT CHARACTER}")).as_py())


def _is_empty(first: pa.ChunkedArray, loans: pa.Table) -> pa.ChunkedArray:
    """Find the rows without a value in the first column and in all columns that are read."""
    empty = pc.equal(first, b"")
    for column in loans.columns:
        is_text_column = is_text(column.type)
        empty = pc.and_(empty, pc.equal(pc.cast(column, pa.binary()), b"") if is_text_column else column.is_null())
    return empty


def _replace_commas(numbers: pa.DictionaryArray) -> pa.DictionaryArray:
    """Replace decimal commas by points; invalidate numbers that already have a point."""
    texts = pc.replace_substring(pc.replace_substring(numbers.dictionary, b".", b"?"), b",", b".")
    return pa.DictionaryArray.from_arrays(numbers.indices, texts)
