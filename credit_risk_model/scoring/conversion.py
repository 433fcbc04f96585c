"""Converts a file of loans to Parquet: `python -m credit_risk_model.scoring.convert loans.csv.gz loans.parquet`.

It converts every format that scoring reads, and keeps all columns. The Parquet file gets the same scores as its source,
bit for bit. Each shard of a Parquet file reads only its own part.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from credit_risk_model.cores import count_cores
from credit_risk_model.errors import ConfigurationError, CreditRiskError
from credit_risk_model.scoring.attended import SIGNALLED, Interrupted, Progress, interruptible
from credit_risk_model.scoring.writing import check_apart, open_loans, open_whole_files
from credit_risk_model.tables.columns import INSTALLMENT, Wanted
from credit_risk_model.tables.places import Place, get_name, get_suffix, to_place
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import NOT_IN_UTF_8, Chunk, Task
from credit_risk_model.tables.threads import map_in_order

logger = logging.getLogger(__name__)

LEFT_OUT = 3
"""Exit code if rows were left out; all others were written. 2 is argparse's."""
_MAX_LISTED = 20


@dataclass(slots=True)
class Converted:
    """The counts of a conversion.

    Attributes:
        rows: Number of rows written.
        skipped: Number of lines that are not loans, such as LendingClub's footers.
        broken: Why rows were left out, by row number in the source, counted from 1.
        found: How many chunks have each anomaly.
    """

    rows: int = 0
    skipped: int = 0
    broken: dict[int, str] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)

    def add(self, chunk: Chunk) -> None:
        """Add a chunk's counts."""
        before = self.rows + self.skipped + len(self.broken)
        self.broken |= {before + place + 1: reason for place, reason in chunk.broken.items()}
        self.rows += chunk.table.num_rows
        self.skipped += len(chunk.skipped)
        self.found += chunk.converted


def convert(
    source: Place, output: Place, progress: Callable[[int, float], object] = lambda rows, done: None
) -> Converted:
    """Write a file of loans as Parquet, whole or not at all.

    Args:
        source: CSV (plain, gzip or zip) or Parquet, or a folder of such files.
        output: A name in `.parquet`. It gets all columns of the source. From CSV, the numbers that scoring reads are
            written as numbers, and every other column as unchanged text.
        progress: Called after each chunk with its number of rows and the share of the work that is done.

    Raises:
        DataError: The source can't be read or lacks a column, or the output can't be written.
        ConfigurationError: The output's name does not end in `.parquet`, or it is the source or lies in it.
    """
    if get_suffix(output) != ".parquet":
        raise ConfigurationError(f"{get_name(output)}: name an output that ends in .parquet.")
    check_apart(source, [output])
    threads, converted = count_cores(), Converted()
    opened = open_source(source, threads=threads, wanted=Wanted(numbers=(INSTALLMENT,)))
    with open_whole_files(output) as (file,), open_loans(file, opened.schema) as loans:
        for chunk, done in map_in_order(_parse, opened.tasks(as_they_are=True), threads):
            loans.write(chunk.table)
            converted.add(chunk)
            progress(chunk.rows, done)
    return converted


def _parse(task: Task) -> tuple[Chunk, float]:
    return task.parse(), task.done


def main(arguments: list[str] | None = None, prog: str = "python -m credit_risk_model.scoring.convert") -> int:
    """Convert from the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write a file of loans as Parquet, with all its columns.",
        epilog=f"Exit codes: 0 all rows were written; 1 an error, nothing was written; 2 a wrong option; {LEFT_OUT} "
        "rows whose number of fields differs from the header's were left out, the others written; 128 + the signal's "
        "number if a signal ended the run.",
    )
    parser.add_argument("source", type=to_place, help="CSV (plain, gzip or zip) or Parquet, or a folder of such files")
    parser.add_argument("output", type=to_place, help="file to write: a name in .parquet")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    begin, progress = time.monotonic(), Progress()
    try:
        with interruptible(), progress:
            converted = convert(options.source, options.output, progress.update)
    except Interrupted as interruption:
        logger.error(
            "Interrupted after %s rows: nothing was written, and no temporary file is left.", f"{progress.rows:,}"
        )
        return SIGNALLED + interruption.number
    except CreditRiskError as error:
        logger.error("%s", error)
        return 1
    _report(get_name(options.output), converted, time.monotonic() - begin)
    return LEFT_OUT if converted.broken else 0


def _report(name: str, converted: Converted, seconds: float) -> None:
    logger.info("%s: %s rows in %.1f s.", name, f"{converted.rows:,}", seconds)
    if converted.skipped:
        logger.info("  skipped: %s lines that are not loans.", f"{converted.skipped:,}")
    if NOT_IN_UTF_8 in converted.found:
        logger.warning("  %s has lost its letters beyond ASCII. Write the source in UTF-8 to keep them.", NOT_IN_UTF_8)
    for row, reason in list(converted.broken.items())[:_MAX_LISTED]:
        logger.warning("  left out row %s: %s", f"{row:,}", reason)
    if len(converted.broken) > _MAX_LISTED:
        logger.warning("  left out %s rows in all.", f"{len(converted.broken):,}")
