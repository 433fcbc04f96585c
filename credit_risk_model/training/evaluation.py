"""Evaluates a model: figures, tables and plots from labels and probabilities. None shows a borrower's row."""

import lightgbm as lgb
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics

from credit_risk_model.training.figures import ByClass, DecisionFigures, Evaluation, Segments
from credit_risk_model.training.fitting import Probabilities

_BINS = 10


def evaluate(risky: pd.Series, probability: Probabilities, cut_off: float) -> Evaluation:
    """Measure probabilities against labels.

    Args:
        risky: Labels, 1 = risky, the positive class; both classes must occur.
        probability: The same rows' probabilities of being risky, shape (rows,).
        cut_off: A loan is risky from this probability on.
    """
    false_positive_rate, true_positive_rate, _ = metrics.roc_curve(risky, probability)
    auc = float(metrics.roc_auc_score(risky, probability))
    table = tabulate_calibration(risky, probability)
    return Evaluation(
        rows=len(risky),
        risky_share=float(risky.mean()),
        mean_probability=float(probability.mean()),
        auc=auc,
        average_precision=float(metrics.average_precision_score(risky, probability)),
        ks=float((true_positive_rate - false_positive_rate).max()),
        gini=2 * auc - 1,
        brier=float(metrics.brier_score_loss(risky, probability)),
        calibration_error=float(
            np.average((table["mean_probability"] - table["risky_share"]).abs(), weights=table["loans"])
        ),
        at_half=_decide(risky, probability, 0.5),
        at_cut_off=_decide(risky, probability, cut_off),
    )


def _decide(risky: pd.Series, probability: Probabilities, threshold: float) -> DecisionFigures:
    decision = (probability >= threshold).astype(int)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        risky, decision, labels=[0, 1], zero_division=0.0
    )
    precisions, recalls, f1s = (ByClass(safe=each[0], risky=each[1]) for each in (precision, recall, f1))
    return DecisionFigures(
        threshold=threshold,
        precision=precisions,
        recall=recalls,
        f1=f1s,
        accuracy=float(metrics.accuracy_score(risky, decision)),
        macro_f1=float(f1.mean()),
        confusion_matrix=metrics.confusion_matrix(risky, decision, labels=[0, 1]).tolist(),
    )


def tabulate_decisions(figures: Evaluation) -> pd.DataFrame:
    """Make a table of both classes' precision, recall and F1, accuracy and macro F1, at 0.5 and at the cut-off."""
    rows = {}
    for found in (figures.at_half, figures.at_cut_off):
        row = {}
        for risk in ("safe", "risky"):
            for measure, value in (("precision", found.precision), ("recall", found.recall), ("f1", found.f1)):
                row[f"{risk} {measure}"] = value.safe if risk == "safe" else value.risky
        rows[f"{found.threshold:.4f}"] = row | {"accuracy": found.accuracy, "macro F1": found.macro_f1}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("threshold").round(4)


def tabulate_calibration(risky: pd.Series, probability: Probabilities) -> pd.DataFrame:
    """Compare mean probability and risky share in each tenth of the loans, sorted by probability."""
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


def tabulate_importance(estimator: lgb.LGBMClassifier) -> pd.DataFrame:
    """Rank the features by their splits' share of the training gain."""
    gain = pd.Series(estimator.feature_importances_, index=estimator.feature_name_)
    return (gain / gain.sum()).sort_values(ascending=False).rename("share_of_gain").rename_axis("feature").to_frame()


def plot_segments(figures: Segments) -> Figure:
    """Plot mean probability and risky share by segment."""
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots()
    names = list(figures)[::-1]
    axes.plot([figures[name].mean_probability for name in names], names, "o", label="mean probability")
    axes.plot([figures[name].risky_share for name in names], names, "|", markersize=14, label="share that was risky")
    axes.set(title="Calibration by kind of loan", xlabel="Probability of risky")
    axes.legend()
    return figure


def plot_curves(risky: pd.Series, probability: Probabilities, cut_off: float) -> Figure:
    """Plot the ROC curve, precision against recall, and the cumulative distributions that KS compares."""
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
    """Plot the risky share against the mean probability, by tenths of the loans."""
    table = tabulate_calibration(risky, probability)
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="perfect")
    axes.plot(table["mean_probability"], table["risky_share"], marker="o", label="model")
    axes.set(title="Calibration", xlabel="Mean predicted probability of a tenth", ylabel="Share that was risky")
    axes.legend()
    return figure


def plot_confusion(figures: Evaluation) -> Figure:
    """Plot the confusion matrices at 0.5 and at the cut-off."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, found in zip(figure.subplots(1, 2), (figures.at_half, figures.at_cut_off), strict=True):
        display = metrics.ConfusionMatrixDisplay(np.array(found.confusion_matrix), display_labels=["safe", "risky"])
        display.plot(ax=axes, values_format=",d", cmap="Blues", colorbar=False)
        axes.set(title=f"Confusion matrix at {found.threshold:.4f}", xlabel="Called", ylabel="Was")
    return figure


def plot_importance(estimator: lgb.LGBMClassifier) -> Figure:
    """Plot the features' shares of the training gain."""
    table = tabulate_importance(estimator).iloc[::-1]
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots()
    axes.barh(table.index, table["share_of_gain"])
    axes.set(title="Feature importance", xlabel="Share of the training gain", ylabel="Feature")
    return figure
