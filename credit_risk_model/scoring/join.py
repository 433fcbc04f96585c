"""Shards' scores into one file: `python -m credit_risk_model.scoring.join part-*.parquet --output scores.parquet`.

The bytes are those that one run would have written. CSV parts, rejects among them, may as well go through `cat`.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from credit_risk_model.errors import CreditRiskError, DataError
from credit_risk_model.scoring.writing import check_output, open_scores, whole_files

logger = logging.getLogger(__name__)


def join(parts: Sequence[Path], output: Path) -> None:
    """Write the shards' scores as one file, whole or not at all.

    Args:
        parts: All shards' files, in the shards' order.
        output: What to write, in the parts' format.

    Raises:
        DataError: A part can't be read, its columns are not the first one's, or the output can't be written.
        ConfigurationError: The output's name tells no format.
    """
    check_output(output)
    try:
        if output.suffix == ".csv":
            _join_csv(parts, output)
        else:
            _join_parquet(parts, output)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"A part can't be read ({type(error).__name__}). Score its shard again.") from None


def _join_csv(parts: Sequence[Path], output: Path) -> None:
    with whole_files(output) as (whole,):
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, cast(IO[bytes], whole))


def _join_parquet(parts: Sequence[Path], output: Path) -> None:
    schema = pq.read_schema(parts[0])
    with whole_files(output) as (whole,), open_scores(whole, output, schema, header=True) as scores:
        for part in parts:
            file = pq.ParquetFile(part)
            if file.schema_arrow != schema:
                raise DataError(f"{part.name}: its columns are not those of {parts[0].name}.")
            for group in range(file.num_row_groups):
                scores.write(file.read_row_group(group))


def main(arguments: list[str] | None = None) -> int:
    """Join from the command line; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m credit_risk_model.scoring.join", description="Put the scores of all shards into one file."
    )
    parser.add_argument("parts", type=Path, nargs="+", help="all shards' files, in the shards' order")
    parser.add_argument("--output", type=Path, required=True, help="what to write, in the parts' format")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        join(options.parts, options.output)
    except CreditRiskError as error:
        logger.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
