"""Which column of a table holds which field, and the loans that a table's columns make."""

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
"""Names of columns that are read."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Columns that are read besides the contract's fields.

    Attributes:
        ids: Passed through as they are; they must be there.
        numbers: Columns of numbers.
        texts: Passed through as they are.
        needed: Those of the numbers and texts that must be there. Of these a text must be one.
    """

    ids: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them; the ids are the last."""
        return (*self.numbers, *self.texts, *self.ids)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is read.

    Attributes:
        columns: The table's column for each field, for each month that the age is computed from, and for each that is
            wanted besides.
        wanted: Columns besides the fields.
        age: Where the instalments due come from.
        months: Columns of months that the age is computed from.
    """

    columns: dict[str, str]
    wanted: Wanted
    age: AgeSource
    months: tuple[str, ...]

    def to_loans(self, columns: Mapping[str, pa.Array]) -> tuple[pa.Table, Counter[str]]:
        """Make a table in the contract's names, followed by what is wanted besides, the ids last.

        Texts become numbers where numbers are needed, numbers texts where they mean a level, and months instalments
        due. Also count the values that were converted, by field and what was done.
        """
        numbers = [name for name in NUMBERS_ALLOWED if is_number(columns[name].type)]
        loans = {**columns, **{name: pc.cast(to_numbers(columns[name])[0], pa.string()) for name in numbers}}
        if self.age.computed:
            loans[AGE] = compute_due(loans, self.age)
        elif AGE not in loans:
            loans[AGE] = pa.nulls(len(columns["term"]), pa.float64())
        converted: Counter[str] = Counter()
        for feature in CONTRACT_FEATURES:
            if not feature.levels:
                loans[feature.name], signs = to_numbers(loans[feature.name], percent=feature.name in IN_PERCENT)
                converted[f"{feature.name}: {PERCENT_SIGN}"] += signs
        for name in self.wanted.numbers:
            if name in loans:
                loans[name], _ = to_numbers(loans[name])
        names = [*CreditRiskModelInput.model_fields, *(name for name in self.wanted.names if name in loans)]
        return pa.table({name: loans[name] for name in names}), +converted


def plain_names(header: Iterable[str]) -> list[str]:
    """Take spaces off the ends of columns' names, and write those that are known in lower case."""
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
        columns: What `find_columns` found.
        header: Names of all columns.
        wanted: Columns besides the fields.
        latest: Finds the latest month of a column; None where no value is a month.
        as_of: Month that was given for tables that do not say it.
    """
    age = choose_age_source(header, latest, as_of)
    months: tuple[str, ...] = ()
    if age.computed:
        months = (ISSUED, SNAPSHOT) if age.snapshot is None else (ISSUED,)
    return Layout({**columns, **{name: name for name in months}}, wanted, age, months)


def find_columns(
    table: str, header: Sequence[str], wanted: Wanted, type_of: Callable[[str], pa.DataType] | None = None
) -> dict[str, str]:
    """Find the table's column for each contract field, and those that are wanted besides.

    Args:
        table: What the table is called in an error.
        header: Names of its columns.
        wanted: Columns besides the fields.
        type_of: Finds the type of a column; None where a column may be read as any.

    Raises:
        DataError: A column is missing, there more than once, or of a type that can't hold its field; all are named.
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
    wrong = _find_wrong_types(found, wanted, type_of) if type_of else []
    problems = {
        "no column {}. Each is needed by one of its names.": missing,
        "more than one column for {}. Keep one of each.": repeated,
        "wrong type of column {}. Write them so.": wrong,
    }
    if told := [words.format(", ".join(names)) for words, names in problems.items() if names]:
        raise DataError(f"{table}: {' '.join([told[0], *(each[0].upper() + each[1:] for each in told[1:])])}")
    return found


def _describe(feature: Feature, header: Iterable[str]) -> str:
    """Name a missing column by its names, and by what may be meant for it."""
    names = sorted({name for name in (feature.name, feature.column) if name}, key=lambda name: name != feature.name)
    others = {_squeeze(name): name for name in header if name not in KNOWN_NAMES}
    near = [other for name in names for other in get_close_matches(_squeeze(name), others, n=1, cutoff=0.85)]
    return " ".join(
        [names[0], *(f"({name})" for name in names[1:]), *(f"[is it {others[near[0]]}?]" for _ in near[:1])]
    )


def _squeeze(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _find_wrong_types(columns: Mapping[str, str], wanted: Wanted, type_of: Callable[[str], pa.DataType]) -> list[str]:
    """Name the columns whose type can't hold their field, and what is needed."""
    texts = (*(feature.name for feature in CONTRACT_FEATURES if feature.levels), *wanted.needed)
    wrong = []
    for name, column in columns.items():
        if name in wanted.ids or (name in wanted.texts and name not in wanted.needed):
            continue
        kind, is_level = type_of(column), name in texts and name not in wanted.numbers
        numbers = not is_level or name in NUMBERS_ALLOWED
        if not (is_text(kind) or pa.types.is_null(kind) or (numbers and is_number(kind))):
            wrong.append(f"{column} ({kind}, {'text is' if is_level else 'numbers are'} needed)")
    return wrong


def check_months(table: str, column: str, kind: pa.DataType) -> None:
    """Refuse a column of a type that holds no months.

    Raises:
        DataError: The type does not fit.
    """
    if not holds_months(kind):
        raise DataError(
            f"{table}: column {column} is of type {kind}, months are needed: dates, timestamps, or text "
            f"such as Dec-2011. Write it so, or write the loans' age into a column {AGE}."
        )
