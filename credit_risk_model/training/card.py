"""The model card: what the model is for, how good it is, and where it must not be trusted."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from credit_risk_model import features
from credit_risk_model.training.segments import INTERVAL_BELOW, RULE_ARREARS, segment_table

LIMITS = """\
- **The model says how a running loan stands now, not what will become of it.** Risky means: charged off, in default, or
  16 days late or more. Whether a loan that pays in time will go bad can't be told from these fields better than from
  the interest rate alone.
- **It decides no applications.** `last_payment_amount` and `total_payments_to_date` exist only once a loan runs.
- **It needs `instalments_due`.** Without it a young loan can't be told from one that stopped paying; such an answer
  carries the caution `instalments_due_missing`, and the figures below show what it is worth.
- **The loans' age is known in whole months here.** It may be one instalment more than was due on the day, so that one
  instalment behind says little. Whoever knows the number to the day gets the better answer.
- **A number outside the training ranges below is scored without evidence.** The answer then carries the caution
  `outside_training_range`.
- **Lending law** (adverse-action notices, fair lending, model risk management) is the user's to observe: no protected
  attribute is an input, but no test for disparate impact was made here."""

SYNTHETIC_WARNING = """\
> **SYNTHETIC DATA. This model was trained on a made-up loan book and says nothing about any real loan.** Its figures
> show only that the training runs. Train on real loans before you use it.
"""


def write_card(
    metadata: Mapping[str, Any],
    importance: pd.DataFrame,
    *,
    owner: str | None,
    approved_by: str | None,
    former: str,
    former_metrics: Mapping[str, Any],
) -> str:
    """Write the card in Markdown.

    Args:
        metadata: Fields of `archive.Metadata`.
        importance: What `evaluation.importance_table` returns.
        owner: Who owns the model; None where nobody was named.
        approved_by: Who approved its use; None where nobody was named.
        former: Name of the archive that it follows; empty where there is none, or none that can be compared.
        former_metrics: That archive's metrics.
    """
    metrics = metadata["metrics"]
    synthetic = metadata["data"]["kind"] == "synthetic"
    parts = [
        f"# Model card: credit risk model {metadata['model_version']}",
        SYNTHETIC_WARNING if synthetic else "",
        "LightGBM classifiers that predict whether a running loan is safe or risky: one for loans whose age is known, "
        f"one for the others. Made {metadata['created_at']} from `{metadata['data']['file']}` "
        f"({metadata['data']['rows']:,} rows, SHA-256 `{metadata['data']['sha256']}`), seed {metadata['seed']}.",
        f"Owner: {owner or 'not named'}. Approved by: {approved_by or 'nobody yet'}.",
        "## How good it is",
        "Running loans first: they are what the model is for. An ended loan's state is known to its owner.",
        _headline(metrics),
        "### By kind of loan",
        f"On {metrics['test']['rows']:,} loans drawn at random, stratified, and used for nothing else; 95 % bootstrap "
        f"intervals in brackets for less than {INTERVAL_BELOW:,} loans. The rule: {RULE_ARREARS} instalments or more "
        "behind, and not repaid. Where the last column says no, use the rule.",
        _table(segment_table(metrics["segments"])),
        "### With the age withheld",
        _table(segment_table(metrics["age_withheld"])),
        "### Out of time",
        _apart(metrics["out_of_time"], "trained_until", "tested_from"),
        "### With one source left out",
        _apart(metrics["source_left_out"], "left_out"),
        "### Other splits of the same loans",
        _table(pd.DataFrame.from_dict(metrics["split_seeds"], orient="index").rename_axis("split seed")),
        "### Baseline and former model",
        f"{metrics['baseline']['name']}:",
        _table(segment_table(metrics["baseline"]["test"])),
        _former(former, former_metrics),
        "### What must hold",
        _must_hold(metrics),
        "## The cut-off",
        f"A loan is risky from {metadata['cut_off']} on: "
        + (
            "the best F1 of the risky class"
            if metrics["cost_ratio"] is None
            else f"the least cost, where a missed risky loan costs {metrics['cost_ratio']:g} false alarms"
        )
        + " on running loans of the training set, each predicted by models that have not seen it. What others cost:",
        _table(pd.DataFrame(metrics["cut_offs"]).set_index("cut_off").iloc[4::5]),
        "## Use and limits",
        LIMITS,
        f"Of the loans in the file {metrics['ended_share']:.0%} had ended (paid, charged off or in default). "
        f"The loans' age: {metadata['data']['age']}.",
        "## Features",
        "The contract's bounds are what a request may hold; the training range is what a model has seen.",
        *(
            part
            for name, record in metadata["models"].items()
            for part in (f"### {name.replace('_', ' ').capitalize()}", _table(_feature_table(name, record, importance)))
        ),
        "### Decisions on the test set",
        _figures(metrics["test"]),
        "## Data",
        "Risky: charged off, in default, or late by 16 days or more. Safe: fully paid, current, issued or in grace. "
        "Cleaning left:",
        _table(pd.DataFrame(metadata["cleaning"]).set_index("step")),
        "## Hyper-parameters",
        _table(
            pd.DataFrame({name: record["hyperparameters"] for name, record in metadata["models"].items()}).rename_axis(
                "name"
            )
        ),
        "## Checks",
        _table(_check_table(metadata["checks"])),
        "Those that did not pass, with the reason why that is acceptable:",
        _table(_failed_checks(metadata["checks"])),
        "## Made with",
        ", ".join(f"{name} {version}" for name, version in metadata["libraries"].items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(metrics: Mapping[str, Any]) -> str:
    """Set running loans before all others, at random and apart, with and without the age."""
    found = {
        "random split": metrics["segments"],
        "random split, age withheld": metrics["age_withheld"],
        "out of time": (metrics["out_of_time"] or {}).get("segments", {}),
        "one source left out": (metrics["source_left_out"] or {}).get("segments", {}),
    }
    rows = {
        f"{loans} loans, {name}": figures[loans]
        for loans in ("running", "all")
        for name, figures in found.items()
        if loans in figures
    }
    return _table(segment_table(rows))


def _apart(found: Mapping[str, Any] | None, *names: str) -> str:
    if found is None:
        return "Not possible: the data has no issue date, or too few loans of a class."
    words = ", ".join(f"{name.replace('_', ' ')} {found[name]}" for name in names)
    return f"{words.capitalize()}:\n\n{_table(segment_table(found['segments']))}"


def _former(name: str, metrics: Mapping[str, Any]) -> str:
    found = {loans: metrics.get("segments", {}).get(loans) for loans in ("running", "all")}
    known = {loans: figures for loans, figures in found.items() if figures}
    if not known:
        return "It follows no archive that it could be compared with."
    return f"It follows {name}, which recorded of its own test set:\n\n{_table(segment_table(known))}"


def _must_hold(metrics: Mapping[str, Any]) -> str:
    if "dollar" not in metrics:
        return "Not measured: no loan's age is known."
    dollar, payers = metrics["dollar"], metrics["perfect_payers"]
    return (
        f"- A dollar or a cent more or less in either payment flips the decision of {dollar['flipped_share']:.2%} of "
        f"{dollar['loans']:,} running loans. It moves the probability by at most "
        f"{dollar['largest_change_quantile']:.3f} for 99.9 % of them ({dollar['largest_change']:.3f} for all).\n"
        f"- Of {payers['loans']:,} made-up loans that paid each instalment in time, at each month of both terms, with "
        f"amounts and rates over the contract, {payers['called_risky']} are called risky; their largest probability is "
        f"{payers['largest_probability']:.3f}.\n"
        "- More instalments due never lower the risk before the term has run out, all else equal."
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


def _feature_table(name: str, record: Mapping[str, Any], importance: pd.DataFrame) -> pd.DataFrame:
    (wanted,) = (wanted for wanted in features.FEATURE_SETS if wanted.name == name)
    seen = {feature["name"]: feature for feature in record["features"]}
    gain = importance["share_of_gain"].to_dict()
    rows = {}
    for feature in wanted.features:
        found = seen[feature.name]
        bounds = "" if feature.bounds is None else " to ".join(f"{bound:g}" for bound in feature.bounds)
        rows[feature.name] = {
            "meaning": feature.description,
            "contract": f"{len(feature.levels)} levels" if feature.levels else bounds or "derived",
            "in training": "" if found["minimum"] is None else f"{found['minimum']:.6g} to {found['maximum']:.6g}",
            "share of gain": f"{gain[feature.name]:.4f}" if set(gain) == set(seen) else "",
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("feature")
    return table if set(gain) == set(seen) else table.drop(columns="share of gain")


def _check_table(checks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    rows = {
        name: {"passed": suite["passed"], "not passed": sum(suite[status] for status in ("failed", "warning", "error"))}
        for name, suite in checks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("suite")


def _failed_checks(checks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    rows = [
        {"check": entry["check"], "status": entry["status"], "found": entry["details"], "reason": entry["reason"]}
        for suite in checks.values()
        for entry in suite["conditions"]
        if entry["status"] != "passed"
    ]
    return pd.DataFrame(rows, columns=["check", "status", "found", "reason"]).set_index("check")


def _table(frame: pd.DataFrame) -> str:
    """Lay a frame out as a Markdown table, the index first."""
    lines = [[str(frame.index.name or ""), *map(str, frame.columns)], ["---"] * (frame.shape[1] + 1)]
    lines += [[_cell(index), *map(_cell, row)] for index, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124  # NaN
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
