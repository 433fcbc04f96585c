"""Joins the shards' scores: `python -m credit_risk_model.scoring.join part-*.parquet --output scores.parquet`.

The output has the same bytes as that of a single run, in Parquet or CSV. The shards' files of rejects are joined in the
order in which they are named.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from credit_risk_model.errors import ConfigurationError, CreditRiskError, DataError
from credit_risk_model.scoring.provenance import read_run, sort_parts
from credit_risk_model.scoring.writing import check_output, open_scores, open_whole_files
from credit_risk_model.tables.places import Place, get_name, get_suffix, to_place
from credit_risk_model.tables.stores import StoredFile

logger = logging.getLogger(__name__)


def join(parts: Sequence[Place], output: Place) -> None:
    """Write the shards' scores, or their rejects, as one file, whole or not at all.

    Args:
        parts: All shards' files of scores in Parquet, in any order; or their rejects in CSV, in the shards' order.
        output: The file to write.

    Raises:
        DataError: A part is unreadable, missing or from another run, its columns differ from the first part's, or the
            output can't be written.
        ConfigurationError: The output's name has an unknown suffix.
    """
    check_output(output)
    try:
        if all(get_suffix(part) == ".csv" for part in parts):
            _join_rejects(parts, output)
        else:
            _join_scores(parts, output)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"A part can't be read ({type(error).__name__}). Score its shard again.") from None


def _join_rejects(parts: Sequence[Place], output: Place) -> None:
    if get_suffix(output) != ".csv":
        raise ConfigurationError(f"{get_name(output)}: rejects are CSV. Name an output that ends in .csv.")
    with open_whole_files(output) as (whole,):
        for part in parts:
            with StoredFile.at(part).open() as file:
                shutil.copyfileobj(file, cast(IO[bytes], whole))


def _join_scores(parts: Sequence[Place], output: Place) -> None:
    files = [StoredFile.at(part) for part in parts]
    schemas = [pq.read_schema(file.path, filesystem=file.filesystem) for file in files]
    runs = [read_run(file.name, schema) for file, schema in zip(files, schemas, strict=True)]
    for file, schema in zip(files, schemas, strict=True):
        if not schema.equals(schemas[0]):
            raise DataError(f"{file.name}: its columns differ from those of {files[0].name}.")
    ordered = sort_parts(list(zip(files, runs, strict=True)))
    schema = runs[0].model_copy(update={"shard": 1, "shards": 1}).added_to(schemas[0])
    with open_whole_files(output) as (whole,), open_scores(whole, output, schema) as scores:
        for file in ordered:
            part = pq.ParquetFile(file.path, filesystem=file.filesystem)
            for group in range(part.num_row_groups):
                scores.write(part.read_row_group(group))


def main(arguments: list[str] | None = None, prog: str = "python -m credit_risk_model.scoring.join") -> int:
    """Join from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog=prog, description="Join the scores of all shards.")
    parser.add_argument(
        "parts", type=to_place, nargs="+", help="all shards' scores in Parquet; or their rejects in CSV, in order"
    )
    parser.add_argument("--output", type=to_place, required=True, help="file to write: a name in .parquet or .csv")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        join(options.parts, options.output)
    except CreditRiskError as error:
        logger.error("%s", error)
        return 1
    return 0
