"""The interface of files of loans in any format, which are read chunk by chunk under the contract's names.

The chunk boundaries depend on the file alone, so shards see the same chunks as a single run.
"""

import os
import re
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from credit_risk_model.errors import DataError
from credit_risk_model.loan_age import SNAPSHOT
from credit_risk_model.tables.ages import find_latest
from credit_risk_model.tables.columns import Layout
from credit_risk_model.tables.stores import StoredFile
from credit_risk_model.tables.threads import map_in_order

NOT_IN_UTF_8 = "text that is not in UTF-8"

READ_ERRORS = (OSError, EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `count` of a file, counted from 1."""

    number: int = 1
    count: int = 1

    def of(self, chunks: int) -> range:
        """Return the range of this part's chunks; the parts' sizes differ by at most one chunk."""
        return range(chunks * (self.number - 1) // self.count, chunks * self.number // self.count)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a file.

    Attributes:
        table: The rows that could be parsed: the contract's fields, then the id columns.
        broken: Why the other rows could not be parsed, by position in the chunk, counted from 0.
        skipped: Positions of lines that are not loans.
        converted: Number of converted values by field and conversion.
    """

    table: pa.Table
    broken: dict[int, str] = field(default_factory=dict)
    skipped: tuple[int, ...] = ()
    converted: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Number of the file's rows, parsed or not."""
        return int(self.table.num_rows) + len(self.broken) + len(self.skipped)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Each table row's position in the chunk, counted from 0."""
        return np.delete(np.arange(self.rows), [*self.broken, *self.skipped])


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk to be parsed on any thread.

    Attributes:
        parse: Returns the chunk; raises DataError.
        done: Share of the work that is done after this chunk.
    """

    parse: Callable[[], Chunk]
    done: float


class Source(ABC):
    """A file of loans, or a shard of it.

    Attributes:
        ids: Names and types of the id columns.
        rows_before: Number of the file's rows before this shard; known once the first task is.
        notes: What is unusual about its format, in words.
        lines_before: Number of lines before its header.
        files: The files that it consists of.
        pieces: Number of pieces; a shard takes whole ones.
        is_read_from_its_beginning: Whether a shard must read everything before it to number its rows.
    """

    ids: pa.Schema
    files: Sequence[StoredFile]
    pieces: int
    is_read_from_its_beginning: bool = False
    notes: tuple[str, ...] = ()
    lines_before: int = 0
    rows_before: int
    _name: str
    _layout: Layout
    _threads: int

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """All of the file's columns, as in the tables of `tasks(as_they_are=True)`."""

    @property
    def age(self) -> str:
        """Where the instalments due come from, in words."""
        return self._layout.age.words

    def get_column_name(self, field: str) -> str:
        """Return the name of a field's column in the file."""
        return self._layout.columns.get(field, field)

    @abstractmethod
    def tasks(self, *, as_they_are: bool = False) -> Iterator[Task]:
        """Read the file from front to back, once.

        Args:
            as_they_are: Whether tables have all of the file's columns, under their own names and unconverted. From CSV,
                all columns are text, except for the numbers that scoring reads.
        """

    @abstractmethod
    def _read_parts(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        """Yield functions that parse one column of the whole file, part by part."""

    def _find_latest(self, name: str) -> int | None:
        """Find the latest month of a column in the whole file, not only in the shard."""
        with closing(map_in_order(lambda part: find_latest(part()), self._read_parts(name), self._threads)) as found:
            months = (month for month in found if month is not None)
            # If each loan has its own month, it only matters whether there is any.
            return next(months, None) if name == SNAPSHOT else max(months, default=None)


def make_read_error(name: str, error: BaseException) -> DataError:
    """Make the DataError for an error that occurred while a file was read."""
    if isinstance(error, OSError) and error.errno:
        return DataError(f"{name}: can't be read ({os.strerror(error.errno)}).")
    if isinstance(error, OSError) and (found := re.match(r".*\bAWS Error (\w+) during", str(error), re.DOTALL)):
        return DataError(f"{name}: can't be read ({found[1]}).")
    # Arrow's message may quote a value.
    return DataError(f"{name}: damaged, truncated, or not of the detected format. Fetch or write it again.")
