"""Matches a table's columns with the contract's fields, and converts them to the contract's form."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from credit_risk_model.errors import DataError
from credit_risk_model.features import AGE, CONTRACT_FEATURES, Feature
from credit_risk_model.loan_age import DATES_OF_FILE, ISSUED, SNAPSHOT, AgeSource, choose_age_source
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.tables.ages import compute_due, holds_months
from credit_risk_model.tables.numbers import IN_PERCENT, is_number, to_numbers
from credit_risk_model.tables.spellings import NUMBERS_ALLOWED
from credit_risk_model.tables.texts import is_text

PERCENT_SIGN = "percent sign"
INSTALLMENT = "installment"
STATUS = "loan_status"
KNOWN_NAMES = {
    AGE,
    INSTALLMENT,
    STATUS,
    ISSUED,
    SNAPSHOT,
    *DATES_OF_FILE,
    *(name for feature in CONTRACT_FEATURES for name in (feature.name, feature.column) if name),
}
"""Names of the columns that are read."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Columns that are read besides the contract's fields.

    Attributes:
        ids: Required columns that are passed through unchanged.
        numbers: Columns of numbers.
        texts: Columns that are passed through unchanged.
        needed: The required ones of `numbers` and `texts`. A required text column must hold text.
    """

    ids: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, the ids last."""
        return (*self.numbers, *self.texts, *self.ids)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is read.

    Attributes:
        columns: The table's column for each field, each month that the age is computed from, and each wanted column.
        wanted: Columns that are read besides the fields.
        age: Where the instalments due come from.
        months: Columns of months that the age is computed from.
    """

    columns: dict[str, str]
    wanted: Wanted
    age: AgeSource
    months: tuple[str, ...]

    def to_loans(self, columns: Mapping[str, pa.Array]) -> tuple[pa.Table, Counter[str]]:
        """Make a table of the contract's fields, followed by the wanted columns, the ids last.

        Text is parsed in numeric fields, numbers become text in fields of levels, and months become instalments due.

        Returns:
            The table, and the number of converted values by field and conversion.
        """
        numbers = [name for name in NUMBERS_ALLOWED if is_number(columns[name].type)]
        loans = {**columns, **{name: pc.cast(to_numbers(columns[name])[0], pa.string()) for name in numbers}}
        if self.age.computed:
            loans[AGE] = compute_due(loans, self.age)
        elif AGE not in loans:
            loans[AGE] = pa.nulls(len(columns["term"]))
        converted: Counter[str] = Counter()
        for feature in CONTRACT_FEATURES:
            if not feature.levels:
                loans[feature.name], signs = to_numbers(loans[feature.name], percent=feature.name in IN_PERCENT)
                converted[f"{feature.name}: {PERCENT_SIGN}"] = signs
        for name in self.wanted.numbers:
            if name in loans:
                loans[name], _ = to_numbers(loans[name])
        names = [*CreditRiskModelInput.model_fields, *(name for name in self.wanted.names if name in loans)]
        return pa.table({name: loans[name] for name in names}), +converted


def normalize_names(header: Iterable[str]) -> list[str]:
    """Strip columns' names, and lower-case those that are known."""
    names = [name.strip() for name in header]
    return [plain if (plain := name.lower()) in KNOWN_NAMES else name for name in names]


def find_layout(
    columns: Mapping[str, str],
    header: Sequence[str],
    wanted: Wanted,
    latest: Callable[[str], int | None],
    as_of: int | None,
) -> Layout:
    """Find where the loans' age comes from, and add the columns that it needs to those that are read.

    Args:
        columns: What `find_columns` returned.
        header: Names of all columns.
        wanted: Columns that are read besides the fields.
        latest: Returns the latest month of a column, or None if no value is a month.
        as_of: The month of the record that the caller gave, if any.
    """
    age = choose_age_source(header, latest, as_of)
    months: tuple[str, ...] = ()
    if age.computed:
        months = (ISSUED, SNAPSHOT) if age.snapshot is None else (ISSUED,)
    return Layout({**columns, **{name: name for name in months}}, wanted, age, months)


def find_columns(
    table: str, header: Sequence[str], wanted: Wanted, get_type: Callable[[str], pa.DataType] | None = None
) -> dict[str, str]:
    """Find the table's column for each contract field, and the wanted columns.

    Args:
        table: The table's name for errors.
        header: Names of its columns.
        wanted: Columns that are read besides the fields.
        get_type: Returns the type of a column; None if columns can be read as any type.

    Raises:
        DataError: Columns are missing, repeated, or of a type that can't hold their field. The message names all.
    """
    found, missing, repeated = {}, [], []
    for feature in CONTRACT_FEATURES:
        names = {name for name in (feature.name, feature.column) if name} & set(header)
        if len(names) > 1 or any(header.count(name) > 1 for name in names):
            repeated.append(feature.name)
        elif names:
            found[feature.name] = names.pop()
        elif feature.name != AGE:
            missing.append(_describe(feature, header))
    missing += [name for name in (*wanted.needed, *wanted.ids) if name not in header]
    months = (ISSUED, SNAPSHOT, *DATES_OF_FILE) if AGE not in header else ()
    repeated += [name for name in dict.fromkeys((*wanted.names, *months)) if header.count(name) > 1]
    found |= {name: name for name in wanted.names if name in header}
    wrong = _find_wrong_types(found, wanted, get_type) if get_type else []
    problems = {
        "no column {}. Add each under one of its names.": missing,
        "more than one column for {}. Keep one of each.": repeated,
        "wrong type of column {}. Convert them.": wrong,
    }
    if found_problems := [words.format(", ".join(names)) for words, names in problems.items() if names]:
        first, *others = found_problems
        raise DataError(f"{table}: {' '.join([first, *(each[0].upper() + each[1:] for each in others)])}")
    return found


def _describe(feature: Feature, header: Iterable[str]) -> str:
    """Describe a missing column by its names, and by a similar column that may be meant."""
    names = sorted({name for name in (feature.name, feature.column) if name}, key=lambda name: name != feature.name)
    others = {_squeeze(name): name for name in header if name not in KNOWN_NAMES}
    near = [other for name in names for other in get_close_matches(_squeeze(name), others, cutoff=0.85)]
    return " ".join(
        [names[0], *(f"({name})" for name in names[1:]), *(f"[is it {others[near[0]]}?]" for _ in near[:1])]
    )


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _find_wrong_types(columns: Mapping[str, str], wanted: Wanted, get_type: Callable[[str], pa.DataType]) -> list[str]:
    """Describe the columns whose type can't hold their field."""
    texts = (*(feature.name for feature in CONTRACT_FEATURES if feature.levels), *wanted.needed)
    wrong = []
    for name, column in columns.items():
        if name in wanted.ids or (name in wanted.texts and name not in wanted.needed):
            continue
        kind, is_level = get_type(column), name in texts and name not in wanted.numbers
        numbers = not is_level or name in NUMBERS_ALLOWED
        if not (is_text(kind) or pa.types.is_null(kind) or (numbers and is_number(kind))):
            wrong.append(f"{column} ({kind} instead of {'text' if is_level else 'numbers'})")
    return wrong


def check_months(table: str, column: str, kind: pa.DataType) -> None:
    """Refuse a column whose type can't hold months.

    Raises:
        DataError: The type can't hold months.
    """
    if not holds_months(kind):
        raise DataError(
            f"{table}: column {column} is of type {kind}, not months. Convert it to dates, timestamps, or text such as "
            f"Dec-2011, or add a column {AGE} with the loans' age."
        )
