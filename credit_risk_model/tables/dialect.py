"""Detects a CSV file's dialect: the line of its header, its separator, and its decimal point."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from credit_risk_model.errors import DataError
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.tables.columns import INSTALLMENT, KNOWN_NAMES, normalize_names

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_HEADER_LINES = 10
"""Lines that are searched for the header. LendingClub's own files begin with a note, Excel's with `sep=;`."""

_FIRST_RECORDS = 10

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*%?\s*")
_DECIMAL_POINT = re.compile(r"\s*[-+]?\d+\.\d+\s*%?\s*")
_THOUSANDS = re.compile(r"\s*[-+]?\d{1,3}(\.\d{3})+,\d+\s*%?\s*")
_IN_DECIMALS = {
    INSTALLMENT,
    *(name for feature in CONTRACT_FEATURES if not feature.levels for name in (feature.name, feature.column) if name),
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """A CSV file's dialect.

    Attributes:
        header: Normalized names of its columns; plus an empty name if all rows end in a separator.
        lines_before: Number of lines before the header.
        separator: The column separator.
        decimal_point: A point or a comma.
    """

    header: tuple[str, ...]
    lines_before: int
    separator: str
    decimal_point: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What is unusual, in words."""
        separator = () if self.separator == "," else (f"{_SEPARATORS[self.separator]} between columns",)
        return separator if self.decimal_point == "." else (*separator, "decimal commas")


def find_dialect(name: str, lines: Sequence[bytes]) -> Dialect:
    """Detect a file's dialect.

    The header is the line, split by one of the known separators, that has the most field names.

    Args:
        name: The file's name for errors.
        lines: Its first lines.

    Raises:
        DataError: There is no header, or the decimals are inconsistent.
    """
    if b"\0" in lines[0][:100]:
        raise DataError(f"{name}: not text, or UTF-16 without a byte order mark. Save it as CSV in UTF-8.")
    texts = [line.decode("utf-8-sig", errors="replace") for line in lines]
    best: tuple[int, tuple[str, ...], int, str] | None = None
    for place, line in enumerate(texts[:_HEADER_LINES]):
        for separator in _SEPARATORS:
            header = _split(line, separator)
            known = len(KNOWN_NAMES.intersection(header))
            if best is None or known > best[0]:
                best = known, header, place, separator
    if best is None or not best[1]:
        raise DataError(f"{name}: the file or its first line is empty. Add a header and rows.")
    _, header, place, separator = best
    lines_after = texts[place + 1 :]
    point = "." if separator == "," else _find_decimal_point(name, header, lines_after, separator)
    unnamed = ("",) if _end_in_separator(header, lines_after, separator) else ()
    return Dialect((*header, *unnamed), place, separator, point)


def _split(line: str, separator: str) -> tuple[str, ...]:
    """Split a line; return nothing if it is not CSV."""
    return tuple(normalize_names(next(_records([line], separator), [])))


def _records(lines: list[str], separator: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=separator)
    except csv.Error:  # a field exceeds the module's limit
        return


def _end_in_separator(header: tuple[str, ...], lines: list[str], separator: str) -> bool:
    records = list(islice(filter(None, _records(lines, separator)), _FIRST_RECORDS))
    return bool(records) and all(len(record) == len(header) + 1 and not record[-1] for record in records)


def _find_decimal_point(name: str, header: tuple[str, ...], lines: list[str], separator: str) -> str:
    places = [place for place, column in enumerate(header) if column in _IN_DECIMALS]
    commas = points = False
    for record in _records(lines, separator):
        for cell in (record[place] for place in places if place < len(record)):
            if _THOUSANDS.fullmatch(cell):
                raise DataError(f"{name}: numbers have thousands separators. Remove them.")
            commas |= bool(_DECIMAL_COMMA.fullmatch(cell))
            points |= bool(_DECIMAL_POINT.fullmatch(cell))
    if commas and points:
        raise DataError(f"{name}: some numbers have a decimal comma, others a point. Use one of them throughout.")
    return "," if commas else "."
