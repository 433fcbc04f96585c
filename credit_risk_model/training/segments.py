"""Measures a model on segments of loans, beside the arrears rule, which needs no model."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from credit_risk_model.features import AGE, TERM_MONTHS, compute_instalments
from credit_risk_model.tables.columns import STATUS
from credit_risk_model.training.figures import Interval, SegmentFigures, Segments
from credit_risk_model.training.fitting import Probabilities, is_running, label
from credit_risk_model.training.loans import ISSUE_MONTH

RULE_ARREARS = 1.5
"""The rule calls a loan risky if it is at least this many instalments behind and not repaid."""
INTERVAL_BELOW = 2000
"""Segments with fewer loans get intervals. The figures of larger ones are accurate to the second digit."""
_RESAMPLES = 400
_INTERVAL = (0.025, 0.975)


def apply_rule(loans: pd.DataFrame) -> npt.NDArray[np.int_]:
    """Return 1 for loans at least `RULE_ARREARS` instalments behind and not repaid, else 0, also for an unknown age."""
    arrears = loans[AGE] - loans["total_payments_to_date"] / compute_instalments(loans)
    repaid = loans["total_payments_to_date"] >= loans["loan_amount"]
    return np.asarray((arrears >= RULE_ARREARS) & ~repaid, dtype=int)


def measure_segments(
    loans: pd.DataFrame, probability: Probabilities, cut_off: float, seed: int = 0
) -> dict[str, SegmentFigures]:
    """Measure a model and the arrears rule on all loans, and by segment.

    Args:
        loans: Cleaned loans that the model has not seen.
        probability: Their probabilities of being risky, shape (loans,).
        cut_off: A loan is risky from this probability on.
        seed: Seed of the resampling.

    Returns:
        The figures of each non-empty segment; with intervals if it has fewer than `INTERVAL_BELOW` loans.
    """
    risky, rule = label(loans).to_numpy(), apply_rule(loans)
    rng = np.random.default_rng(seed)
    found = {}
    for name, rows in _select_segments(loans).items():
        if rows.any():
            found[name] = _measure_segment(risky[rows], probability[rows], rule[rows], cut_off, rng)
    return found


def _select_segments(loans: pd.DataFrame) -> dict[str, npt.NDArray[np.bool_]]:
    running = is_running(loans)
    segments = {"running": running, "ended": ~running, "all": np.ones(len(loans), dtype=bool)}
    for status in loans[STATUS].cat.categories:
        segments[f"status {status}"] = (loans[STATUS] == status).to_numpy()
    if ISSUE_MONTH in loans:
        years = loans[ISSUE_MONTH].dt.year
        for year in sorted(years.dropna().unique()):
            segments[f"issued {year:.0f}"] = (years == year).to_numpy()
    elapsed = (loans[AGE] / loans["term"].astype(object).map(TERM_MONTHS).astype(float)).to_numpy()
    for start, end in ((0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)):
        segments[f"running, {start:.0%} to {end:.0%} of the term elapsed"] = (
            running & (elapsed >= start) & ((elapsed < end) | (end == 1))
        )
    return segments


def _measure_segment(
    risky: npt.NDArray[Any],
    probability: Probabilities,
    rule: npt.NDArray[Any],
    cut_off: float,
    rng: np.random.Generator,
) -> SegmentFigures:
    decision = (probability >= cut_off).astype(int)
    model, of_rule = _measure(risky, probability, decision), _measure(risky, rule.astype(float), rule)
    found: dict[str, Any] = {
        "rows": len(risky),
        "risky_share": float(risky.mean()),
        "mean_probability": float(probability.mean()),
        **model,
        **{f"rule_{name}": value for name, value in of_rule.items()},
    }
    found["beats_rule"] = bool(
        model["brier"] < of_rule["brier"] and (model["auc"] is None or model["auc"] > of_rule["auc"])
    )
    if len(risky) < INTERVAL_BELOW:
        drawn = rng.integers(len(risky), size=(_RESAMPLES, len(risky)))
        for name, values in _measure_drawn(risky, probability, decision, drawn).items():
            known = values[~np.isnan(values)]
            found[f"{name}_interval"] = np.quantile(known, _INTERVAL).tolist() if model[name] is not None else None
    return SegmentFigures.model_validate(found)


def _measure(risky: npt.NDArray[Any], probability: Probabilities, decision: npt.NDArray[Any]) -> dict[str, Any]:
    positives = int(risky.sum())
    both = 0 < positives < len(risky)
    hits = int((risky & decision).sum())
    return {
        "auc": _auc(risky, probability, positives) if both else None,
        "brier": float(np.mean((probability - risky) ** 2)),
        "f1": 2 * hits / (positives + int(decision.sum())) if both else None,
    }


def _measure_drawn(
    risky: npt.NDArray[Any], probability: Probabilities, decision: npt.NDArray[Any], drawn: npt.NDArray[np.int_]
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure all resamples at once as `_measure` does: shape (resamples,) each, with NaN instead of None.

    Args:
        risky: Labels of the loans, shape (loans,).
        probability: Their probabilities of being risky, shape (loans,).
        decision: Their decisions, shape (loans,).
        drawn: Indices of the drawn loans, shape (resamples, loans).
    """
    resamples, loans = drawn.shape
    of_risky = risky[drawn]
    positives = of_risky.sum(axis=1)
    # Ranks follow from the counts of each distinct probability, in order; ties get their mean rank.
    values, places = np.unique(probability, return_inverse=True)
    cells = (places[drawn] + len(values) * np.arange(resamples)[:, None]).ravel()
    size = resamples * len(values)
    counts = np.bincount(cells, minlength=size).reshape(resamples, -1)
    risky_counts = np.bincount(cells, weights=of_risky.ravel(), minlength=size).reshape(resamples, -1)
    ranks = (risky_counts * (counts.cumsum(axis=1) - counts + (counts + 1) / 2)).sum(axis=1)
    both = (positives > 0) & (positives < loans)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may have only one class
        auc = (ranks - positives * (positives + 1) / 2) / (positives * (loans - positives))
        f1 = 2 * (of_risky & decision[drawn]).sum(axis=1) / (positives + decision[drawn].sum(axis=1))
    return {
        "auc": np.where(both, auc, np.nan),
        "brier": np.mean((probability[drawn] - of_risky) ** 2, axis=1),
        "f1": np.where(both, f1, np.nan),
    }


def _auc(risky: npt.NDArray[Any], probability: Probabilities, positives: int) -> float:
    ranks = rankdata(probability)[risky == 1].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * (len(risky) - positives)))


def tabulate_segments(figures: Segments) -> pd.DataFrame:
    """Make a table of the figures of `measure_segments`: a row for each segment, intervals in brackets."""
    rows = {}
    for segment, found in figures.items():
        row = {
            "loans": found.rows,
            "risky": f"{found.risky_share:.3f}",
            "mean probability": f"{found.mean_probability:.3f}",
        }
        for title, value, interval, of_rule in (
            ("AUC", found.auc, found.auc_interval, found.rule_auc),
            ("Brier score", found.brier, found.brier_interval, found.rule_brier),
            ("F1", found.f1, found.f1_interval, found.rule_f1),
        ):
            row[title] = _format_interval(value, interval)
            row[f"{title} of the rule"] = _format_interval(of_rule, None)
        row["beats the rule"] = "yes" if found.beats_rule else "no"
        rows[segment] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("segment")


def _format_interval(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
