"""What is common to files of loans of every kind: they are read chunk by chunk, in the contract's names.

Where a file is cut depends on the file alone, so that shards see the chunks that a single run sees.
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
        skipped: Places of lines that are no loans.
        converted: How many values were converted, by field and what was done.
    """

    table: pa.Table
    broken: dict[int, str] = field(default_factory=dict)
    skipped: tuple[int, ...] = ()
    converted: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """Rows of the file, read or not."""
        return int(self.table.num_rows) + len(self.broken) + len(self.skipped)

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Each table row's place in the chunk, counted from 0."""
        return np.delete(np.arange(self.rows), [*self.broken, *self.skipped])


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
        notes: What is unusual in the way that it is written, in words.
        lines_before: How many lines come before its header.
        files: The files that it is made of.
        pieces: How many pieces there are, of which a shard takes whole ones.
        is_read_from_its_beginning: Whether a shard reads all that comes before it, to number its rows.
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
        """All of the file's columns, as `tasks(as_they_are=True)` gives them."""

    @property
    def age(self) -> str:
        """Where the instalments due come from, in words."""
        return self._layout.age.words

    def column_of(self, field: str) -> str:
        """Name the file's column for a field."""
        return self._layout.columns.get(field, field)

    @abstractmethod
    def tasks(self, *, as_they_are: bool = False) -> Iterator[Task]:
        """Read the file from front to back, once.

        Args:
            as_they_are: Whether tables have all of the file's columns, by their own names, and values are not
                converted. In CSV all columns are text, but for the numbers that are read.
        """

    @abstractmethod
    def _parts_of(self, name: str) -> Iterator[Callable[[], pa.Array]]:
        """Read one column of the whole file, whatever the shard; each part is parsed when it is called."""

    def _find_latest(self, name: str) -> int | None:
        """Find the latest month of a column in the whole file, whatever the shard."""
        with closing(map_in_order(lambda part: find_latest(part()), self._parts_of(name), self._threads)) as found:
            months = (month for month in found if month is not None)
            # Where each loan has a month of its own, it only matters whether there is any.
            return next(months, None) if name == SNAPSHOT else max(months, default=None)


def unreadable(name: str, error: BaseException) -> DataError:
    """Make an error of what went wrong when a file of this name was read."""
    if isinstance(error, OSError) and error.errno:
        return DataError(f"{name}: can't be read ({os.strerror(error.errno)}).")
    if isinstance(error, OSError) and (found := re.match(r".*\bAWS Error (\w+) during", str(error), re.DOTALL)):
        return DataError(f"{name}: can't be read ({found[1]}).")
    # Arrow's own words may quote a value.
    return DataError(f"{name}: damaged, truncated, or not what its first bytes say. Fetch or write it again.")
