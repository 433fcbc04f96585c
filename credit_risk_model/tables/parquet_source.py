"""Reads loans from Parquet files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from credit_risk_model.errors import DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables.columns import Wanted, check_months, find_columns, find_layout, normalize_names
from credit_risk_model.tables.source import READ_ERRORS, Chunk, Shard, Source, Task, make_read_error
from credit_risk_model.tables.stores import StoredFile

CHUNK_ROWS = 16_384
"""Loans per chunk: their matrix fits into a core's cache, and small files still keep all cores busy."""

_KINDS_OF_IDS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_temporal,
    pa.types.is_null,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One of a folder's files.

    Attributes:
        file: The file.
        keys: Partition columns from its folders' names, each with its value for all rows.
    """

    file: StoredFile
    keys: Mapping[str, Any]


def find_parts(folder: StoredFile, files: Sequence[StoredFile]) -> list[Part]:
    """Find the partition columns of a folder's Parquet files, from Hive's folder names `name=value`."""
    import pyarrow.dataset as ds  # noqa: PLC0415  # takes 6 MB that a single file does not need

    dataset = ds.dataset(
        [file.path for file in files],
        filesystem=folder.filesystem,
        format="parquet",
        partitioning="hive",
        partition_base_dir=folder.path,
    )
    keys = {each.path: ds.get_partition_keys(each.partition_expression) for each in dataset.get_fragments()}
    types = {name: dataset.schema.field(name).type for found in keys.values() for name in found}
    return [
        Part(file, {name: pa.scalar(keys[file.path].get(name), kind) for name, kind in types.items()}) for file in files
    ]


class ParquetSource(Source):
    """Parquet files; a shard takes whole row groups."""

    def __init__(
        self, name: str, parts: Sequence[Part], wanted: Wanted, shard: Shard, *, as_of: int | None, threads: int
    ) -> None:
        """Open files, as `open_source` does."""
        self._name, self._parts, self._threads = name, parts, threads
        schema = pq.read_schema(parts[0].file.path, filesystem=parts[0].file.filesystem)
        keys = [(name, key.type) for name, key in parts[0].keys.items()]
        self._schema = pa.schema([*((field.name, field.type) for field in schema), *keys])
        header = normalize_names(self._schema.names)
        self._fields: dict[str, pa.Field] = dict(zip(header, self._schema, strict=True))
        columns = find_columns(name, header, wanted, self._get_type)
        self._layout = find_layout(columns, header, wanted, self._find_latest, as_of)
        self._columns = {name: self._fields[column].name for name, column in self._layout.columns.items()}
        levels = [feature.name for feature in CONTRACT_FEATURES if feature.levels]
        for month in self._layout.months:
            check_months(name, month, self._get_type(month))
        texts = [*levels, *(name for name in wanted.texts if name in columns), *self._layout.months]
        self._texts = [self._columns[text] for text in texts]
        self.ids = pa.schema([pa.field(column, self._choose_id_type(column)) for column in wanted.ids])
        groups = [(part, group, rows) for part in parts for group, rows in self._list_groups(part)]
        self.files, self.pieces = [part.file for part in parts], len(groups)
        own = shard.of(self.pieces)
        self.rows_before = sum(rows for _, _, rows in groups[: own.start])
        self._own = groups[own.start : own.stop]

    def _choose_id_type(self, column: str) -> pa.DataType:
        """Return the type of an id column in the output: one that CSV can hold, too."""
        kind = self._get_type(column)
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if kind == pa.string_view():
            return pa.string()
        if not any(is_kind(kind) for is_kind in _KINDS_OF_IDS):
            raise DataError(
                f"{self._name}: column {column} is of type {kind}, which can't be an id. Use text, numbers, dates or "
                "times."
            )
        return kind

    def _list_groups(self, part: Part) -> Iterator[tuple[int, int]]:
        """Yield each row group's number and row count."""
        try:
            metadata = pq.read_metadata(part.file.path, filesystem=part.file.filesystem)
        except READ_ERRORS as error:
            raise make_read_error(part.file.name, error) from None
        schema = metadata.schema.to_arrow_schema()
        types = {field.name: field.type for field in schema} | {name: key.type for name, key in part.keys.items()}
        for name, column in self._columns.items():
            kind, expected = types.get(column), self._get_type(self._layout.columns[name])
            # pandas writes a column without values without a type.
            if kind != expected and not (kind == pa.null() and name not in self._layout.wanted.ids):
                raise DataError(
                    f"{self._name}: column {column} of {part.file.name} is {kind or 'missing'}, but {expected} in "
                    f"{self._parts[0].file.name}. Write all parts with the same columns and types."
                )
        for group in range(metadata.num_row_groups):
            yield group, metadata.row_group(group).num_rows

    def _open(self, part: Part, texts: list[str]) -> pq.ParquetFile:
        # No pre-buffering and a small page buffer: a row group may be larger than memory.
        texts = [name for name in texts if name not in part.keys]
        return pq.ParquetFile(
            part.file.path,
            filesystem=part.file.filesystem,
            read_dictionary=texts,
            pre_buffer=False,
            buffer_size=1 << 20,
        )

    @property
    def schema(self) -> pa.Schema:
        """All of the file's columns, and its partition columns."""
        return self._schema

    def _get_type(self, column: str) -> pa.DataType:
        return self._fields[column].type

    def _read_parts(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        check_months(self._name, name, self._get_type(name))
        column = self._fields[name].name
        for part in self._parts:
            if column in part.keys:
                yield partial(pa.repeat, part.keys[column], 1)
                continue
            file = self._open(part, [column])
            for batch in file.iter_batches(CHUNK_ROWS, columns=[column]):
                yield partial(batch.column, 0)

    def tasks(self, *, as_they_are: bool = False) -> Iterator[Task]:
        """Read the files from front to back, once."""
        done, total = 0, sum(rows for _, _, rows in self._own)
        opened: tuple[Part, pq.ParquetFile] | None = None
        for part, group, _ in self._own:
            try:
                if opened is None or opened[0] is not part:
                    opened = part, self._open(part, [] if as_they_are else self._texts)
                columns = None if as_they_are else list(set(self._columns.values()) - part.keys.keys())
                # One row group at a time, so that no chunk spans two of them.
                for batch in opened[1].iter_batches(CHUNK_ROWS, [group], columns=columns):
                    done += batch.num_rows
                    parse = self._chunk_as_it_is if as_they_are else self._chunk
                    yield Task(partial(parse, part, batch), done / total)
            except READ_ERRORS as error:
                raise make_read_error(part.file.name, error) from None

    def _chunk(self, part: Part, batch: pa.RecordBatch) -> Chunk:
        found = {
            name: pa.repeat(part.keys[column], batch.num_rows) if column in part.keys else batch.column(column)
            for name, column in self._columns.items()
        }
        found |= {field.name: pc.cast(found[field.name], field.type) for field in self.ids}
        table, converted = self._layout.to_loans(found)
        return Chunk(table, converted=converted)

    def _chunk_as_it_is(self, part: Part, batch: pa.RecordBatch) -> Chunk:
        table = pa.table(batch)
        for name, key in part.keys.items():
            table = table.append_column(name, pa.repeat(key, batch.num_rows))
        try:
            return Chunk(table.select(self.schema.names).cast(self.schema))
        except (KeyError, pa.ArrowException):
            raise DataError(
                f"{self._name}: the columns of {part.file.name} differ from those of {self._parts[0].file.name}, or "
                "two have the same name. Write all parts with the same columns and types."
            ) from None
