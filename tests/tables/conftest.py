from pathlib import Path
from typing import Any

import pytest
from csv_rows import Rows


@pytest.fixture
def rows(loan: dict[str, Any]) -> Rows:
    """Ten loans with an id and a note."""
    return [{"id": f"0{number}", **loan, "loan_amount": 12_000 + number, "note": "x, y"} for number in range(10)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test's file is written."""
    return tmp_path / "loans.csv"
