"""Loans from Parquet files."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.scoring.source import READ_ERRORS, Chunk, Shard, Source, Task, unreadable
from credit_risk_model.tables.columns import check_months, check_types, find_columns, find_layout, plain_names
from credit_risk_model.tables.texts import is_text

CHUNK_ROWS = 16_384
"""Loans of a chunk: their matrix fits into a core's cache, and small files occupy all cores."""


class ParquetSource(Source):
    """A Parquet file; its parts are whole row groups."""

    def __init__(self, path: Path, ids: tuple[str, ...], shard: Shard, *, as_of: int | None, threads: int) -> None:
        """Open a file, as `open_source` does."""
        self._path, self._threads = path, threads
        schema = pq.read_schema(path)
        header = plain_names(schema.names)
        self._fields = dict(zip(header, schema, strict=True))
        columns = find_columns(path.name, header, ids)
        check_types(path.name, columns, self._type_of)
        self._layout = find_layout(columns, header, ids, self._find_latest, as_of)
        levels = [feature.name for feature in CONTRACT_FEATURES if feature.levels]
        for name in self._layout.months:
            check_months(path.name, name, self._type_of(name))
            if is_text(self._type_of(name)) and name not in ids:
                levels.append(name)
        self._columns = {name: self._fields[column].name for name, column in self._layout.columns.items()}
        self._file = self._open([self._columns[name] for name in levels])
        self.ids = pa.schema([pa.field(name, self._type_of(name)) for name in ids])
        groups = self._file.metadata.num_row_groups
        self._groups = shard.of(groups)
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(groups)]
        self.rows_before = sum(sizes[: self._groups.start])
        self._rows = sum(sizes[group] for group in self._groups)

    def _open(self, texts: list[str]) -> pq.ParquetFile:
        # Not pre-buffered, and pages through a small buffer: a row group may be larger than memory.
        return pq.ParquetFile(self._path, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20)

    def _type_of(self, column: str) -> pa.DataType:
        return self._fields[column].type

    def _parts_of(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        check_months(self._path.name, name, self._type_of(name))
        column = self._fields[name].name
        file = self._open([column] if is_text(self._type_of(name)) else [])
        for batch in file.iter_batches(CHUNK_ROWS, columns=[column]):
            yield partial(batch.column, 0)

    def tasks(self) -> Iterator[Task]:
        """Read the file from front to back, once."""
        done = 0
        try:
            for group in self._groups:
                # By row group, so that no chunk reaches from one into the next.
                for batch in self._file.iter_batches(CHUNK_ROWS, [group], columns=list(set(self._columns.values()))):
                    done += batch.num_rows
                    yield Task(partial(self._chunk, batch), done / self._rows)
        except READ_ERRORS as error:
            raise unreadable(self._path, error) from None

    def _chunk(self, batch: pa.RecordBatch) -> Chunk:
        columns = {name: batch.column(column) for name, column in self._columns.items()}
        table, converted = self._layout.to_loans(columns)
        return Chunk(table, converted=converted)
