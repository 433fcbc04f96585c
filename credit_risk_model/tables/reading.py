"""Files of loans, whatever their kind."""

from dataclasses import replace
from pathlib import Path

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.loan_age import parse_as_of
from credit_risk_model.tables.columns import Wanted, plain_names
from credit_risk_model.tables.csv_source import CsvSource
from credit_risk_model.tables.parquet_source import ParquetSource, Part, find_parts
from credit_risk_model.tables.places import Place
from credit_risk_model.tables.source import READ_ERRORS, Shard, Source, unreadable
from credit_risk_model.tables.stores import StoredFile

OUTPUT_COLUMNS = ("row", "risk_probability", "credit_risk", "cautions", "model_version")
_PARQUET = b"PAR1"


def open_source(
    place: Place,
    ids: tuple[str, ...] = (),
    shard: Shard | None = None,
    as_of: str | None = None,
    threads: int = 1,
    *,
    wanted: Wanted | None = None,
) -> Source:
    """Open a file, whose kind is told by its first bytes, and find its columns and where its loans' age comes from.

    Args:
        place: CSV with a header, plain, gzip or zip, or Parquet, or a folder of such files, which are read in the order
            of their names; in the contract's names or Kaggle's; other columns are fine.
        ids: Columns to pass through, in this order.
        shard: The part to read; all of it by default.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        threads: How many may look for the latest month of a column.
        wanted: Columns that are read besides the fields and the ids.

    Raises:
        DataError: The file is missing, can't be read, or lacks a column.
        ConfigurationError: An id column can't be one, `as_of` is no month, or the file can't be read in parts.
    """
    month, ids = parse_as_of(as_of), tuple(plain_names(ids))
    wanted = replace(wanted or Wanted(), ids=ids)
    _check_ids(ids)
    shard, stored = shard or Shard(), StoredFile.at(place)
    name = stored.name
    try:
        if isinstance(place, Path) and (place.is_fifo() or place.is_char_device()):
            raise DataError(f"{name}: a pipe or a terminal, of which nothing can be read twice. Name a file.")
        is_folder = stored.is_folder
        files = stored.files() if is_folder else [stored]
        if not files:
            raise DataError(f"{name}: a folder without a file of loans. Name a file, or a folder that has some.")
        if _are_parquet(name, files):
            parts = find_parts(stored, files) if is_folder else [Part(stored, {})]
            return ParquetSource(name, parts, wanted, shard, as_of=month, threads=threads)
        return CsvSource(name, files, wanted, shard, as_of=month, threads=threads)
    except FileNotFoundError:
        raise DataError(f"{name}: no such file.") from None
    except READ_ERRORS as error:
        raise unreadable(name, error) from None


def _check_ids(ids: tuple[str, ...]) -> None:
    taken = OUTPUT_COLUMNS + tuple(text for feature in CONTRACT_FEATURES for text in (feature.name, feature.column))
    for column in ids:
        if column in taken or ids.count(column) > 1:
            raise ConfigurationError(
                f"{column} can't be an id column: it is one already, or the contract's or the output's."
            )


def _are_parquet(name: str, files: list[StoredFile]) -> bool:
    """Say whether all are; raise DataError where some are and some are not."""
    first, *others = files
    is_parquet = _is_parquet(first)
    for file in others:
        if _is_parquet(file) != is_parquet:
            told = (f"{file.name} is not Parquet, {first.name} is", f"{file.name} is Parquet, {first.name} is not")
            raise DataError(f"{name}: {told[not is_parquet]}. Keep files of one kind in a folder.")
    return is_parquet


def _is_parquet(stored: StoredFile) -> bool:
    with stored.open() as file:
        return bool(file.read(len(_PARQUET)) == _PARQUET)
