"""Made-up loans as tables and files, and the command as its users run it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import made_up_loans, spoilt

from credit_risk_model.tables import csv_file

ROOT = Path(__file__).parents[2]

WriteLoans = Callable[..., Path]
RunScoring = Callable[..., "subprocess.CompletedProcess[str]"]


def write(loans: pa.Table, path: Path) -> Path:
    """Write loans as the path's suffix says; Parquet in row groups of 20,000."""
    if path.suffix == ".parquet":
        pq.write_table(loans, path, row_group_size=20_000)
    else:
        pyarrow.csv.write_csv(loans, path)
    return path


@pytest.fixture
def write_loans(tmp_path: Path) -> WriteLoans:
    """Write a number of loans into the test's folder; keyword arguments put other values into a field, by place."""

    def write_them(name: str, rows: int, **other_values: dict[int, Any]) -> Path:
        loans = made_up_loans(rows)
        for field, values in other_values.items():
            loans = spoilt(loans, field, values)
        return write(loans, tmp_path / name)

    return write_them


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text as a CSV file into the test's folder."""

    def write_text(text: str) -> Path:
        path = tmp_path / "loans.csv"
        path.write_text(text)
        return path

    return write_text


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut CSV files into blocks of 1,000 bytes."""
    monkeypatch.setattr(csv_file, "BLOCK_BYTES", 1000)


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 100,000 loans as CSV (three blocks) and as Parquet (five row groups), some of them bad."""
    folder = tmp_path_factory.mktemp("book")
    loans = spoilt(made_up_loans(100_000), "loan_purpose", dict.fromkeys(range(17, 100_000, 997), "boat"))
    for suffix in ("csv", "parquet"):
        write(loans, folder / f"loans.{suffix}")
    return folder


@pytest.fixture(scope="session")
def scoring_command(archive_path: Path) -> list[str]:
    """The command line with the small archive, up to its other arguments."""
    return [sys.executable, "-m", "credit_risk_model.scoring", "--archive", os.fspath(archive_path)]


@pytest.fixture(scope="session")
def run_scoring(scoring_command: list[str]) -> RunScoring:
    """Run the command to its end, with the small archive."""

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        line = [*scoring_command, *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)

    return run
