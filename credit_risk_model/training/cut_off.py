"""Chooses the cut-off, from which probability on a loan is called risky, and measures each one's cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve

from credit_risk_model.training.figures import CutOffCost
from credit_risk_model.training.fitting import Probabilities

COST_CUT_OFFS: Sequence[float] = tuple(step / 100 for step in range(1, 100))
"""The cut-offs whose costs are compared."""


def choose_cut_off(risky: pd.Series | npt.NDArray[Any], probability: Probabilities) -> float:
    """Choose the cut-off with the best F1 of the risky class.

    Args:
        risky: Labels, 1 = risky.
        probability: Out-of-fold probabilities of the same rows, so that neither the test set nor overfitting decides.

    Returns:
        A cut-off between 0.0001 and 0.9999, to 4 decimals.
    """
    precision, recall, thresholds = precision_recall_curve(risky, probability)
    with np.errstate(invalid="ignore"):  # 0 / 0 if precision and recall are 0
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    return float(np.clip(np.round(thresholds[f1[:-1].argmax()], 4), 0.0001, 0.9999))


def choose_cut_off_by_cost(risky: npt.NDArray[Any], probability: Probabilities, cost_ratio: float) -> float:
    """Choose the cheapest cut-off, if a missed risky loan costs as much as `cost_ratio` false alarms.

    Returns:
        One of `COST_CUT_OFFS`. If several cost the same, the middle one.
    """
    missed = np.array([np.sum(risky[probability < cut_off]) for cut_off in COST_CUT_OFFS])
    alarms = np.array([np.sum(1 - risky[probability >= cut_off]) for cut_off in COST_CUT_OFFS])
    cost = missed * cost_ratio + alarms
    return COST_CUT_OFFS[int(np.median(np.flatnonzero(cost == cost.min())))]


def measure_costs(
    risky: npt.NDArray[Any], probability: Probabilities, cost_ratio: float | None
) -> tuple[CutOffCost, ...]:
    """Measure each cut-off: precision, recall, number of loans called risky and, if a ratio is given, the cost.

    Args:
        risky: Labels, 1 = risky.
        probability: Out-of-fold probabilities of the same loans.
        cost_ratio: Cost of a missed risky loan in false alarms; None if unknown.

    Returns:
        The cost of each cut-off of `COST_CUT_OFFS`, to 5 decimals.
    """
    rows = []
    for cut_off in COST_CUT_OFFS:
        called = probability >= cut_off
        hits, alarms, missed = (int(part.sum()) for part in (risky[called], 1 - risky[called], risky[~called]))
        row = {
            "cut_off": cut_off,
            "precision": hits / max(hits + alarms, 1),
            "recall": hits / max(hits + missed, 1),
            "called_risky": hits + alarms,
        }
        if cost_ratio is not None:
            row["expected_cost"] = (missed * cost_ratio + alarms) / len(risky)
        rows.append(row)
    rounded = pd.DataFrame(rows).set_index("cut_off").round(5).reset_index()
    return tuple(CutOffCost.model_validate(row) for row in rounded.to_dict("records"))


def tabulate_costs(costs: Sequence[CutOffCost]) -> pd.DataFrame:
    """Make a table of the cut-offs' costs."""
    return pd.DataFrame([cost.store() for cost in costs]).set_index("cut_off")


def plot_costs(costs: Sequence[CutOffCost], cut_off: float) -> Figure:
    """Plot precision, recall and, if known, the expected cost against the cut-off."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes, table = figure.subplots(), tabulate_costs(costs)
    table[["precision", "recall"]].plot(ax=axes)
    if "expected_cost" in table:
        (table["expected_cost"] / table["expected_cost"].max()).plot(ax=axes, label="expected cost, of the largest")
    axes.axvline(cut_off, linestyle=":", color="grey", label="cut-off")
    axes.set(title="Running loans, out of fold", xlabel="Cut-off", ylabel="Share")
    axes.legend()
    return figure
