"""Age of a loan: the instalments that were due when its state was recorded, for training and for files to score.

Months are counted from year 0: January 2016 is 24192.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass

from credit_risk_model.errors import ConfigurationError
from credit_risk_model.features import AGE

ISSUED = "issue_d"
SNAPSHOT = "snapshot_d"
DATES_OF_FILE = ("last_credit_pull_d", "last_pymnt_d")
"""Columns whose latest month is the month of the snapshot, in order of preference."""

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CURE = f"Add a column {AGE}, or {ISSUED} and {SNAPSHOT}"


@dataclass(frozen=True)
class AgeSource:
    """Where the instalments due of a file come from.

    Attributes:
        words: Human-readable description of the source.
        computed: Whether the age is computed from the month of issue; otherwise it is a column, or not known.
        snapshot: Month in which all loans were recorded; None if each loan has its own in `SNAPSHOT`.
    """

    words: str
    computed: bool = False
    snapshot: int | None = None


def choose_age_source(columns: Container[str], latest: Callable[[str], int | None], as_of: int | None) -> AgeSource:
    """Choose the source of the instalments due: the first known source that the file has.

    Args:
        columns: Names of the file's columns.
        latest: Returns the latest month of a column, or None if no value is a month.
        as_of: Month that the user named for files without dates of their own.
    """
    if AGE in columns:
        return AgeSource(f"column {AGE}")
    if ISSUED not in columns:
        return AgeSource(f"not known: the file has no {ISSUED}. {_CURE}")
    if SNAPSHOT in columns and latest(SNAPSHOT) is not None:
        return _count_from_issue(SNAPSHOT, None)
    for name in DATES_OF_FILE:
        if name in columns and (month := latest(name)) is not None:
            ignored = f" (as_of {format_month(as_of)} is not used)" if as_of not in (None, month) else ""
            return _count_from_issue(f"{format_month(month)}, the latest {name}{ignored}", month)
    if as_of is not None:
        return _count_from_issue(f"{format_month(as_of)}, as_of", as_of)
    return AgeSource(f"not known: the file does not say when it was recorded. {_CURE}, or name the month (as_of)")


def _count_from_issue(until: str, snapshot: int | None) -> AgeSource:
    return AgeSource(f"whole months from {ISSUED} to {until}, at most the term's", computed=True, snapshot=snapshot)


def parse_month(text: str) -> int | None:
    """Parse a month such as Dec-2011; return None for anything else."""
    name, _, year = text.strip().partition("-")
    if name not in _NAMES or not re.fullmatch(r"\d{4}", year):
        return None
    return int(year) * 12 + _NAMES.index(name)


def parse_as_of(as_of: str | None) -> int | None:
    """Parse a month such as 2016-01.

    Raises:
        ConfigurationError: The text is not a month.
    """
    if as_of is None:
        return None
    found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", str(as_of))
    if not found:
        raise ConfigurationError(f"as_of is {as_of!r}: write the month in which the loans were recorded, as 2016-01.")
    return int(found[1]) * 12 + int(found[2]) - 1


def format_month(month: int | None) -> str:
    """Format a month as 2016-01."""
    return "" if month is None else f"{month // 12:04}-{month % 12 + 1:02}"
