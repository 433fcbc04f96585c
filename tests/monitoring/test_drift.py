"""Loans that were answered are compared with the training's, or with each other, from a log or a file of scores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic_core import to_json

from credit_risk_model import archive, decisions
from credit_risk_model.decisions import Chain
from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.monitoring.__main__ import FAILED, FOUND_WRONG, main
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.training import fitting

Answered = list[tuple[CreditRiskModelInput, float]]


@pytest.fixture(scope="module")
def answered(loans: pd.DataFrame, archive_path: Path) -> Answered:
    """Loans of the archive's own training, with its answers."""
    found = archive.read(archive_path)
    population = found.metadata.reference[0].population
    chosen = loans if population == "all" else loans[fitting.is_running(loans)]
    drawn = chosen[fitting.FIELDS].sample(1000, random_state=1, replace=len(chosen) < 1000).astype(object)
    asked = [CreditRiskModelInput.model_validate(one) for one in drawn.where(drawn.notna(), None).to_dict("records")]
    return [(loan, found.evaluate(loan)) for loan in asked]


@pytest.fixture
def write_log(tmp_path: Path, archive_path: Path) -> Callable[[str, Answered], Path]:
    """Writes a decision log of answered loans."""
    digest = archive.sha256(archive_path.read_bytes())

    def write(name: str, answers: Answered) -> Path:
        chain, path = Chain(b"k" * 64), tmp_path / name
        lines = [chain.add("begin", b'"follows":"%b"' % chain.mac.encode())]
        for loan, probability in answers:
            record = {
                "time": "2026-01-09T00:00:00.000+00:00",
                "model_version": "test",
                "archive_sha256": digest,
                "cut_off": 0.3,
                "risk_probability": probability,
                "credit_risk": "risky" if probability >= 0.3 else "safe",
            }
            personal = decisions.make_personal("one", loan.model_dump_json().encode(), None)
            lines.append(chain.add("decision", to_json(record)[1:-1], personal))
        path.write_bytes(b"".join(lines))
        return path

    return write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], archive_path: Path) -> Callable[..., Any]:
    """Runs the command with the archive; gives what it prints as JSON, or its error."""

    def call(*arguments: str | Path, status: int) -> Any:
        assert main(["drift", *map(str, arguments), "--archive", str(archive_path)]) == status
        output = capsys.readouterr()
        return json.loads(output.out) if output.out else output.err

    return call


def drifted(found: Any) -> set[str]:
    """The features that drifted."""
    return {row["feature"] for row in found["features"] if row["drifted"] is True}


def test_log_of_the_trainings_loans_has_not_drifted(
    run: Callable[..., Any], write_log: Callable[[str, Answered], Path], answered: Answered, tmp_path: Path
) -> None:
    """Loans like the training's end with 0; the page shows each feature's bins and needs nothing from anywhere."""
    page = tmp_path / "drift.html"
    found = run(write_log("log.jsonl", answered), "--html", page, status=0)
    assert found["drifted"] is False
    assert {row["loans"] for row in found["features"]} == {1000}
    text = page.read_text()
    assert "loan_amount" in text
    assert text.count('class="now"') > 50
    assert "http" not in text.replace('lang="en"', "")


def test_drifted_field_is_named(
    run: Callable[..., Any], write_log: Callable[[str, Answered], Path], answered: Answered
) -> None:
    """Loans whose amounts have doubled end with their own exit code, and the field is named."""
    doubled = [
        (loan.model_copy(update={"loan_amount": min(loan.loan_amount * 2, 35000)}), probability)
        for loan, probability in answered
    ]
    assert drifted(run(write_log("log.jsonl", doubled), status=FOUND_WRONG)) == {"loan_amount"}


def test_log_is_compared_with_a_second_log(
    run: Callable[..., Any], write_log: Callable[[str, Answered], Path], answered: Answered
) -> None:
    """Compared with a second log, the archive's shares don't count: a log has no drift against itself."""
    dearer = [(loan.model_copy(update={"loan_amount": 35000}), probability) for loan, probability in answered]
    first, second = write_log("first.jsonl", dearer[:500]), write_log("second.jsonl", dearer[500:])
    usual = write_log("usual.jsonl", answered)
    assert drifted(run(first, "--against", second, status=0)) == set()
    assert drifted(run(first, "--against", usual, status=FOUND_WRONG)) == {"loan_amount"}


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_scores_are_compared_by_their_probability(
    run: Callable[..., Any], answered: Answered, tmp_path: Path, suffix: str
) -> None:
    """A file of scores holds no fields: the probability alone is judged, of loans with and without age apart."""
    probability = np.array([one for _, one in answered])
    frame = pd.DataFrame({"row": range(1000), "risk_probability": probability, "cautions": [""] * 1000})
    path = tmp_path / f"scores{suffix}"
    write = frame.to_parquet if suffix == ".parquet" else frame.to_csv
    write(path, index=False)
    found = run(path, status=0)
    assert {row["feature"] for row in found["features"]} <= {
        "risk_probability",
        "cut_off_zone",
        "mean_risk_probability",
    }
    assert {row["age"] for row in found["features"]} == {"known"}
    frame = frame.assign(risk_probability=probability**0.5, cautions="instalments_due_missing")
    write = frame.to_parquet if suffix == ".parquet" else frame.to_csv
    write(path, index=False)
    found = run(path, status=FOUND_WRONG)
    assert {row["age"] for row in found["features"]} == {"unknown"}


def write_loans(answers: Answered, path: Path) -> Path:
    """Write loans as a lender has them: CSV, plain or gzip, or Parquet."""
    frame = pd.DataFrame([loan.model_dump(mode="json") for loan, _ in answers])
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=300)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["loans.parquet", "loans.csv", "loans.csv.gz", "loans.txt"])
def test_loans_are_compared_field_by_field(
    name: str,
    *,
    run: Callable[..., Any],
    write_log: Callable[[str, Answered], Path],
    answered: Answered,
    archive_path: Path,
    tmp_path: Path,
) -> None:
    """Of a file of loans the same is found as of a log of their answers, and a drifted field is named."""
    doubled = [loan.model_copy(update={"loan_amount": min(loan.loan_amount * 2, 35000)}) for loan, _ in answered]
    loans = [loan.model_copy(update={"instalments_due": None}) for loan in doubled[:400]] + doubled[400:]
    model = archive.read(archive_path)
    asked = [(loan, model.evaluate(loan)) for loan in loans]
    found = run(write_loans(asked, tmp_path / "loans" / name), status=FOUND_WRONG)
    of_log = run(write_log("log.jsonl", asked), status=FOUND_WRONG)
    for row, expected in zip(found["features"], of_log["features"], strict=True):
        assert row == pytest.approx(expected), row["feature"]
    assert {(row["age"], row["loans"]) for row in found["features"]} == {("known", 600), ("unknown", 400)}
    assert "loan_amount" in drifted(found)
    assert run(tmp_path / "loans", status=FOUND_WRONG) == found  # as a folder of one part
    assert drifted(run(tmp_path / "loans" / name, "--against", tmp_path / "loans", status=0)) == set()


def test_what_can_not_be_compared_is_reported(run: Callable[..., Any], write_log: Any, tmp_path: Path) -> None:
    """An invalid, an empty and a missing file are reported in one line each."""
    (tmp_path / "loans.csv").write_text("loan_amnt\n1000\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "scores.csv").write_text("risk_probability\n0.5\n")
    (tmp_path / "empty.csv").write_text(",".join(feature.name for feature in CONTRACT_FEATURES) + "\n")
    assert "loans.csv: no column" in run(tmp_path / "loans.csv", status=FAILED)
    assert "broken.parquet: damaged" in run(tmp_path / "broken.parquet", status=FAILED)
    assert "missing.csv: no such file" in run(tmp_path / "missing.csv", status=FAILED)
    assert "scores.csv: holds no scores" in run(tmp_path / "scores.csv", status=FAILED)
    assert "has no loans to compare" in run(tmp_path / "empty.csv", status=FAILED)
    assert "has no loans to compare" in run(write_log("empty.jsonl", []), status=FAILED)
    assert "no such decision log" in run(tmp_path / "none.jsonl", status=FAILED)


def test_archive_without_reference_is_reported(
    capsys: pytest.CaptureFixture[str], archive_contents: Any, write_log: Any, tmp_path: Path
) -> None:
    """An archive without references is reported with the cure."""
    metadata, files = archive_contents
    archive.write(tmp_path / "1.zip", {**metadata, "reference": []}, files)
    log = write_log("log.jsonl", [])
    assert main(["drift", str(log), "--archive", str(tmp_path / "1.zip")]) == FAILED
    assert "Train a new one" in capsys.readouterr().err
