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
KNOWN_NAMES = {
    AGE,
    ISSUED,
    SNAPSHOT,
    *DATES_OF_FILE,
    *(name for feature in CONTRACT_FEATURES for name in (feature.name, feature.column) if name),
}
"""Names of columns that are read."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table is read.

    Attributes:
        columns: The table's column for each field, for each month that the age is computed from, and for each id.
        ids: Columns that are passed through.
        age: Where the instalments due come from.
        months: Columns of months that the age is computed from.
    """

    columns: dict[str, str]
    ids: tuple[str, ...]
    age: AgeSource
    months: tuple[str, ...]

    def to_loans(self, columns: Mapping[str, pa.Array]) -> tuple[pa.Table, Counter[str]]:
        """Make a table in the contract's names, followed by the ids.

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
        names = [*CreditRiskModelInput.model_fields, *self.ids]
        return pa.table({name: loans[name] for name in names}), +converted


def plain_names(header: Iterable[str]) -> list[str]:
    """Take spaces off the ends of columns' names, and write those that are known in lower case."""
    names = [name.strip() for name in header]
    return [plain if (plain := name.lower()) in KNOWN_NAMES else name for name in names]


def find_layout(
    columns: Mapping[str, str],
    header: Sequence[str],
    ids: tuple[str, ...],
    latest: Callable[[str], int | None],
    as_of: int | None,
) -> Layout:
    """Find where the loans' age comes from, and add the columns that it needs to those that are read.

    Args:
        columns: What `find_columns` found.
        header: Names of all columns.
        ids: Columns that are passed through.
        latest: Finds the latest month of a column; None where no value is a month.
        as_of: Month that was given for tables that do not say it.
    """
    age = choose_age_source(header, latest, as_of)
    months: tuple[str, ...] = ()
    if age.computed:
        months = (ISSUED, SNAPSHOT) if age.snapshot is None else (ISSUED,)
    return Layout({**columns, **{name: name for name in months}}, ids, age, months)


def find_columns(
    table: str, header: Sequence[str], ids: tuple[str, ...] = (), type_of: Callable[[str], pa.DataType] | None = None
) -> dict[str, str]:
    """Find the table's column for each contract field and each id.

    Args:
        table: What the table is called in an error.
        header: Names of its columns.
        ids: Columns that are passed through.
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
    missing += [name for name in ids if name not in header]
    repeated += [name for name in ids if header.count(name) > 1]
    if AGE not in header:
        repeated += [name for name in (ISSUED, SNAPSHOT, *DATES_OF_FILE) if header.count(name) > 1]
    wrong = _find_wrong_types(found, type_of) if type_of else []
    problems = {
        "no column {}. Each is needed by one of its names.": missing,
        "more than one column for {}. Keep one of each.": repeated,
        "wrong type of column {}. Write them so.": wrong,
    }
    if told := [words.format(", ".join(names)) for words, names in problems.items() if names]:
        raise DataError(f"{table}: {' '.join([told[0], *(each[0].upper() + each[1:] for each in told[1:])])}")
    return found | {name: name for name in ids}


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


def _find_wrong_types(columns: Mapping[str, str], type_of: Callable[[str], pa.DataType]) -> list[str]:
    """Name the columns whose type can't hold their field, and what is needed."""
    wrong = []
    for feature in CONTRACT_FEATURES:
        if (column := columns.get(feature.name)) is None:
            continue
        kind = type_of(column)
        numbers = not feature.levels or feature.name in NUMBERS_ALLOWED
        if not (is_text(kind) or pa.types.is_null(kind) or (numbers and is_number(kind))):
            wrong.append(f"{column} ({kind}, {'text is' if feature.levels else 'numbers are'} needed)")
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
