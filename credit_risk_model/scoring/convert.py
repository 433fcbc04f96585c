"""A file of loans into Parquet: `python -m credit_risk_model.scoring.convert loans.csv.gz loans.parquet`.

Whatever the scoring reads is converted, with all its columns. The scores of the Parquet file are those of the loans as
they were, bit for bit. Shards of it read their own part only.
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
from credit_risk_model.scoring.writing import check_apart, open_loans, whole_files
from credit_risk_model.tables.columns import INSTALLMENT, Wanted
from credit_risk_model.tables.places import Place, name_of, suffix_of, to_place
from credit_risk_model.tables.reading import open_source
from credit_risk_model.tables.source import NOT_IN_UTF_8, Chunk, Task
from credit_risk_model.tables.threads import map_in_order

logger = logging.getLogger(__name__)

LEFT_OUT = 3
"""Exit code where rows were left out; all others were written. 2 is argparse's."""
_MOST_TOLD = 20


@dataclass(slots=True)
class Converted:
    """What was converted.

    Attributes:
        rows: Rows that were written.
        skipped: Lines that are no loans, such as LendingClub's footers.
        broken: Why rows were left out, by their number in the source, counted from 1.
        found: What is unusual, and in how many chunks.
    """

    rows: int = 0
    skipped: int = 0
    broken: dict[int, str] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)

    def add(self, chunk: Chunk) -> None:
        """Count a chunk."""
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
        source: What the scoring reads: CSV, plain, gzip or zip, or Parquet, or a folder of such files.
        output: A name in `.parquet`. It has all columns of the source. Of CSV the numbers that are read are numbers,
            and all else is text as it stands.
        progress: Called after each chunk with its number of rows and the share of the work that is done.

    Raises:
        DataError: The source can't be read or lacks a column, or the output can't be written.
        ConfigurationError: The output's name does not end in `.parquet`, or it is the source or lies in it.
    """
    if suffix_of(output) != ".parquet":
        raise ConfigurationError(f"{name_of(output)}: name an output that ends in .parquet.")
    check_apart(source, [output])
    threads, converted = count_cores(), Converted()
    opened = open_source(source, threads=threads, wanted=Wanted(numbers=(INSTALLMENT,)))
    with whole_files(output) as (file,), open_loans(file, opened.schema) as loans:
        for chunk, done in map_in_order(_parse, opened.tasks(as_they_are=True), threads):
            loans.write(chunk.table)
            converted.add(chunk)
            progress(chunk.rows, done)
    return converted


def _parse(task: Task) -> tuple[Chunk, float]:
    return task.parse(), task.done


def main(arguments: list[str] | None = None, prog: str = "python -m credit_risk_model.scoring.convert") -> int:
    """Convert from the command line; give the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Write a file of loans as Parquet, with all its columns.",
        epilog=f"Exit codes: 0 all is written; 1 an error, nothing is written; 2 a wrong option; {LEFT_OUT} rows with "
        "another number of fields than the header were left out, the others are written; 128 + the signal's number "
        "where one ended it.",
    )
    parser.add_argument("source", type=to_place, help="CSV, plain, gzip or zip, or Parquet, or a folder of such files")
    parser.add_argument("output", type=to_place, help="what to write: a name in .parquet")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    begin, progress = time.monotonic(), Progress()
    try:
        with interruptible(), progress:
            converted = convert(options.source, options.output, progress.update)
    except Interrupted as interruption:
        logger.error("Interrupted after %s rows: nothing was written, and no part of it is left.", f"{progress.rows:,}")
        return SIGNALLED + interruption.number
    except CreditRiskError as error:
        logger.error("%s", error)
        return 1
    _report(name_of(options.output), converted, time.monotonic() - begin)
    return LEFT_OUT if converted.broken else 0


def _report(name: str, converted: Converted, seconds: float) -> None:
    logger.info("%s: %s rows in %.1f s.", name, f"{converted.rows:,}", seconds)
    if converted.skipped:
        logger.info("  skipped: %s lines that are no loans.", f"{converted.skipped:,}")
    if NOT_IN_UTF_8 in converted.found:
        logger.warning("  %s has lost its letters beyond ASCII. Write the source in UTF-8 to keep them.", NOT_IN_UTF_8)
    for row, reason in list(converted.broken.items())[:_MOST_TOLD]:
        logger.warning("  left out row %s: %s", f"{row:,}", reason)
    if len(converted.broken) > _MOST_TOLD:
        logger.warning("  left out %s rows in all.", f"{len(converted.broken):,}")


if __name__ == "__main__":
    sys.exit(main())
