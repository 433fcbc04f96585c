import json
import logging
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from credit_risk_model import archive
from credit_risk_model.errors import ConfigurationError, DataError
from credit_risk_model.monitoring.__main__ import FOUND_WRONG
from credit_risk_model.monitoring.__main__ import main as monitor
from credit_risk_model.scoring import attended
from credit_risk_model.scoring.command_line import main
from credit_risk_model.scoring.run import Settings, score

WriteLoans = Callable[..., Path]
RunScoring = Callable[..., "subprocess.CompletedProcess[str]"]


def test_summary_says_what_the_run_did(
    write_loans: WriteLoans, run_scoring: RunScoring, archive_path: Path, tmp_path: Path
) -> None:
    """The summary is the whole run as JSON: rows, reasons, conversions, cautions, model, cut-off, time, exit code."""
    source = write_loans("loans.csv", 50, annual_income={10: 1.0, 31: 2.0, 7: 65000.4}, term={30: "soon", 8: "36"})
    done = run_scoring(source, "--output", tmp_path / "s.csv", "--summary", tmp_path / "s.json", "--cut-off", 0.5)
    assert done.returncode == 3
    reported = json.loads((tmp_path / "s.json").read_bytes())
    cautions, drift, seconds = reported.pop("cautions"), reported.pop("drift"), reported.pop("seconds")
    assert reported == {
        "source": "loans.csv",
        "output": "s.csv",
        "shard": "1/1",
        "rows": 50,
        "scored": 47,
        "rejected": 3,
        "skipped": 0,
        "rejected_by_reason": {"annual_income: below 1896": 2, "term: unknown level": 1},
        "converted": {"annual_income: cents rounded": 1, "term: another spelling": 1},
        "age": "column instalments_due",
        "notes": [],
        "lines_before_header": 0,
        "archive": "1.zip",
        "archive_sha256": archive.sha256(archive_path.read_bytes()),
        "model_version": "test",
        "cut_off": 0.5,
        "exit_code": 3,
    }
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert cautions == {
        name: sum(name in line for line in lines) for name in ("outside_training_range", "instalments_due_missing")
    }
    assert 0 < seconds < 60
    assert {row["drifted"] for row in drift["features"]} == {"too few loans"}
    assert run_scoring(source, "--output", tmp_path / "s.csv", "--max-rejects", 3).returncode == 0
    assert json.loads((tmp_path / "s.json").read_bytes())["cut_off"] == 0.5  # not asked for, not touched


def test_summary_has_the_drift_that_the_monitoring_finds(
    book: Path, archive_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary's drift equals that of `monitoring drift` for the same loans, for any number of threads."""
    assert monitor(["drift", str(book / "loans.csv"), "--archive", str(archive_path)]) == FOUND_WRONG
    expected = json.loads(capsys.readouterr().out)["features"]
    assert {row["feature"] for row in expected if row["drifted"] is True} >= {"loan_amount", "risk_probability"}
    for threads in (1, 3):
        settings = Settings(
            book / "loans.csv",
            tmp_path / "scores.parquet",
            summary=tmp_path / "summary.json",
            archive=str(archive_path),
            threads=threads,
        )
        summary = score(settings)
        reported = json.loads((tmp_path / "summary.json").read_bytes())
        assert reported["drift"] == {"drifted": True, "features": expected}
        loans = {row["age"]: row["loans"] for row in expected}
        assert sum(loans.values()) == summary.scored
        assert loans["unknown"] == summary.cautions["instalments_due_missing"]


def test_no_summary_is_left_where_nothing_is_written(
    write_loans: WriteLoans, archive_path: Path, tmp_path: Path
) -> None:
    """A run that writes no scores writes no summary, and one whose summary can't be written writes no scores."""
    source = write_loans("loans.parquet", 100, term={50: "soon"})
    output, summary = tmp_path / "out" / "scores.parquet", tmp_path / "out" / "summary.json"
    settings = Settings(source, output, summary=summary, archive=str(archive_path), max_rejects=0)
    with pytest.raises(DataError, match="more than 0"):
        score(settings)
    assert list((tmp_path / "out").iterdir()) == []
    summary.mkdir()
    with pytest.raises(DataError, match=r"summary\.json: can't be written"):
        score(Settings(source, output, summary=summary, archive=str(archive_path)))
    assert list((tmp_path / "out").iterdir()) == [summary]


def test_summary_has_a_file_of_its_own(write_loans: WriteLoans, archive_path: Path, tmp_path: Path) -> None:
    """A summary that would overwrite one of the run's files, or lie in the loans' folder, is refused."""
    source, output = write_loans("loans.csv", 3), tmp_path / "scores.csv"
    for path in (source, output, tmp_path / "scores.rejects.csv"):
        with pytest.raises(ConfigurationError, match="are the same file"):
            score(Settings(source, output, summary=path, archive=str(archive_path)))
    folder = tmp_path / "folder"
    folder.mkdir()
    source.rename(folder / source.name)
    with pytest.raises(ConfigurationError, match="would be read as loans"):
        score(Settings(folder, output, summary=folder / "summary.json", archive=str(archive_path)))


def test_archive_without_reference_has_no_drift(archive_contents: Any, write_loans: WriteLoans, tmp_path: Path) -> None:
    """With an archive without references, drift is null: unknown, not absent."""
    metadata, files = archive_contents
    archive.write(tmp_path / "1.zip", {**metadata, "reference": []}, files)
    summary = tmp_path / "summary.json"
    source = write_loans("loans.csv", 3)
    score(Settings(source, tmp_path / "scores.csv", summary=summary, archive=str(tmp_path / "1.zip")))
    assert json.loads(summary.read_bytes())["drift"] is None


def test_progress_is_reported_in_lines_where_there_is_no_terminal(
    book: Path, archive_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log gets lines with rows, share, speed and remaining time, at most one per interval."""
    line = [str(book / "loans.parquet"), "--output", str(tmp_path / "s.csv"), "--archive", str(archive_path)]
    caplog.set_level(logging.INFO)
    reported = []
    for seconds in (0, 3600):
        monkeypatch.setattr(attended, "_SECONDS_BETWEEN_LINES", seconds)
        caplog.clear()
        assert main(line) == 3
        reported.append([text for text in caplog.messages if text.endswith(" s left.")])
    assert len(reported[0]) > 2
    assert all(re.fullmatch(r"[\d,]+ rows \(\d+ %\), [\d,]+ rows/s, \d+ s left\.", text) for text in reported[0])
    assert reported[1] == []
