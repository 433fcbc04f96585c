"""Opens files of loans in any supported format."""

from dataclasses import replace
from pathlib import Path

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.loan_age import parse_as_of
from credit_risk_model.tables.columns import Wanted, normalize_names
from credit_risk_model.tables.csv_source import CsvSource
from credit_risk_model.tables.parquet_source import ParquetSource, Part, find_parts
from credit_risk_model.tables.places import Place
from credit_risk_model.tables.source import READ_ERRORS, Shard, Source, make_read_error
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
    """Open a file, detect its format from its first bytes, and find its columns and the source of its loans' age.

    Args:
        place: CSV with a header (plain, gzip or zip) or Parquet, or a folder of such files, which are read in the order
            of their names. The columns have the contract's names or Kaggle's; others are ignored.
        ids: Columns to pass through, in this order.
        shard: The part to read; all of it by default.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        threads: Number of threads that search a column for its latest month.
        wanted: Columns that are read besides the fields and the ids.

    Raises:
        DataError: The file is missing, can't be read, or lacks a column.
        ConfigurationError: A column can't be an id, `as_of` is not a month, or the file can't be read in parts.
    """
    month, ids = parse_as_of(as_of), tuple(normalize_names(ids))
    wanted = replace(wanted or Wanted(), ids=ids)
    _check_ids(ids)
    shard, stored = shard or Shard(), StoredFile.at(place)
    name = stored.name
    try:
        if isinstance(place, Path) and (place.is_fifo() or place.is_char_device()):
            raise DataError(f"{name}: a pipe or terminal can't be read twice. Name a file.")
        is_folder = stored.is_folder
        files = stored.files() if is_folder else [stored]
        if not files:
            raise DataError(f"{name}: the folder has no file of loans. Name a file, or a folder that has some.")
        if _are_parquet(name, files):
            parts = find_parts(stored, files) if is_folder else [Part(stored, {})]
            return ParquetSource(name, parts, wanted, shard, as_of=month, threads=threads)
        return CsvSource(name, files, wanted, shard, as_of=month, threads=threads)
    except FileNotFoundError:
        raise DataError(f"{name}: no such file.") from None
    except READ_ERRORS as error:
        raise make_read_error(name, error) from None


def _check_ids(ids: tuple[str, ...]) -> None:
    taken = OUTPUT_COLUMNS + tuple(text for feature in CONTRACT_FEATURES for text in (feature.name, feature.column))
    for column in ids:
        if column in taken or ids.count(column) > 1:
            raise ConfigurationError(
                f"{column} can't be an id column: it is repeated, or a column of the contract or the output."
            )


def _are_parquet(name: str, files: list[StoredFile]) -> bool:
    """Return whether all files are Parquet; raise DataError if only some are."""
    first, *others = files
    is_parquet = _is_parquet(first)
    for file in others:
        if _is_parquet(file) != is_parquet:
            parquet, other = (first, file) if is_parquet else (file, first)
            raise DataError(
                f"{name}: {parquet.name} is Parquet, {other.name} is not. Put only files of one format into a folder."
            )
    return is_parquet


def _is_parquet(stored: StoredFile) -> bool:
    with stored.open() as file:
        return bool(file.read(len(_PARQUET)) == _PARQUET)
