"""Writes the model card: what the model is for, how good it is, and its limits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from credit_risk_model import features
from credit_risk_model.archive import Metadata, ModelRecord
from credit_risk_model.contract import SHIPPED, Bounds, Contract
from credit_risk_model.training.cut_off import tabulate_costs
from credit_risk_model.training.figures import Evaluation, Metrics, Segments
from credit_risk_model.training.former import Former
from credit_risk_model.training.held_out import tabulate_splits
from credit_risk_model.training.reports import SuiteReport
from credit_risk_model.training.segments import INTERVAL_BELOW, RULE_ARREARS, tabulate_segments

LIMITS = """\
- **The model predicts how a running loan stands now. It does not forecast what will become of it.** Risky means charged
  off, in default, or 16 days late or more. For loans that are paid on time, these fields forecast trouble no better
  than the interest rate alone.
- **Do not use it to decide applications.** `last_payment_amount` and `total_payments_to_date` exist only once a loan
  runs.
- **It needs `instalments_due`.** Without it the model can't tell a young loan from one that stopped paying. The
  prediction then has the caution `instalments_due_missing`. The figures with the age withheld show its quality.
- **The training data has the loans' age in whole months.** It may be one instalment more than was due on the day, so
  one instalment of arrears is weak evidence. Predictions are better if `instalments_due` is exact to the day.
- **Numbers outside the training ranges below are scored without evidence.** The prediction then has the caution
  `outside_training_range`.
- **Compliance with lending law** (adverse-action notices, fair lending, model risk management) is up to the user. No
  protected attribute is an input, but disparate impact was not tested."""

_NOT_POSSIBLE = "Not measured: the data has no issue dates, or too few loans of a class."
SYNTHETIC_WARNING = """\
> **SYNTHETIC DATA. This model was trained on a made-up loan book and must not be used on real loans.** Its figures
> show only that the training runs. Train on real loans before you use it.
"""


@dataclass(frozen=True)
class People:
    """The people who are responsible for a model.

    Attributes:
        owner: Who owns it; None if unnamed.
        approved_by: Who approved its use; None if unnamed.
    """

    owner: str | None
    approved_by: str | None


def write_model_card(
    metadata: Metadata,
    *,
    metrics: Metrics,
    checks: Sequence[SuiteReport],
    importance: pd.DataFrame,
    people: People,
    former: Former | None,
) -> str:
    """Write the card in Markdown.

    Args:
        metadata: The archive's metadata.
        metrics: The metadata's figures.
        checks: The reports of deepchecks' suites, in the metadata's order.
        importance: The table that `evaluation.tabulate_importance` returns.
        people: Who is responsible for the model.
        former: The archive that it follows; None if there is none that can be compared.
    """
    parts = [
        *_introduce(metadata, people),
        *_describe_quality(metrics, former),
        *_describe_cut_off(metadata, metrics),
        "## Use and limits",
        LIMITS,
        f"In the file, {metrics.ended_share:.0%} of the loans had ended (paid, charged off or in default). "
        f"Source of the loans' age: {metadata.data.age}.",
        *_describe_features(metadata, importance),
        "### Decisions on the test set",
        _tabulate_figures(metrics.test),
        *_describe_training(metadata),
        "## Checks",
        _table(_check_table(metadata.checks, checks)),
        "Checks that did not pass, with the reason why that is acceptable:",
        _table(_failed_checks(checks)),
        "## Libraries",
        ", ".join(f"{name} {version}" for name, version in metadata.libraries.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduce(metadata: Metadata, people: People) -> list[str]:
    data = metadata.data
    return [
        f"# Model card: credit risk model {metadata.model_version}",
        SYNTHETIC_WARNING if data.kind == "synthetic" else "",
        "LightGBM classifiers that predict whether a running loan is safe or risky: one for loans of known age, "
        f"one for all others. Made {metadata.created_at} from `{data.file}` "
        f"({data.rows:,} rows, SHA-256 `{data.sha256}`), seed {metadata.seed}.",
        f"Owner: {people.owner or 'not named'}. Approved by: {people.approved_by or 'nobody yet'}.",
    ]


def _describe_quality(metrics: Metrics, former: Former | None) -> list[str]:
    time, source = metrics.out_of_time, metrics.source_left_out
    return [
        "## How good it is",
        "Running loans come first, since the model is for them. The state of an ended loan is already known.",
        _headline(metrics),
        "### By kind of loan",
        f"On {metrics.test.rows:,} test loans, drawn at random, stratified, and used for nothing else. Segments of "
        f"fewer than {INTERVAL_BELOW:,} loans have 95 % bootstrap intervals in brackets. The rule calls a loan risky "
        f"if it is {RULE_ARREARS} instalments or more behind and not repaid. If the last column says no, use the rule.",
        _table(tabulate_segments(metrics.segments)),
        "### With the age withheld",
        _table(tabulate_segments(metrics.age_withheld)),
        "### Out of time",
        _NOT_POSSIBLE
        if time is None
        else _apart(f"Trained until {time.trained_until}, tested from {time.tested_from}", time.segments),
        "### With one source left out",
        _NOT_POSSIBLE if source is None else _apart(f"Left out {source.left_out}", source.segments),
        "### Other splits of the same loans",
        _table(tabulate_splits(metrics.split_seeds)),
        "### Baseline and former model",
        f"{metrics.baseline.name}:",
        _table(tabulate_segments(metrics.baseline.test)),
        _former(former),
        "### Stability",
        _must_hold(metrics),
    ]


def _describe_cut_off(metadata: Metadata, metrics: Metrics) -> list[str]:
    if metrics.cost_ratio is None:
        rule = "the best F1 of the risky class"
    else:
        rule = f"the lowest cost, if a missed risky loan costs {metrics.cost_ratio:g} false alarms"
    return [
        "## The cut-off",
        f"A loan with a probability of {metadata.cut_off} or more is risky. This cut-off has {rule} on the training "
        "set's running loans, predicted out of fold. Other cut-offs:",
        _table(tabulate_costs(metrics.cut_offs).iloc[4::5]),
    ]


def _describe_features(metadata: Metadata, importance: pd.DataFrame) -> list[str]:
    parts = [
        "## Features",
        "The contract limits the values in a request. The training range is the range of values that the model saw.",
        _describe_widened(metadata.contract),
    ]
    for name, record in metadata.models.items():
        parts.append(f"### {name.replace('_', ' ').capitalize()}")
        parts.append(_table(_feature_table(name, record, importance, metadata.contract.bounds)))
    return parts


def _describe_widened(contract: Contract) -> str:
    """Describe the bounds that are wider than the shipped ones; empty if none is."""
    if not contract.widened:
        return ""
    rows = {
        name: {"bounds of this archive": _format_range(bounds), "shipped bounds": _format_range(SHIPPED.bounds[name])}
        for name, bounds in contract.widened.items()
    }
    return (
        "This training widened bounds to hold all cleaned loans. They apply only where this archive is "
        f"loaded:\n\n{_table(pd.DataFrame.from_dict(rows, orient='index').rename_axis('field'))}"
    )


def _format_range(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else " to ".join(f"{bound:.10g}" for bound in bounds)


def _describe_training(metadata: Metadata) -> list[str]:
    hyperparameters = {name: record.hyperparameters for name, record in metadata.models.items()}
    cleaning = pd.DataFrame([record.model_dump() for record in metadata.cleaning])
    return [
        "## Data",
        "Risky: charged off, in default, or 16 days late or more. Safe: fully paid, current, issued or in grace. "
        "Rows after each cleaning step:",
        _table(cleaning.set_index("step")),
        "## Hyper-parameters",
        _table(pd.DataFrame(hyperparameters).rename_axis("name")),
    ]


def _headline(metrics: Metrics) -> str:
    """Make the table of main figures: running loans first, by split, with and without the age."""
    found = {
        "random split": metrics.segments,
        "random split, age withheld": metrics.age_withheld,
        "out of time": {} if metrics.out_of_time is None else metrics.out_of_time.segments,
        "one source left out": {} if metrics.source_left_out is None else metrics.source_left_out.segments,
    }
    rows = {
        f"{loans} loans, {name}": figures[loans]
        for loans in ("running", "all")
        for name, figures in found.items()
        if loans in figures
    }
    return _table(tabulate_segments(rows))


def _apart(words: str, segments: Segments) -> str:
    return f"{words.capitalize()}:\n\n{_table(tabulate_segments(segments))}"


def _former(former: Former | None) -> str:
    if former is None or not former.segments:
        return "There is no former archive to compare with."
    table = _table(tabulate_segments(former.segments))
    return f"The former archive is {former.name}. Its figures on its own test set:\n\n{table}"


def _must_hold(metrics: Metrics) -> str:
    dollar, payers = metrics.dollar, metrics.perfect_payers
    if dollar is None or payers is None:
        return "Not measured: no loan's age is known."
    return (
        f"- A dollar or a cent more or less in either payment field flips {dollar.flipped_share:.2%} of the decisions "
        f"on {dollar.loans:,} running loans. It changes the probability by at most "
        f"{dollar.largest_change_quantile:.3f} for 99.9 % of them ({dollar.largest_change:.3f} for all).\n"
        f"- Of {payers.loans:,} made-up loans with every instalment paid on time, {payers.called_risky} are called "
        f"risky. They cover every month of both terms and the contract's range of amounts and rates. Their largest "
        f"probability is {payers.largest_probability:.3f}.\n"
        "- More instalments due never lower the risk before the end of the term, all else equal."
    )


def _tabulate_figures(test: Evaluation) -> str:
    ranking = {
        "AUC": test.auc,
        "Average precision": test.average_precision,
        "KS": test.ks,
        "Gini": test.gini,
        "Brier score": test.brier,
        "Expected calibration error": test.calibration_error,
    }
    decisions = pd.DataFrame(
        {
            f"at {found.threshold}": {
                "risky precision": found.precision.risky,
                "risky recall": found.recall.risky,
                "risky F1": found.f1.risky,
                "safe F1": found.f1.safe,
                "accuracy": found.accuracy,
                "macro F1": found.macro_f1,
            }
            for found in (test.at_half, test.at_cut_off)
        }
    )
    return "\n\n".join(
        (_table(pd.Series(ranking, name="value").rename_axis("figure").to_frame()), _table(decisions.rename_axis("")))
    )


def _feature_table(
    name: str, record: ModelRecord, importance: pd.DataFrame, of_fields: Mapping[str, Bounds]
) -> pd.DataFrame:
    (wanted,) = (wanted for wanted in features.FEATURE_SETS if wanted.name == name)
    seen = {feature.name: feature for feature in record.features}
    gain = importance["share_of_gain"].to_dict()
    rows = {}
    for feature in wanted.features:
        found = seen[feature.name]
        bounds = _format_range(of_fields.get(feature.name, feature.bounds))
        rows[feature.name] = {
            "meaning": feature.description,
            "contract": f"{len(feature.levels)} levels" if feature.levels else bounds or "derived",
            "in training": "" if found.minimum is None else f"{found.minimum:.6g} to {found.maximum:.6g}",
            "share of gain": f"{gain[feature.name]:.4f}" if set(gain) == set(seen) else "",
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("feature")
    return table if set(gain) == set(seen) else table.drop(columns="share of gain")


def _check_table(names: Iterable[str], checks: Sequence[SuiteReport]) -> pd.DataFrame:
    rows = {
        name: {"passed": len(suite.passed), "not passed": len(suite.failed)}
        for name, suite in zip(names, checks, strict=True)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("suite")


def _failed_checks(checks: Sequence[SuiteReport]) -> pd.DataFrame:
    rows = [(each.check, each.status, each.details, each.reason) for suite in checks for each in suite.failed]
    return pd.DataFrame(rows, columns=["check", "status", "found", "reason"]).set_index("check")


def _table(frame: pd.DataFrame) -> str:
    """Format a frame as a Markdown table, the index first."""
    lines = [[str(frame.index.name or ""), *map(str, frame.columns)], ["---"] * (frame.shape[1] + 1)]
    lines += [[_cell(index), *map(_cell, row)] for index, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124  # NaN
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
