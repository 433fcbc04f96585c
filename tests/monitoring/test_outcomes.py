from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, precision_score, recall_score, roc_auc_score

from credit_risk_model.decisions import DecisionLogError
from credit_risk_model.monitoring.outcomes import Group, describe, join, read_outcomes


def record(reference: str | None, probability: float, month: str = "2026-01", version: str = "3") -> dict[str, Any]:
    """A decision as the log holds it, with the cut-off at a half."""
    return {
        "time": f"{month}-09T00:00:00+00:00",
        "model_version": version,
        "risk_probability": probability,
        "credit_risk": "risky" if probability >= 0.5 else "safe",
        "personal": {"erased": "00"} if reference is None else {"reference": reference},
    }


def test_figures_are_those_of_scikit_learn() -> None:
    """AUC, Brier score, precision and recall are what scikit-learn computes, also where scores are equal."""
    rng = np.random.default_rng(0)
    probabilities = rng.integers(0, 20, 400) / 20
    risky = rng.random(400) < probabilities
    called = probabilities >= 0.5
    found = describe(Group(probabilities.tolist(), called.tolist(), risky.tolist()))
    assert found["auc"][0] == pytest.approx(roc_auc_score(risky, probabilities))
    assert found["brier"][0] == pytest.approx(brier_score_loss(risky, probabilities))
    assert found["precision"][0] == pytest.approx(precision_score(risky, called))
    assert found["recall"][0] == pytest.approx(recall_score(risky, called))
    assert found["risky"][0] == pytest.approx(risky.mean())
    assert found["mean_probability"] == pytest.approx(probabilities.mean())


def test_intervals_hold_what_they_promise() -> None:
    """Of draws from a known distribution about 95 in 100 have the true value within the interval."""
    rng = np.random.default_rng(1)
    within = {"risky": 0, "auc": 0}
    for _ in range(100):
        risky = rng.random(200) < 0.3
        probabilities = rng.normal(risky * 1.0)
        found = describe(Group(probabilities.tolist(), [False] * 200, risky.tolist()))
        for name, true in (("risky", 0.3), ("auc", 0.7602)):  # of two normals a standard deviation apart
            within[name] += found[name][1] <= true <= found[name][2]
    assert min(within.values()) >= 89


@pytest.mark.parametrize("risky", [[], [False] * 5, [True] * 5, [True, False, False]])
def test_too_little_gives_no_interval(risky: list[bool]) -> None:
    """Without loans of both kinds there is no AUC, and of nothing there is nothing."""
    found = describe(Group([0.1] * len(risky), [False] * len(risky), risky))
    assert found["auc"] is None
    assert found["precision"] is None
    assert (found["risky"] is None) == (risky == [])


def test_decisions_are_joined_by_reference_month_and_version() -> None:
    """What has no outcome, no reference or no decision is counted, not dropped in silence."""
    records = [record("a", 0.9), record("b", 0.1), record("b", 0.2, "2026-02")]
    records += [record("c", 0.3, version="4"), record(None, 0.4)]
    found = join(records, {"a": True, "b": False, "z": True})
    assert (found.unused, found.unnamed) == (1, 1)
    assert {key: (group.risky, group.without_outcome) for key, group in found.groups.items()} == {
        ("2026-01", "3"): ([True, False], 0),
        ("2026-01", "4"): ([], 1),
        ("2026-02", "3"): ([False], 0),
        ("all", "all"): ([True, False, False], 1),
    }


def test_outcomes_are_read_by_name(tmp_path: Path) -> None:
    """A CSV file, also of a spreadsheet, says risky or safe, or 1 or 0."""
    path = tmp_path / "outcomes.csv"
    path.write_text("outcome,month,reference\nrisky,1,a\nSafe,1,b\n1,2,c\n0,2,d\n", encoding="utf-8-sig")
    assert read_outcomes(path) == {"a": True, "b": False, "c": True, "d": False}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "can't be read"),
        (b"reference,status\na,risky\n", "has no column outcome"),
        (b"reference,outcome\na,late\n", "line 2: the outcome is 'late'"),
        (b"reference,outcome\na,risky\na,safe\n", "line 3: a has a different outcome"),
        (b"reference,outcome\n\xff,risky\n", "can't be read"),
    ],
)
def test_unfit_outcomes_are_reported(tmp_path: Path, content: bytes | None, words: str) -> None:
    """A file that can't be used is refused with the place where it is wrong."""
    path = tmp_path / "outcomes.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DecisionLogError, match=words):
        read_outcomes(path)
