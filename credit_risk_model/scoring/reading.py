"""Files of loans, whatever their kind."""

from pathlib import Path

from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.loan_age import parse_as_of
from credit_risk_model.scoring.csv_source import CsvSource
from credit_risk_model.scoring.parquet_source import ParquetSource, Part, find_parts
from credit_risk_model.scoring.source import READ_ERRORS, Shard, Source, unreadable

OUTPUT_COLUMNS = ("row", "risk_probability", "credit_risk", "cautions", "model_version")
_PARQUET = b"PAR1"


def open_source(
    path: Path, ids: tuple[str, ...] = (), shard: Shard | None = None, as_of: str | None = None, threads: int = 1
) -> Source:
    """Open a file, whose kind is told by its first bytes, and find its columns and where its loans' age comes from.

    Args:
        path: CSV with a header, plain or gzip, or Parquet, or a folder of such files, which are read in the order of
            their names; in the contract's names or Kaggle's; other columns are fine.
        ids: Columns to pass through, in this order.
        shard: The part to read; all of it by default.
        as_of: Month in which the loans were recorded, as 2016-01, for files that don't say it.
        threads: How many may look for the latest month of a column.

    Raises:
        DataError: The file is missing, can't be read, or lacks a column.
        ConfigurationError: An id column can't be one, `as_of` is no month, or the file can't be read in parts.
    """
    month = parse_as_of(as_of)
    for name in ids:
        taken = OUTPUT_COLUMNS + tuple(text for feature in CONTRACT_FEATURES for text in (feature.name, feature.column))
        if name in taken or ids.count(name) > 1:
            raise ConfigurationError(
                f"{name} can't be an id column: it is one already, or the contract's or the output's."
            )
    shard = shard or Shard()
    try:
        if path.is_fifo() or path.is_char_device():
            raise DataError(f"{path.name}: a pipe or a terminal, of which nothing can be read twice. Name a file.")
        files = _files_of(path)
        first, *others = files
        is_parquet = _is_parquet(first)
        for file in others:
            if _is_parquet(file) != is_parquet:
                told = (f"{file.name} is not Parquet, {first.name} is", f"{file.name} is Parquet, {first.name} is not")
                raise DataError(f"{path.name}: {told[not is_parquet]}. Keep files of one kind in a folder.")
        if is_parquet:
            parts = find_parts(path, files) if path.is_dir() else [Part(path, {})]
            return ParquetSource(path, parts, ids, shard, as_of=month, threads=threads)
        return CsvSource(path, files, ids, shard, as_of=month, threads=threads)
    except FileNotFoundError:
        raise DataError(f"{path.name}: no such file.") from None
    except READ_ERRORS as error:
        raise unreadable(path, error) from None


def _files_of(path: Path) -> list[Path]:
    """Give the file, or a folder's files in the order of their names, without those that Spark keeps for itself."""
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(name.startswith(("_", ".")) for name in file.relative_to(path).parts)
    ]
    if not files:
        raise DataError(f"{path.name}: a folder without a file of loans. Name a file, or a folder that has some.")
    return files


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET
