"""Applies the contract's rules to a table of loans: a row is rejected for what a request would be refused for.

`CreditRiskModelInput` has the same rules for one loan; tests check that both agree on any value. A table may deviate
from a request in two ways: levels may be spelled differently (`spellings`), and dollars may have cents.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from credit_risk_model.contract import SHIPPED, Contract
from credit_risk_model.features import AGE, TERM_MONTHS, Feature, FeatureSet, derive_columns
from credit_risk_model.tables.numbers import is_whole, round_to_whole, to_numbers
from credit_risk_model.tables.spellings import find_level
from credit_risk_model.tables.texts import Array, combine_chunks, number_texts

Mask = npt.NDArray[np.bool_]
Rules = list[tuple[str, Mask]]

UNKNOWN_LEVEL = "unknown level"

_IN_WHOLE_DOLLARS = ("annual_income", "loan_amount")
_TERMS = np.array(list(TERM_MONTHS))
_MONTHS = np.array(list(TERM_MONTHS.values()), dtype=float)
_UNKNOWN, _MISSING = -1.0, -2.0
_RESPELLED = 0.5
"""Added to the code of a level that is not spelled as in the contract."""


@dataclass(frozen=True, slots=True)
class CheckedLoans:
    """A table of loans, checked by the contract.

    Attributes:
        good: Mask of the rows that meet the contract.
        columns: The good rows' fields: numbers, categories as codes, NaN for unknown values.
        reasons: Why each other row is rejected, by row, counted from 0.
        counts: Number of rejected rows by reason.
        converted: Number of converted values by field and conversion.
    """

    good: Mask
    columns: dict[str, Array]
    reasons: dict[int, list[str]]
    counts: Counter[str]
    converted: Counter[str]

    def model_columns(self, wanted: FeatureSet, chosen: Mask) -> list[Array]:
        """Compute a model's features for the chosen good loans, in the features' order, each of shape (chosen,)."""
        columns = self.columns
        if not chosen.all():
            columns = {name: column[chosen] for name, column in columns.items()}
        terms = _TERMS[columns["term"].astype(np.intp)]
        columns = columns | derive_columns(columns | {"term": terms}, wanted)
        return [columns[name] for name in wanted.names]


def check(loans: pa.Table, contract: Contract = SHIPPED) -> CheckedLoans:
    """Apply the contract to each row.

    Args:
        loans: The contract's fields by name: numbers of any type, text plain or dictionary-encoded.
        contract: The contract of the archive that will score them.
    """
    columns: dict[str, Array] = {}
    reasons: dict[int, list[str]] = {}
    counts: Counter[str] = Counter()
    converted: Counter[str] = Counter()
    for feature in contract.fields:
        read = _read_levels if feature.levels else _read_numbers
        columns[feature.name], broken = read(feature, combine_chunks(loans[feature.name]), converted)
        if feature.name == AGE:
            broken += _find_beyond_term(columns)
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


def _find_beyond_term(columns: dict[str, Array]) -> Rules:
    """Find loans with more instalments due than their term has; the upper bound covers those beyond any term."""
    due, terms = columns[AGE], columns["term"]
    months = np.where(terms >= 0, _MONTHS[np.maximum(terms, 0).astype(np.intp)], _MONTHS.max())
    beyond = (due > months) & (due <= _MONTHS.max()) & is_whole(due)
    return [("above the term", beyond)] if beyond.any() else []


def _read_numbers(feature: Feature, column: pa.Array, converted: Counter[str]) -> tuple[Array, Rules]:
    """Return the numbers, and the rules that some of them break; a number breaks at most one."""
    found = to_numbers(column)[0]
    numbers = (found.fill_null(np.nan) if found.null_count else found).to_numpy()
    if feature.name in _IN_WHOLE_DOLLARS:
        numbers = _round_cents(feature, numbers, converted)
    smallest, largest = feature.bounds or (-np.inf, np.inf)
    allowed = (numbers >= smallest) & (numbers <= largest)
    if feature.whole:
        allowed &= is_whole(numbers)
        numbers = numbers + 0.0  # turns a negative zero into zero
    if allowed.all():
        return numbers, []
    missing = column.is_null().to_numpy(zero_copy_only=False)
    if feature.nullable and (allowed | missing).all():
        return numbers, []
    finite = np.isfinite(numbers)
    rules = [
        ("missing", missing & (not feature.nullable)),
        ("not a finite number", ~finite & ~missing),
        ("not a whole number", finite & ~is_whole(numbers) & feature.whole),
        (f"below {smallest}", finite & (numbers < smallest)),
        (f"above {largest}", finite & (numbers > largest)),
    ]
    return numbers, _keep_first_broken(rules)


def _round_cents(feature: Feature, numbers: Array, converted: Counter[str]) -> Array:
    """Round dollars to whole ones, as training does."""
    rounded: Array = round_to_whole(numbers)
    count = int(((rounded != numbers) & np.isfinite(numbers)).sum())
    if not count:
        return numbers
    converted[f"{feature.name}: cents rounded"] = count
    return rounded


def _read_levels(feature: Feature, column: pa.Array, converted: Counter[str]) -> tuple[Array, Rules]:
    """Return the levels' codes, and the rules that some of them break."""
    codes = {level.encode(): float(code) for code, level in enumerate(feature.levels)}

    def encode(text: bytes) -> float:
        if text in codes:
            return codes[text]
        level = find_level(feature, text.decode(errors="replace"))
        return _UNKNOWN if level is None else codes[level.encode()] + _RESPELLED

    found = number_texts(column, encode, np.nan if feature.nullable else _MISSING)
    whole = np.floor(found)
    count = int((found > whole).sum())
    if count:
        converted[f"{feature.name}: another spelling"] = count
        found = whole
    if not (found < 0).any():
        return found, []
    return found, _keep_first_broken([("missing", found == _MISSING), (UNKNOWN_LEVEL, found == _UNKNOWN)])


def _keep_first_broken(rules: Rules) -> Rules:
    """Keep only the first rule that each row breaks, and drop rules that no row breaks."""
    kept = []
    before = np.zeros(len(rules[0][1]), dtype=bool)
    for rule, rows in rules:
        first = rows & ~before
        before |= first
        if first.any():
            kept.append((rule, first))
    return kept
