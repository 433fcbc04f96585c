import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from credit_risk_model.errors import ConfigurationError, DataError, ModelArchiveError
from credit_risk_model.prediction.loans import LoanModel, load
from credit_risk_model.prediction.model import CreditRiskModel
from credit_risk_model.schemas import CreditRiskModelInput


def test_one_loan_is_answered_as_the_service_answers(archive_path: Path, loan: dict[str, Any]) -> None:
    """A dictionary gets the answer of a request with it."""
    expected = CreditRiskModel(str(archive_path)).predict(CreditRiskModelInput.model_validate(loan))
    assert LoanModel(archive_path).predict(loan) == expected


def test_loan_that_breaks_the_contract_is_refused(archive_path: Path, loan: dict[str, Any]) -> None:
    """Each wrong field is named with what is allowed, and no value is."""
    with pytest.raises(DataError) as refused:
        LoanModel(archive_path).predict(loan | {"annual_income": 31337.5, "term": "36 months", "boat": 31337})
    assert str(refused.value) == (
        "The loan violates the contract: annual_income: Input should be a valid integer, got a number with a "
        "fractional part; term: Input should be ' 36 months' or ' 60 months'; boat: Extra inputs are not permitted."
    )


def test_archive_is_the_one_that_is_named(archive_path: Path, tmp_path: Path) -> None:
    """The path may be text, the digest may pin it, and any other digest is refused."""
    model = load(str(archive_path), None)
    assert (model.version, model.cut_off) == ("test", 0.3)
    assert load(archive_path, model.sha256).sha256 == model.sha256
    with pytest.raises(ModelArchiveError, match="the configuration pins 0000"):
        load(archive_path, "0" * 64)
    with pytest.raises(ConfigurationError, match="sha256 is 'abc'"):
        load(archive_path, "abc")
    with pytest.raises(ModelArchiveError, match=r"none.zip: no such file"):
        load(tmp_path / "none.zip", None)


def test_missing_package_is_named(archive_path: Path, tmp_path: Path) -> None:
    """Where Arrow is not installed, a loan is answered, and a frame is refused with what to install."""
    program = f"""
import sys
sys.modules["pyarrow"] = None  # as where it is not installed
import credit_risk_model
from credit_risk_model.examples import EXAMPLE_LOAN
model = credit_risk_model.load({str(archive_path)!r})
print(model.predict(EXAMPLE_LOAN).credit_risk.value)
model.score([])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.stdout in ("safe\n", "risky\n")
    assert done.stderr.splitlines()[-1] == (
        "credit_risk_model.errors.MissingPackageError: Frames of loans need the package pyarrow, which is not "
        "installed: pip install 'credit-risk-model[scoring]'."
    )
