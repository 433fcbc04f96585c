"""The contract's rules for a table of loans: what a request would be refused for, a row is rejected for.

`CreditRiskModelInput` says the same of one loan; the tests hold that both agree on any value. A table may write some
values in another way than a request: levels are spelled otherwise (`spellings`), and dollars have cents.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from credit_risk_model.contract import SHIPPED, Contract
from credit_risk_model.features import AGE, TERM_MONTHS, Feature, FeatureSet, derive_columns
from credit_risk_model.tables.numbers import to_numbers
from credit_risk_model.tables.spellings import find_level
from credit_risk_model.tables.texts import MISSING_TEXTS, Array, number_texts, one_array

Mask = npt.NDArray[np.bool_]
Rules = list[tuple[str, Mask]]

UNKNOWN_LEVEL = "unknown level"

_IN_WHOLE_DOLLARS = ("annual_income", "loan_amount")
_TERMS = np.array(list(TERM_MONTHS))
_MONTHS = np.array(list(TERM_MONTHS.values()), dtype=float)
_UNKNOWN, _MISSING = -1.0, -2.0
_OTHERWISE = 0.5
"""Added to the code of a level that is spelled otherwise."""


@dataclass(frozen=True, slots=True)
class CheckedLoans:
    """A table of loans by the contract.

    Attributes:
        good: Which rows keep the contract.
        columns: The fields of the good ones: numbers, categories as codes, NaN for what is not known.
        reasons: What is wrong with each of the others, by row, counted from 0.
        counts: How many rows each reason holds for.
        converted: How many values were converted, by field and what was done.
    """

    good: Mask
    columns: dict[str, Array]
    reasons: dict[int, list[str]]
    counts: Counter[str]
    converted: Counter[str]

    def model_columns(self, wanted: FeatureSet, chosen: Mask) -> list[Array]:
        """Make a model's features of some of the good loans, in their order, each of shape (chosen loans,)."""
        columns = self.columns
        if not chosen.all():
            columns = {name: column[chosen] for name, column in columns.items()}
        terms = _TERMS[columns["term"].astype(np.intp)]
        columns = columns | derive_columns(columns | {"term": terms}, wanted)
        return [columns[name] for name in wanted.names]


def check(loans: pa.Table, contract: Contract = SHIPPED) -> CheckedLoans:
    """Apply the contract to each row.

    Args:
        loans: The contract's fields by name: numbers of any type, text as such or as a dictionary.
        contract: That of the archive which is to answer them.
    """
    columns: dict[str, Array] = {}
    reasons: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    converted: Counter[str] = Counter()
    for feature in contract.fields:
        read = _read_levels if feature.levels else _read_numbers
        columns[feature.name], broken = read(feature, one_array(loans[feature.name]), converted)
        if feature.name == AGE:
            broken += _beyond_term(columns)
        for rule, rows in broken:
            reason = f"{feature.name}: {rule}"
            counts[reason] = int(rows.sum())
            for row in np.flatnonzero(rows).tolist():
                reasons.setdefault(row, []).append(reason)
    good = np.ones(loans.num_rows, dtype=bool)
    good[list(reasons)] = False
    if reasons:
        columns = {name: column[good] for name, column in columns.items()}
    return CheckedLoans(good, columns, reasons, counts, converted)


def _beyond_term(columns: dict[str, Array]) -> Rules:
    """Find loans with more instalments due than their own term has; more than any term has is another rule's."""
    due, terms = columns[AGE], columns["term"]
    months = np.where(terms >= 0, _MONTHS[np.maximum(terms, 0).astype(np.intp)], _MONTHS.max())
    beyond = (due > months) & (due <= _MONTHS.max()) & (due == np.floor(due))
    return [("above the term", beyond)] if beyond.any() else []


def _read_numbers(feature: Feature, column: pa.Array, converted: Counter[str]) -> tuple[Array, Rules]:
    """Give the numbers, and the rules that some of them break; a number breaks one at most."""
    numbers = to_numbers(column)[0].fill_null(np.nan).to_numpy()
    if feature.name in _IN_WHOLE_DOLLARS:
        numbers = _round_cents(feature, numbers, converted)
    smallest, largest = feature.bounds or (-np.inf, np.inf)
    allowed = (numbers >= smallest) & (numbers <= largest)
    if feature.whole:
        allowed &= numbers == np.floor(numbers)
        numbers = numbers + 0.0  # a whole number has no negative zero
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if feature.nullable:
        allowed |= missing
    if allowed.all():
        return numbers, []
    finite = np.isfinite(numbers)
    rules = [
        ("missing", missing & (not feature.nullable)),
        ("not a finite number", ~finite & ~missing),
        ("not a whole number", finite & (numbers != np.floor(numbers)) & feature.whole),
        (f"below {smallest}", finite & (numbers < smallest)),
        (f"above {largest}", finite & (numbers > largest)),
    ]
    return numbers, _first_broken(rules)


def _round_cents(feature: Feature, numbers: Array, converted: Counter[str]) -> Array:
    """Round dollars as training does: half a dollar to the even one."""
    rounded = np.round(numbers)
    count = int(((rounded != numbers) & np.isfinite(numbers)).sum())
    if not count:
        return numbers
    converted[f"{feature.name}: cents rounded"] += count
    return rounded


def _read_levels(feature: Feature, column: pa.Array, converted: Counter[str]) -> tuple[Array, Rules]:
    """Give the levels' codes, and the rules that some of them break."""
    missing = np.nan if feature.nullable else _MISSING
    codes = {level.encode(): float(code) for code, level in enumerate(feature.levels)}
    codes |= dict.fromkeys((text.encode() for text in MISSING_TEXTS), missing)

    def code_of(text: bytes) -> float:
        if text in codes:
            return codes[text]
        level = find_level(feature, text.decode(errors="replace"))
        return _UNKNOWN if level is None else codes[level.encode()] + _OTHERWISE

    found = number_texts(column, code_of, missing)
    whole = np.floor(found)
    count = int((found > whole).sum())
    if count:
        converted[f"{feature.name}: another spelling"] += count
        found = whole
    if not (found < 0).any():
        return found, []
    return found, _first_broken([("missing", found == _MISSING), (UNKNOWN_LEVEL, found == _UNKNOWN)])


def _first_broken(rules: Rules) -> Rules:
    """Leave each row only the first of the rules that it breaks, and drop rules that none breaks."""
    left = []
    before = np.zeros(len(rules[0][1]), dtype=bool)
    for rule, rows in rules:
        first = rows & ~before
        before |= first
        if first.any():
            left.append((rule, first))
    return left
