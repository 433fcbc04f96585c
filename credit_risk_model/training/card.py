"""The model card: what the model is for, how good it is, and where it must not be trusted."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from credit_risk_model import features

LIMITS = """\
- **It watches loans on the book; it does not decide applications.** `last_payment_amount` and `total_payments_to_date`
  exist only once a loan runs.
- **It holds only for a book like the snapshot that it was trained on.** No field tells a loan's age, so a model trained
  on ended loans takes a young loan, with few payments yet, for one that stopped paying. Train on a snapshot like the
  one to be scored, and watch the inputs and the mean probability for drift.
- **A category or number outside the training ranges below is scored, but without evidence.** The request contract
  allows more than training saw of most fields, and less of some, whose loans beyond it are refused.
- **Lending law** (adverse-action notices, fair lending, model risk management) is the user's to observe: no protected
  attribute is an input, but no test for disparate impact was made here."""

SYNTHETIC_WARNING = """\
> **SYNTHETIC DATA. This model was trained on a made-up loan book and says nothing about any real loan.** Its figures
> show only that the training runs. Train on real loans before you use it.
"""


def write_card(metadata: Mapping[str, Any], importance: pd.DataFrame, statuses: pd.DataFrame) -> str:
    """Write the card in Markdown.

    Args:
        metadata: Fields of `archive.Metadata`.
        importance: What `evaluation.importance_table` gives.
        statuses: What `evaluation.status_table` gives for the test set.
    """
    metrics = metadata["metrics"]
    synthetic = metadata["data"]["kind"] == "synthetic"
    parts = [
        f"# Model card: credit risk model {metadata['model_version']}",
        SYNTHETIC_WARNING if synthetic else "",
        "LightGBM classifier that calls a loan on the book safe or risky. "
        f"Made {metadata['created_at']} from `{metadata['data']['file']}` ({metadata['data']['rows']:,} rows, SHA-256 "
        f"`{metadata['data']['sha256']}`), seed {metadata['seed']}.",
        "## Use and limits",
        LIMITS,
        f"Of the loans in the file {metrics['ended_share']:.0%} had ended (paid or charged off): the model fits other "
        "snapshots the less, the more that share differs.",
        _age_evidence(metrics.get("out_of_time")),
        "## How good it is",
        f"On {metrics['test']['rows']:,} loans drawn at random, stratified, and used for nothing else. "
        f"A loan is called risky from the cut-off {metadata['cut_off']} on, the best F1 of the risky class on "
        "out-of-fold predictions of the training set.",
        _figures(metrics["test"]),
        "### By loan status",
        _table(statuses),
        "## Features",
        "The contract's bounds are what a request may hold; the training range is what the model has seen.",
        _table(_feature_table(metadata, importance)),
        "## Data",
        "Risky: charged off, in default, or late by 16 days or more. Safe: fully paid, current, issued or in grace. "
        "Cleaning left:",
        _table(pd.DataFrame(metadata["cleaning"]).set_index("step")),
        "## Hyper-parameters",
        _table(pd.Series(metadata["hyperparameters"], name="value").rename_axis("name").to_frame()),
        "## Checks",
        _table(_check_table(metadata["checks"])),
        "## Made with",
        ", ".join(f"{name} {version}" for name, version in metadata["libraries"].items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _age_evidence(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "The out-of-time test was not possible: the data has no issue date, or too few loans of a class."
    return (
        f"Measured out of time: trained on loans issued until {found['trained_until']}, tested on {found['rows']:,} "
        f"issued from {found['tested_from']} on: AUC {found['auc']:.3f} (in time: see below), mean probability "
        f"{found['mean_probability']:.2f} where {found['risky_share']:.2f} are risky."
    )


def _figures(test: Mapping[str, Any]) -> str:
    ranking = {
        "AUC": test["auc"],
        "Average precision": test["average_precision"],
        "KS": test["ks"],
        "Gini": test["gini"],
        "Brier score": test["brier"],
        "Expected calibration error": test["calibration_error"],
    }
    decisions = pd.DataFrame(
        {
            f"at {test[name]['threshold']}": {
                "risky precision": test[name]["precision"]["risky"],
                "risky recall": test[name]["recall"]["risky"],
                "risky F1": test[name]["f1"]["risky"],
                "safe F1": test[name]["f1"]["safe"],
                "accuracy": test[name]["accuracy"],
                "macro F1": test[name]["macro_f1"],
            }
            for name in ("at_0.5", "at_cut_off")
        }
    )
    return "\n\n".join(
        (_table(pd.Series(ranking, name="value").rename_axis("figure").to_frame()), _table(decisions.rename_axis("")))
    )


def _feature_table(metadata: Mapping[str, Any], importance: pd.DataFrame) -> pd.DataFrame:
    seen = {record["name"]: record for record in metadata["features"]}
    gain = importance["share_of_gain"].to_dict()
    rows = {}
    for feature in features.FEATURES:
        record = seen[feature.name]
        bounds = "" if feature.bounds is None else " to ".join(f"{bound:g}" for bound in feature.bounds)
        rows[feature.name] = {
            "meaning": feature.description,
            "contract": f"{len(feature.levels)} levels" if feature.levels else bounds or "derived",
            "in training": "" if feature.levels else f"{record['minimum']:.6g} to {record['maximum']:.6g}",
            "share of gain": f"{gain[feature.name]:.4f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("feature")


def _check_table(checks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    rows = {
        name: {
            "passed": suite["passed"],
            "not passed": ", ".join(entry["check"] for entry in suite["conditions"] if entry["status"] != "passed"),
        }
        for name, suite in checks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("suite")


def _table(frame: pd.DataFrame) -> str:
    """Lay a frame out as a Markdown table, the index first."""
    lines = [[str(frame.index.name or ""), *map(str, frame.columns)], ["---"] * (frame.shape[1] + 1)]
    lines += [[_cell(index), *map(_cell, row)] for index, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
