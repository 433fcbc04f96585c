"""Summarizes a packaged model: its figures beside those of others, and the next steps."""

from pathlib import Path

import pandas as pd

from credit_risk_model import archive
from credit_risk_model.training.figures import Baseline, Segments
from credit_risk_model.training.former import Former


def tabulate_summary(name: str, segments: Segments, baseline: Baseline, former: Former | None) -> pd.DataFrame:
    """Make a table of a model's figures beside those of the arrears rule, the defaults and the former archive.

    Args:
        name: The model's name.
        segments: Its figures by segment.
        baseline: The figures of LightGBM's defaults.
        former: The archive that it follows.
    """
    columns = {
        name: segments,
        baseline.name: baseline.test,
        f"former, {former.name}" if former else "former": former.segments if former else {},
    }
    rows = {}
    for loans in ("running", "all"):
        found = {column: figures.get(loans) for column, figures in columns.items()}
        mine = found[name]
        rule = (None, None, None) if mine is None else (mine.rule_auc, mine.rule_brier, mine.rule_f1)
        for place, title in enumerate(("AUC", "Brier score", "F1")):
            row = {column: each and (each.auc, each.brier, each.f1)[place] for column, each in found.items()}
            rows[f"{title}, {loans} loans"] = {name: row.pop(name), "arrears rule": rule[place], **row}
    return pd.DataFrame.from_dict(rows, orient="index", dtype=float).dropna(axis="columns", how="all").round(4)


def describe_next_steps(output: Path) -> str:
    """Return the archive's path and how to serve it, with two lines of YAML to paste."""
    path = output.resolve()
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return (
        f"Packaged: {shown}\n\nTo serve it, put these two lines into configuration/rest_configuration.yaml and "
        f"start the service again:\n\n      archive: {shown}\n      sha256: "
        f"{archive.sha256(output.read_bytes())}\n"
    )
