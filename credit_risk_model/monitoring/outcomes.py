"""Joins a decision log with the loans' outcomes, and measures the decisions by month and archive."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import mean, variance
from typing import Any

from credit_risk_model.decisions import DecisionLogError

_Z = 1.96
_MIN_OF_A_CLASS = 2
_COLUMNS = ("reference", "outcome")
Interval = tuple[float, float, float]
"""A figure and the bounds of its 95 % interval."""


@dataclass
class Group:
    """Decisions whose outcome is known."""

    probabilities: list[float] = field(default_factory=list)
    called_risky: list[bool] = field(default_factory=list)
    risky: list[bool] = field(default_factory=list)
    without_outcome: int = 0


@dataclass(frozen=True)
class Joined:
    """A log's decisions, joined with outcomes.

    Attributes:
        groups: Decisions by month and version; `all` has all of them.
        unused: Number of outcomes whose reference no decision has.
        unnamed: Number of decisions without a reference, and of erased ones, which can't be joined.
    """

    groups: dict[tuple[str, str], Group]
    unused: int
    unnamed: int


def read_outcomes(path: Path) -> dict[str, bool]:
    """Read the loans' outcomes from a CSV file with the columns `reference` and `outcome` (`risky`, `safe`, 1 or 0).

    Raises:
        DecisionLogError: The file can't be read, or holds an invalid or contradictory outcome.
    """
    outcomes: dict[str, bool] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                raise DecisionLogError(f"{path}: has no column {' and no '.join(missing)}.")
            for row in rows:
                reference, outcome = row["reference"], (row["outcome"] or "").strip().lower()
                if outcome not in ("risky", "safe", "1", "0"):
                    raise DecisionLogError(
                        f"{path}, line {rows.line_num}: the outcome is {outcome!r}, not risky or safe."
                    )
                risky = outcome in ("risky", "1")
                if outcomes.setdefault(reference, risky) != risky:
                    raise DecisionLogError(
                        f"{path}, line {rows.line_num}: {reference} has a different outcome on an earlier line."
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DecisionLogError(f"{path}: can't be read ({error}).") from None
    return outcomes


def join(records: Iterable[dict[str, Any]], outcomes: dict[str, bool]) -> Joined:
    """Join decisions with outcomes by the caller's references; several decisions on one loan all count."""
    groups: dict[tuple[str, str], Group] = {}
    unnamed, used = 0, set()
    for record in records:
        reference = record["personal"].get("reference")
        if reference is None:
            unnamed += 1
            continue
        keys = [("all", "all"), (record["time"][:7], record["model_version"])]
        for group in (groups.setdefault(key, Group()) for key in keys):
            if reference not in outcomes:
                group.without_outcome += 1
                continue
            used.add(reference)
            group.probabilities.append(record["risk_probability"])
            group.called_risky.append(record["credit_risk"] == "risky")
            group.risky.append(outcomes[reference])
    return Joined(dict(sorted(groups.items())), len(outcomes.keys() - used), unnamed)


def describe(group: Group) -> dict[str, Any]:
    """Return a group's figures, each with its 95 % interval: value, lower and upper bound; None if not computable.

    Shares have Wilson's interval, the AUC DeLong's, the Brier score that of a mean. Compare the mean probability with
    the risky share.
    """
    number = len(group.risky)
    hits = sum(a and b for a, b in zip(group.called_risky, group.risky, strict=True))
    return {
        "decisions": number,
        "without_outcome": group.without_outcome,
        "risky": _compute_share(sum(group.risky), number),
        "mean_probability": mean(group.probabilities) if number else None,
        "auc": _compute_auc(group.probabilities, group.risky),
        "brier": _compute_brier(group.probabilities, group.risky),
        "precision": _compute_share(hits, sum(group.called_risky)),
        "recall": _compute_share(hits, sum(group.risky)),
    }


def _compute_share(number: int, of: int) -> Interval | None:
    """Return a share with Wilson's interval."""
    if of == 0:
        return None
    z, share = _Z, number / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return share, max(middle - half, 0.0), min(middle + half, 1.0)


def _compute_midranks(values: Sequence[float]) -> list[float]:
    """Return each value's rank, from 1; equal values share their mean rank."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    place = 0
    while place < len(order):
        end = place
        while end < len(order) and values[order[end]] == values[order[place]]:
            end += 1
        for one in order[place:end]:
            ranks[one] = (place + end + 1) / 2
        place = end
    return ranks


def _compute_auc(probabilities: Sequence[float], risky: Sequence[bool]) -> Interval | None:
    """Return the area under the ROC curve; interval by DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988)."""
    of_risky, of_safe = (
        [probability for probability, was_risky in zip(probabilities, risky, strict=True) if was_risky is wanted]
        for wanted in (True, False)
    )
    if min(len(of_risky), len(of_safe)) < _MIN_OF_A_CLASS:
        return None
    ranks = _compute_midranks([*of_risky, *of_safe])
    above_safe = [
        (overall - own) / len(of_safe) for overall, own in zip(ranks, _compute_midranks(of_risky), strict=False)
    ]
    below_risky = [
        1 - (overall - own) / len(of_risky)
        for overall, own in zip(ranks[len(of_risky) :], _compute_midranks(of_safe), strict=True)
    ]
    deviation = sqrt(variance(above_safe) / len(of_risky) + variance(below_risky) / len(of_safe))
    return _add_interval(mean(above_safe), deviation)


def _compute_brier(probabilities: Sequence[float], risky: Sequence[bool]) -> Interval | None:
    """Return the mean squared error."""
    if len(probabilities) < _MIN_OF_A_CLASS:
        return None
    errors = [(probability - was_risky) ** 2 for probability, was_risky in zip(probabilities, risky, strict=True)]
    return _add_interval(mean(errors), sqrt(variance(errors) / len(errors)))


def _add_interval(value: float, deviation: float) -> Interval:
    return value, max(value - _Z * deviation, 0.0), min(value + _Z * deviation, 1.0)
