"""How good a model is: figures, tables and plots from labels and probabilities; no borrower's row in any of them."""

from typing import Any

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics

from credit_risk_model.training.fitting import Hyperparameters, feature_frame, fit, label, probabilities
from credit_risk_model.training.loans import ISSUE_MONTH

Probabilities = npt.NDArray[np.float64]

_BINS = 10
_LATER_SHARE = 0.2
_FEWEST_OF_A_CLASS = 30  # below it an AUC says nothing


def evaluate(risky: pd.Series, probability: Probabilities, cut_off: float) -> dict[str, Any]:
    """Measure probabilities against labels.

    Args:
        risky: Labels, 1 = risky, the positive class; both classes occur.
        probability: Probability of being risky of the same rows, shape (rows,).
        cut_off: Risky from this probability on.

    Returns:
        `auc`, `average_precision`, `ks` (Kolmogorov-Smirnov: the largest distance of the classes' cumulative
        distributions), `gini` (2 AUC - 1), `brier` (mean squared error), `calibration_error` (expected, over tenths of
        the loans), `mean_probability`, `risky_share`, `rows`, and for the thresholds 0.5 and the cut-off (`at_0.5`,
        `at_cut_off`): precision, recall and F1 of both classes, accuracy, macro F1, the confusion matrix.
    """
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(risky, probability)
    auc = float(metrics.roc_auc_score(risky, probability))
    table = calibration_table(risky, probability)
    return {
        "rows": len(risky),
        "risky_share": float(risky.mean()),
        "mean_probability": float(probability.mean()),
        "auc": auc,
        "average_precision": float(metrics.average_precision_score(risky, probability)),
        "ks": float((true_positive_rate - false_positive_rate).max()),
        "gini": 2 * auc - 1,
        "brier": float(metrics.brier_score_loss(risky, probability)),
        "calibration_error": float(
            np.average((table["mean_probability"] - table["risky_share"]).abs(), weights=table["loans"])
        ),
        "at_0.5": _decide(risky, probability, 0.5),
        "at_cut_off": _decide(risky, probability, cut_off),
    }


def _decide(risky: pd.Series, probability: Probabilities, threshold: float) -> dict[str, Any]:
    decision = (probability >= threshold).astype(int)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        risky, decision, labels=[0, 1], zero_division=0.0
    )
    names = ("safe", "risky")
    return {
        "threshold": threshold,
        "precision": dict(zip(names, precision.tolist(), strict=True)),
        "recall": dict(zip(names, recall.tolist(), strict=True)),
        "f1": dict(zip(names, f1.tolist(), strict=True)),
        "accuracy": float(metrics.accuracy_score(risky, decision)),
        "macro_f1": float(f1.mean()),
        "confusion_matrix": metrics.confusion_matrix(risky, decision, labels=[0, 1]).tolist(),
    }


def figures_table(figures: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Lay the results of `evaluate` side by side: a row for each model, in the order given."""
    rows = {
        name: {
            "AUC": found["auc"],
            "average precision": found["average_precision"],
            "KS": found["ks"],
            "Gini": found["gini"],
            "Brier score": found["brier"],
            "risky F1 at 0.5": found["at_0.5"]["f1"]["risky"],
            "risky F1 at cut-off": found["at_cut_off"]["f1"]["risky"],
            "cut-off": found["at_cut_off"]["threshold"],
        }
        for name, found in figures.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(4)


def decisions_table(figures: dict[str, Any]) -> pd.DataFrame:
    """Give precision, recall and F1 of both classes, accuracy and macro F1 at 0.5 and at the cut-off."""
    rows = {}
    for name in ("at_0.5", "at_cut_off"):
        found = figures[name]
        row = {
            f"{risk} {measure}": found[measure][risk]
            for risk in ("safe", "risky")
            for measure in ("precision", "recall", "f1")
        }
        rows[f"{found['threshold']:.4f}"] = row | {"accuracy": found["accuracy"], "macro F1": found["macro_f1"]}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("threshold").round(4)


def calibration_table(risky: pd.Series, probability: Probabilities) -> pd.DataFrame:
    """Cut the loans, ordered by probability, into ten equal parts, and compare each one's mean with what happened."""
    order = np.argsort(probability, kind="stable")
    rows = [
        {
            "loans": len(part),
            "mean_probability": probability[part].mean(),
            "risky_share": risky.to_numpy()[part].mean(),
        }
        for part in np.array_split(order, _BINS)
        if len(part)
    ]
    return pd.DataFrame(rows).rename_axis("tenth")


def status_table(status: pd.Series, probability: Probabilities, cut_off: float) -> pd.DataFrame:
    """Show by loan status how many loans there are, their mean probability and the share called risky."""
    table = pd.DataFrame({"status": status.astype(str).to_numpy(), "probability": probability})
    table["called_risky"] = table["probability"] >= cut_off
    return (
        table.groupby("status")
        .agg(
            loans=("probability", "size"),
            mean_probability=("probability", "mean"),
            called_risky=("called_risky", "mean"),
        )
        .sort_values("loans", ascending=False)
        .round(4)
    )


def importance_table(estimator: lgb.LGBMClassifier) -> pd.DataFrame:
    """Rank the features by the share of the training loss that their splits took away."""
    gain = pd.Series(estimator.feature_importances_, index=estimator.feature_name_)
    return (gain / gain.sum()).sort_values(ascending=False).rename("share_of_gain").rename_axis("feature").to_frame()


def evaluate_out_of_time(
    loans: pd.DataFrame, hyperparameters: Hyperparameters, cut_off: float, seed: int
) -> dict[str, Any] | None:
    """Train on the earlier loans and test on the later fifth.

    Returns:
        What `evaluate` gives for the later loans, with `trained_until` and `tested_from` (year and month); None where
        the file has no issue month, or the later loans too few of a class to measure.
    """
    if ISSUE_MONTH not in loans:
        return None
    months = loans[ISSUE_MONTH]
    boundary = months.quantile(1 - _LATER_SHARE, interpolation="nearest")
    earlier, later = loans[months < boundary], loans[months >= boundary]
    smallest = min(min(label(part).sum(), (1 - label(part)).sum()) for part in (earlier, later))
    if smallest < _FEWEST_OF_A_CLASS:
        return None
    estimator = fit(feature_frame(earlier), label(earlier), hyperparameters, seed)
    found = evaluate(label(later), probabilities(estimator, feature_frame(later)), cut_off)
    return {
        **found,
        "trained_until": f"{earlier[ISSUE_MONTH].max():%Y-%m}",
        "tested_from": f"{later[ISSUE_MONTH].min():%Y-%m}",
    }


def plot_curves(risky: pd.Series, probability: Probabilities, cut_off: float) -> Figure:
    """Draw the ROC curve, precision against recall, and the cumulative distributions that KS compares."""
    figure = Figure(figsize=(15, 4.5), layout="constrained")
    roc, precision_recall, cumulative = figure.subplots(1, 3)
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(risky, probability)
    roc.plot(false_positive_rate, true_positive_rate)
    roc.plot([0, 1], [0, 1], linestyle=":", color="grey")
    roc.set(title="ROC curve", xlabel="Share of safe loans called risky", ylabel="Share of risky loans called risky")
    precision, recall, _ = metrics.precision_recall_curve(risky, probability)
    precision_recall.plot(recall, precision)
    precision_recall.set(title="Precision and recall of the risky class", xlabel="Recall", ylabel="Precision")
    levels = np.linspace(0, 1, 201)
    for name, value in (("safe", 0), ("risky", 1)):
        part = np.sort(probability[risky.to_numpy() == value])
        cumulative.plot(levels, np.searchsorted(part, levels, side="right") / len(part), label=name)
    cumulative.axvline(cut_off, linestyle=":", color="grey", label="cut-off")
    cumulative.set(title="Cumulative distributions (KS)", xlabel="Probability of risky", ylabel="Share of the class")
    cumulative.legend()
    return figure


def plot_calibration(risky: pd.Series, probability: Probabilities) -> Figure:
    """Draw what happened against what was predicted, by tenths of the loans."""
    table = calibration_table(risky, probability)
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="perfect")
    axes.plot(table["mean_probability"], table["risky_share"], marker="o", label="model")
    axes.set(title="Calibration", xlabel="Mean predicted probability of a tenth", ylabel="Share that was risky")
    axes.legend()
    return figure


def plot_confusion(figures: dict[str, Any]) -> Figure:
    """Draw the confusion matrices at 0.5 and at the cut-off."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("at_0.5", "at_cut_off"), strict=True):
        found = figures[name]
        display = metrics.ConfusionMatrixDisplay(np.array(found["confusion_matrix"]), display_labels=["safe", "risky"])
        display.plot(ax=axes, values_format=",d", cmap="Blues", colorbar=False)
        axes.set(title=f"Confusion matrix at {found['threshold']:.4f}", xlabel="Called", ylabel="Was")
    return figure


def plot_importance(estimator: lgb.LGBMClassifier) -> Figure:
    """Draw the features' shares of the training gain."""
    table = importance_table(estimator).iloc[::-1]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots()
    axes.barh(table.index, table["share_of_gain"])
    axes.set(title="Feature importance", xlabel="Share of the training gain", ylabel="Feature")
    return figure
